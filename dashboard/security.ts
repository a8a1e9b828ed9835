/** What every request passes before any page sees it. */
import type { Request, RequestHandler, Response } from 'express';
import { z } from 'zod';
import type { Role } from './accounts.ts';
import { type Sessions, sessionToken } from './session.ts';

/** `default-src 'none'` and what our pages need; the board also sets styles from scripts and highlights in a worker. */
const COMMON_POLICY =
  "default-src 'none'; script-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'self'; frame-ancestors 'none'";
const PAGE_POLICY = `${COMMON_POLICY}; style-src 'self'`;
const BOARD_POLICY = `${COMMON_POLICY}; style-src 'self' 'unsafe-inline'; worker-src 'self' blob:`;

export function securityHeaders(boardPath: string): RequestHandler {
  return (request, response, next) => {
    const board = request.path === boardPath || request.path.startsWith(`${boardPath}/`);
    response.set({
      'Content-Security-Policy': board ? BOARD_POLICY : PAGE_POLICY,
      'X-Content-Type-Options': 'nosniff',
      'X-Frame-Options': 'DENY',
      // Not `no-referrer`: it would make browsers send `Origin: null` with our own forms.
      'Referrer-Policy': 'same-origin',
      'Cross-Origin-Opener-Policy': 'same-origin',
      'Cross-Origin-Resource-Policy': 'same-origin',
      'Cache-Control': 'no-store',
    });
    next();
  };
}

function isRead(method: string): boolean {
  return method === 'GET' || method === 'HEAD';
}

/**
 * Refuses every change that another site could have caused. Browsers say where a request comes from in `Sec-Fetch-Site`
 * (secure origins only) and in `Origin`; whoever sends neither is no browser of today and is refused as well.
 */
export const requireSameOrigin: RequestHandler = (request, _response, next) => {
  if (isRead(request.method) || isSameOrigin(request.headers)) return next();
  throw new Refusal(403, 'This request came from another site, so nothing was changed.', 'Use the dashboard itself.');
};

const Headers = z.object({
  host: z.string().min(1),
  origin: z.string().optional(),
  'sec-fetch-site': z.string().optional(),
});

function isSameOrigin(headers: unknown): boolean {
  const parsed = Headers.safeParse(headers);
  if (!parsed.success) return false;
  const { host, origin, 'sec-fetch-site': site } = parsed.data;
  if (site !== undefined && site !== 'same-origin') return false;
  if (origin === undefined) return site === 'same-origin';
  return URL.canParse(origin) && new URL(origin).host === host.toLowerCase().replace(/:(80|443)$/, '');
}

/** Sends people without a session to the login page, programs a 401. */
export function requireSession(sessions: Sessions): RequestHandler {
  return (request, response, next) => {
    const role = sessionRole(request, sessions);
    if (role !== null) {
      response.locals.role = role;
      return next();
    }
    if (request.method === 'GET' && request.accepts(['json', 'html']) === 'html') {
      return response.redirect(303, `/login?next=${encodeURIComponent(request.originalUrl)}`);
    }
    throw new Refusal(401, 'You are not logged in, or your session is over.', 'Log in at /login.');
  };
}

function sessionRole(request: Request, sessions: Sessions): Role | null {
  const token = sessionToken(request);
  return token === null ? null : sessions.roleOf(token);
}

/** For single routes before `requireSession`. */
export function requireRole(sessions: Sessions, role: Role): RequestHandler {
  return (request, _response, next) => {
    if (sessionRole(request, sessions) === role) return next();
    throw new Refusal(403, 'You are not logged in as one who may do this.', 'Log in as admin.');
  };
}

/** The role of whoever asks, after `requireSession`. */
export function roleOf(response: Response): Role {
  return response.locals.role === 'operator' ? 'operator' : 'readOnly';
}

/** The read-only role changes nothing, whatever path it finds. */
export const requireOperator: RequestHandler = (request, response, next) => {
  if (isRead(request.method) || roleOf(response) === 'operator') return next();
  throw new Refusal(
    403,
    'You are logged in read-only, so nothing was changed.',
    "Log in with the operator's password.",
  );
};

/** A request that was not let through; `status` is its HTTP status. */
export class Refusal extends Error {
  override readonly name = 'Refusal';
  readonly code = 'refused';
  readonly status: number;
  readonly remedy: string;

  constructor(status: number, message: string, remedy: string) {
    super(message);
    this.status = status;
    this.remedy = remedy;
  }
}
