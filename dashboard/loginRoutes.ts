/** Logging in and out. */
import { type Response, Router, urlencoded } from 'express';
import { z } from 'zod';
import { formatDuration } from './format.ts';
import { html } from './html.ts';
import { layout } from './layout.ts';
import { LoginLimiter } from './loginLimiter.ts';
import { type Passwords, SESSION_COOKIE, SESSION_LIFETIME_MS, type Sessions } from './session.ts';

const LoginForm = z.object({ password: z.string().max(1024), next: z.string().max(2048).default('/') });

export function loginRoutes(passwords: Passwords, sessions: Sessions): Router {
  const limiter = new LoginLimiter();
  const router = Router();

  router.get('/login', (request, response) => {
    const { next } = request.query;
    showLogin(response, 200, { next: typeof next === 'string' ? next : '/', problem: null });
  });

  router.post('/login', urlencoded({ extended: false, limit: '8kb' }), (request, response) => {
    const address = request.ip ?? '';
    const form = LoginForm.safeParse(request.body);
    if (!form.success) return showLogin(response, 400, { next: '/', problem: 'Type the password.' });
    const { next, password } = form.data;
    const waitMs = limiter.waitMs(address);
    if (waitMs > 0) {
      response.set('Retry-After', String(Math.ceil(waitMs / 1000)));
      const problem = `Too many wrong passwords. Try again in ${formatDuration(waitMs)}.`;
      return showLogin(response, 429, { next, problem });
    }
    limiter.count(address);
    const role = passwords.roleOf(password);
    if (role === null) return showLogin(response, 401, { next, problem: 'That password is not right.' });
    limiter.forgive(address);
    // Whoever logs in over TLS says so in `Origin`, even where the proxy in front is not believed.
    const secure = request.secure || request.headers.origin?.startsWith('https:') === true;
    response.cookie(SESSION_COOKIE, sessions.issue(role), {
      httpOnly: true,
      sameSite: 'strict',
      secure,
      path: '/',
      maxAge: SESSION_LIFETIME_MS,
    });
    response.redirect(303, localPath(next));
  });

  router.post('/logout', (_request, response) => {
    response.clearCookie(SESSION_COOKIE, { httpOnly: true, sameSite: 'strict', path: '/' });
    response.redirect(303, '/login');
  });
  return router;
}

/** Where to go after the login: a path of this site, never another one. */
export function localPath(next: string): string {
  const here = 'http://dashboard.invalid';
  if (!URL.canParse(next, here)) return '/';
  const url = new URL(next, here);
  // `//` in front would be read as another host by the browser that is sent there.
  return url.origin === here ? `${url.pathname.replace(/^\/+/, '/')}${url.search}` : '/';
}

function showLogin(response: Response, status: number, state: { next: string; problem: string | null }): void {
  response.status(status).send(
    layout({
      title: 'Log in',
      role: null,
      body: html`<section class="card login">
<img src="/assets/floe.svg" alt="" width="56" height="56">
<h1>Floe</h1>
<p class="dim">Long jobs on machines that come and go</p>
<form method="post" action="/login">
<input type="hidden" name="next" value="${state.next}">
<input class="hidden" name="username" autocomplete="username" value="floe" tabindex="-1" aria-hidden="true">
<label for="password">Password</label>
<input id="password" name="password" type="password" autocomplete="current-password" required autofocus>
${state.problem && html`<p class="problem" role="alert">${state.problem}</p>`}
<button class="primary">Log in</button>
</form>
</section>`,
    }),
  );
}
