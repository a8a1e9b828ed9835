/** What the SDK's errors mean for a store. */
import { StoreError, type StoreErrorCode } from './store.ts';

interface Meaning {
  readonly code: StoreErrorCode;
  readonly what: string;
  readonly remedy: string;
}

const noAnswer: Meaning = {
  code: 'unreachable',
  what: 'There is no answer',
  remedy: 'Check the endpoint, the network and the S3 service.',
};
const wrongCredentials: Meaning = {
  code: 'denied',
  what: 'The credentials are not accepted',
  remedy: 'Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or a role, that are valid at this endpoint.',
};
const noCredentials: Meaning = { ...wrongCredentials, what: 'There are no credentials' };
const expired: Meaning = {
  ...wrongCredentials,
  what: 'The credentials have expired',
  remedy: 'Renew the credentials.',
};
const notAllowed: Meaning = {
  code: 'denied',
  what: 'The credentials do not allow this',
  remedy: 'Allow s3:GetObject, s3:PutObject, s3:DeleteObject, s3:AbortMultipartUpload and s3:ListBucket on the bucket.',
};
const wrongClock: Meaning = { code: 'denied', what: 'The clocks differ too much', remedy: "Set this machine's clock." };
const full: Meaning = { code: 'full', what: 'There is no space left', remedy: 'Free space there or raise the quota.' };
const noBucket: Meaning = {
  code: 'notFound',
  what: 'There is no such bucket',
  remedy: 'Create the bucket, or correct the store URL.',
};
const noObject: Meaning = { code: 'notFound', what: 'There is no such object', remedy: 'Check the key and the store.' };
const exists: Meaning = {
  code: 'exists',
  what: 'The object exists already',
  remedy: 'Use what the first writer wrote.',
};
const damaged: Meaning = {
  code: 'damaged',
  what: 'The bytes are not the ones that were sent or asked for',
  remedy: 'Try again; use an older checkpoint; check the network and the storage for faults.',
};
const wrongRegion: Meaning = {
  code: 'invalid',
  what: 'The bucket is in another region, or none is set',
  remedy: "Set AWS_REGION or the store URL's region= to the bucket's region.",
};

const byName: Readonly<Record<string, Meaning>> = {
  NoSuchBucket: noBucket,
  NoSuchKey: noObject,
  NotFound: noObject,
  PreconditionFailed: exists,
  InvalidAccessKeyId: wrongCredentials,
  SignatureDoesNotMatch: wrongCredentials,
  InvalidToken: wrongCredentials,
  CredentialsProviderError: noCredentials,
  TokenProviderError: noCredentials,
  ExpiredToken: expired,
  ExpiredTokenException: expired,
  RequestTimeTooSkewed: wrongClock,
  AccessDenied: notAllowed,
  QuotaExceeded: full,
  InsufficientCapacity: full,
  XMinioStorageFull: full,
  BadDigest: damaged,
  IncompleteBody: damaged,
  InvalidRange: damaged,
  XAmzContentChecksumMismatch: damaged,
  XAmzContentSHA256Mismatch: damaged,
  AuthorizationHeaderMalformed: wrongRegion,
  PermanentRedirect: wrongRegion,
  IllegalLocationConstraintException: wrongRegion,
  TimeoutError: noAnswer,
  RequestTimeout: noAnswer,
};

const byStatus: Readonly<Record<number, Meaning>> = {
  301: wrongRegion,
  401: wrongCredentials,
  403: notAllowed,
  404: noObject,
  412: exists,
  416: damaged,
  507: full,
};

const networkCodes = new Set(
  'ECONNREFUSED ECONNRESET ECONNABORTED ENOTFOUND EAI_AGAIN ETIMEDOUT EHOSTUNREACH ENETUNREACH EPIPE ERR_STREAM_PREMATURE_CLOSE'.split(
    ' ',
  ),
);

/** The parts of an SDK error that say what happened; the SDK types none of them on `unknown`. */
interface SdkError extends Error {
  readonly code?: unknown;
  readonly $metadata?: { readonly httpStatusCode?: number; readonly attempts?: number };
}

/** @param where what was being done, for the message: `object K in URL` */
export function explainSdkError(cause: unknown, where: string): StoreError {
  if (cause instanceof StoreError) return cause;
  const error = cause as SdkError;
  const meaning = meaningOf(error);
  const detail = [error.name, error.message].filter((text) => text && text !== 'UnknownError').join(': ');
  if (meaning) return new StoreError(meaning.code, `${meaning.what}: ${where} (${detail}).`, meaning.remedy, { cause });
  return new StoreError('failed', `S3 failed: ${where} (${detail}).`, 'Look at the cause and at the S3 service.', {
    cause,
  });
}

/** How often the SDK sent the request before it gave up with this error. */
export function attemptsOf(error: unknown): number {
  return (error as SdkError).$metadata?.attempts ?? 1;
}

/** Two conditional writes met; S3 asks the one that gets this to come again. */
export function isConflict(error: unknown): boolean {
  return (error as SdkError).$metadata?.httpStatusCode === 409;
}

function meaningOf(error: SdkError): Meaning | undefined {
  if (byName[error.name]) return byName[error.name];
  if (/checksum mismatch/i.test(error.message)) return damaged;
  if (/region is missing/i.test(error.message)) return wrongRegion;
  if (typeof error.code === 'string' && networkCodes.has(error.code)) return noAnswer;
  const status = error.$metadata?.httpStatusCode ?? 0;
  return byStatus[status] ?? (status >= 500 ? noAnswer : undefined);
}
