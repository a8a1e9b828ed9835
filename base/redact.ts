/**
 * Keeps secrets out of what a process writes: its logs, its errors and its output.
 *
 * It goes by value. Whoever learns a secret says so once (`keepSecret`), and `redact` then replaces it wherever it appears,
 * also in the words of a library or a server. Whatever is not known by value is caught by shape: passwords in addresses
 * (`hideCredentials`), and fields of errors, of which `plainError` keeps only those that are known to be harmless.
 */

const HIDDEN = '(hidden)';

/** Shorter values are not replaced: they would be found in words that have nothing to do with them. */
const SHORTEST = 4;

/** The longest first: one secret may contain another. */
let secrets: readonly string[] = [];

/** Never shown from now on, as written and as it stands in an address. Values of less than four characters are ignored. */
export function keepSecret(...values: readonly string[]): void {
  const forms = values.flatMap((value) => [
    value,
    encoded(value),
    decoded(value, decodeURIComponent),
    decoded(value, decodeURI),
  ]);
  const all = new Set([...secrets, ...forms.filter((form) => form.length >= SHORTEST)]);
  secrets = [...all].sort((a, b) => b.length - a.length);
}

/** Variables of the AWS SDK that hold secrets. Credentials from profiles and roles are not known by value. */
export function keepCloudSecrets(env: NodeJS.ProcessEnv): void {
  const names = ['AWS_SECRET_ACCESS_KEY', 'AWS_SESSION_TOKEN', 'AWS_CONTAINER_AUTHORIZATION_TOKEN'];
  keepSecret(...names.map((name) => env[name] ?? ''));
}

/** The text without any secret that is known. */
export function redact(text: string): string {
  return secrets.reduce((rest, secret) => rest.replaceAll(secret, HIDDEN), text);
}

/** The same for a line of JSON, which stays JSON. */
export function redactJson(line: string): string {
  const isClean = secrets.every((secret) => !line.includes(secret) && !line.includes(inJson(secret)));
  if (isClean) return line;
  const clean: unknown = JSON.parse(line, (_key, value: unknown) =>
    typeof value === 'string' ? redact(value) : value,
  );
  return `${JSON.stringify(clean)}${line.endsWith('\n') ? '\n' : ''}`;
}

function inJson(text: string): string {
  return JSON.stringify(text).slice(1, -1);
}

function encoded(text: string): string {
  return encodeURIComponent(text.toWellFormed());
}

/** Of an address as a whole, `decodeURI` decodes only some of it. */
function decoded(text: string, decode: (text: string) => string): string {
  try {
    return decode(text);
  } catch {
    return text; // a `%` that encodes nothing
  }
}

// --- Addresses ----------------------------------------------------------------------------------------------------

const SECRET_PARAMETER = /(?<=[?&#][^=&#]*(?:password|secret|token|key|signature|credential)[^=&#]*=)[^&#]+/gi;

/** Passwords in an address, as they are written: between the first `:` and the last `@`, and in its parameters. */
export function credentialsIn(address: string): string[] {
  const userinfo = Array.from(address.matchAll(/:\/\/(.*)@/gs), ([, words = '']) => words);
  // A second address may be in a parameter of the first: `s3://bucket?endpoint=http://user:password@host`.
  const inner = userinfo.flatMap((words) => words.split('://').slice(1));
  const passwords = [...userinfo, ...inner].flatMap((words) => {
    const colon = words.indexOf(':');
    return colon === -1 ? [] : [words.slice(colon + 1)];
  });
  return [...passwords, ...(address.match(SECRET_PARAMETER) ?? [])].filter((text) => text !== '');
}

/**
 * An address as it may be shown: without user, password and secret parameters. An address that nobody can read as its
 * writer meant it (a password with a `/` or `#`) is hidden but for its scheme.
 */
export function hideCredentials(address: string): string {
  const url = URL.canParse(address) ? new URL(address) : null;
  const scheme = /^[\w+.-]+:\/\//.exec(address)?.[0] ?? '';
  const isAmbiguous = url === null || scheme === '' || `${url.pathname}${url.search}${url.hash}`.includes('@');
  if (/^(file|unix):\/\/\//.test(address)) return address.replace(SECRET_PARAMETER, HIDDEN);
  if (isAmbiguous) return /@|password|secret|token/i.test(address) ? `${scheme}…` : address;
  return address.replace(/^([\w+.-]+:\/\/)[^/?#]*@/, '$1').replace(SECRET_PARAMETER, HIDDEN);
}

// --- Errors -------------------------------------------------------------------------------------------------------

export interface PlainError {
  readonly type: string;
  readonly message: string;
  readonly code?: string;
  readonly remedy?: string;
  readonly stack?: string;
  readonly cause?: PlainError;
}

const DEEPEST_CAUSE = 8;

/**
 * An error as it may be logged: name, code, message, remedy, stack and causes. Every other field is left out. Libraries put
 * there what they were working on: ioredis a command with its arguments, the AWS SDK a request with its headers.
 */
export function plainError(thrown: unknown, depth = 0): PlainError {
  if (!(thrown instanceof Error)) return { type: typeof thrown, message: redact(String(thrown)) };
  const { name, message, stack, cause } = thrown;
  const field = (key: string) => {
    const value: unknown = Reflect.get(thrown, key);
    return typeof value === 'string' || typeof value === 'number' ? { [key]: redact(String(value)) } : {};
  };
  return {
    type: name,
    message: redact(message),
    ...field('code'),
    ...field('remedy'),
    ...(stack === undefined ? {} : { stack: redact(stack) }),
    ...(cause === undefined || depth >= DEEPEST_CAUSE ? {} : { cause: plainError(cause, depth + 1) }),
  };
}

/** As `plainError`, as text of several lines. */
export function describeError(thrown: unknown): string {
  const lines: string[] = [];
  for (let error: PlainError | undefined = plainError(thrown); error; error = error.cause) {
    lines.push(`${lines.length === 0 ? '' : 'caused by '}${error.stack ?? `${error.type}: ${error.message}`}`);
  }
  return lines.join('\n');
}
