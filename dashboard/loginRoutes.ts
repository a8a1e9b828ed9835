/** Logging in and out. */
import { setTimeout as delay } from 'node:timers/promises';
import { type Request, type Response, Router, urlencoded } from 'express';
import { z } from 'zod';
import { accountOf, type Passwords } from './accounts.ts';
import { formatDuration } from './format.ts';
import { html } from './html.ts';
import { layout } from './layout.ts';
import { LoginThrottle } from './loginThrottle.ts';
import { requireRole } from './security.ts';
import { clearSessionCookies, type Sessions, sessionToken, setSessionCookie } from './session.ts';

const LoginForm = z.object({
  /** Programs that log in by the password alone mean the operator. */
  username: z.string().max(100).default('admin'),
  password: z.string().max(1024),
  next: z.string().max(2048).default('/'),
});

export function loginRoutes(passwords: Passwords, sessions: Sessions): Router {
  const throttle = new LoginThrottle();
  const router = Router();

  router.get('/login', (request, response) => {
    const { next } = request.query;
    showLogin(response, 200, { next: typeof next === 'string' ? next : '/', username: '', problem: null });
  });

  router.post('/login', urlencoded({ extended: false, limit: '8kb' }), async (request, response) => {
    const form = LoginForm.safeParse(request.body);
    if (!form.success) {
      return showLogin(response, 400, { next: '/', username: '', problem: 'Type your name and the password.' });
    }
    const { next, password, username } = form.data;
    const account = accountOf(username);
    const address = request.ip ?? '';
    const turn = throttle.takeTurn(account, address);
    if ('refusedForMs' in turn) {
      response.set('Retry-After', String(Math.ceil(turn.refusedForMs / 1000)));
      const problem = `Too many people try to log in as this user. Try again in ${formatDuration(turn.refusedForMs)}.`;
      return showLogin(response, 429, { next, username, problem });
    }
    if (!(await waitWithReader(turn.waitMs, response))) return;
    if (account === null || !passwords.opens(account, password)) {
      const problem = 'That name and password do not belong together. The names are admin and viewer.';
      return showLogin(response, 401, { next, username, problem });
    }
    throttle.forgive(account, address);
    endSession(request, sessions);
    setSessionCookie(request, response, sessions.begin(account));
    response.redirect(303, localPath(next));
  });

  router.post('/logout', (request, response) => {
    endSession(request, sessions);
    clearSessionCookies(response);
    response.redirect(303, '/login');
  });

  router.post('/logout/everywhere', requireRole(sessions, 'operator'), (_request, response) => {
    sessions.endAll();
    clearSessionCookies(response);
    response.redirect(303, '/login');
  });
  return router;
}

/** False when whoever asked went away meanwhile; the attempt has counted all the same. */
async function waitWithReader(waitMs: number, response: Response): Promise<boolean> {
  const gone = new AbortController();
  const leave = () => gone.abort();
  response.once('close', leave);
  try {
    await delay(waitMs, undefined, { signal: gone.signal });
    return true;
  } catch (error) {
    if (!gone.signal.aborted) throw error;
    return false;
  } finally {
    response.off('close', leave);
  }
}

function endSession(request: Request, sessions: Sessions): void {
  const token = sessionToken(request);
  if (token !== null) sessions.end(token);
}

/** Where to go after the login: a path of this site, never another one. */
export function localPath(next: string): string {
  const here = 'http://dashboard.invalid';
  if (!URL.canParse(next, here)) return '/';
  const url = new URL(next, here);
  // `//` in front would be read as another host by the browser that is sent there.
  return url.origin === here ? `${url.pathname.replace(/^\/+/, '/')}${url.search}` : '/';
}

const AUTOFOCUS = html` autofocus`;

function showLogin(
  response: Response,
  status: number,
  state: { next: string; username: string; problem: string | null },
): void {
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
<label for="username">User</label>
<input id="username" name="username" type="text" autocomplete="username" autocapitalize="none" spellcheck="false" maxlength="100" required placeholder="admin or viewer" value="${state.username}"${state.username === '' && AUTOFOCUS}>
<label for="password">Password</label>
<input id="password" name="password" type="password" autocomplete="current-password" maxlength="1024" required${state.username !== '' && AUTOFOCUS}>
${state.problem && html`<p class="problem" role="alert">${state.problem}</p>`}
<button class="primary">Log in</button>
</form>
</section>`,
    }),
  );
}
