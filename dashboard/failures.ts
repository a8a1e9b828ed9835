/** What a request that failed looks like: one page (or one JSON object for programs), never a stack trace. */
import type { ErrorRequestHandler, RequestHandler, Response } from 'express';
import type { Logger } from 'pino';
import { asRedisError, FloeError, type FloeErrorCode } from '../jobs/index.ts';
import { StoreError } from '../store/store.ts';
import { messagePage } from './layout.ts';
import { Refusal } from './security.ts';

interface Failure {
  status: number;
  title: string;
  code: string;
  message: string;
  remedy: string;
}

const STATUSES: Partial<Record<FloeErrorCode, [number, string]>> = {
  notFound: [404, 'Not found'],
  conflict: [409, 'Not now'],
  redisUnreachable: [503, 'No Redis'],
  redisRefused: [503, 'Redis refused'],
};

/** Whatever takes longer than this is as good as away. */
const ANSWER_TIMEOUT_MS = 15_000;

export const notFound: RequestHandler = (request) => {
  throw new FloeError('notFound', `There is nothing at ${request.path}.`, 'Follow the links instead.');
};

/** Answers for a handler that hangs; whatever it says later is dropped. */
export function answerInTime(timeoutMs = ANSWER_TIMEOUT_MS): RequestHandler {
  return (_request, response, next) => {
    const late = () => {
      if (!response.headersSent)
        next(new FloeError('redisUnreachable', 'Redis or the store takes too long to answer.', 'Look at them.'));
    };
    const timer = setTimeout(late, timeoutMs);
    response.once('close', () => clearTimeout(timer));
    next();
  };
}

export function answerFailures(log: Logger): ErrorRequestHandler {
  return (error: unknown, request, response, _next) => {
    // The handler of a request that was given up noticed that nobody listens any more.
    if (response.writableEnded) return;
    const failure = describeFailure(error);
    if (failure.status >= 500) log.error({ err: error, path: request.path }, failure.message);
    // Half a download cannot be taken back; cutting it off is all that tells the reader.
    if (response.headersSent) return response.destroy();
    response.status(failure.status).removeHeader('Content-Disposition');
    if (wantsHtml(request.path, request.accepts(['json', 'html']))) sendPage(response, failure);
    else
      response
        .type('json')
        .send(JSON.stringify({ error: failure.message, code: failure.code, remedy: failure.remedy }));
  };
}

function wantsHtml(path: string, accepted: string | false): boolean {
  return accepted === 'html' && !path.includes('/api/');
}

function sendPage(response: Response, failure: Failure): void {
  const role = response.locals.role === 'operator' || response.locals.role === 'readOnly' ? response.locals.role : null;
  response.type('html').send(messagePage(failure.title, failure.message, failure.remedy, role));
}

function describeFailure(error: unknown): Failure {
  const known = error instanceof Error ? (asRedisError(error, null) ?? error) : error;
  if (known instanceof Refusal) return { ...pick(known), status: known.status, title: 'Refused' };
  if (known instanceof StoreError)
    return { ...pick(known), status: known.code === 'notFound' ? 404 : 502, title: 'The store' };
  if (known instanceof FloeError) {
    const [status, title] = STATUSES[known.code] ?? [500, 'That did not work'];
    return { ...pick(known), status, title };
  }
  const status = clientErrorStatus(error);
  if (status !== null) {
    return {
      status,
      title: 'Bad request',
      code: 'badRequest',
      message: 'This request cannot be read.',
      remedy: 'Send another.',
    };
  }
  return {
    status: 500,
    title: 'That did not work',
    code: 'internal',
    message: 'Something went wrong inside the dashboard.',
    remedy: "The dashboard's log has the details.",
  };
}

function pick({ code, message, remedy }: { code: string; message: string; remedy: string }) {
  return { code, message, remedy };
}

/** Express and its body parsers mark a bad URL or body by a status below 500. */
function clientErrorStatus(error: unknown): number | null {
  if (!(error instanceof Error) || !('status' in error) || typeof error.status !== 'number') return null;
  return error.status >= 400 && error.status < 500 ? error.status : null;
}
