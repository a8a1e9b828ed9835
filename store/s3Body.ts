/**
 * A body that is sent as the parts that it is in memory: not joined, and read once for its SHA-256. The signature covers that, so every
 * S3 compares it, old ones and gateways that know no other checksum too, and nobody on the way changes a bit; S3 keeps it with the object.
 *
 * Source: "Authenticating Requests (AWS Signature Version 4)" and "Checking object integrity for data uploads", Amazon S3 User Guide.
 */
import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import type { PutObjectCommand } from '@aws-sdk/client-s3';

/** From this size on S3 is asked first whether it takes the body at all, as the SDK does. */
const askFirstFromBytes = 2 * 2 ** 20;

/** What is needed of the SDK's requests. */
interface HttpRequest {
  readonly headers: Record<string, string>;
  body?: unknown;
}

/** `command` is one without a `Body`. Each attempt to send it reads `parts` again. */
export function attachBody(command: PutObjectCommand, parts: readonly Uint8Array[]): void {
  const { middlewareStack } = command;
  // Before the SDK looks whether it has to make a checksum of its own.
  middlewareStack.add(
    (next) => (sent) => {
      describe(sent.request as HttpRequest, parts);
      return next(sent);
    },
    { name: 'describeParts', step: 'build', priority: 'high' },
  );
  // After the SDK has decided to send, or to send again: it does not repeat a request whose body it takes for a stream.
  middlewareStack.add(
    (next) => (sent) => {
      (sent.request as HttpRequest).body = Readable.from(parts, { objectMode: false });
      return next(sent);
    },
    { name: 'attachParts', step: 'finalizeRequest', priority: 'low' },
  );
}

function describe({ headers }: HttpRequest, parts: readonly Uint8Array[]): void {
  const sizeBytes = parts.reduce((sum, { length }) => sum + length, 0);
  headers['content-length'] = String(sizeBytes);
  if (sizeBytes >= askFirstFromBytes) headers.expect = '100-continue';
  const digest = sha256Of(parts);
  headers['x-amz-content-sha256'] = digest.toString('hex');
  headers['x-amz-checksum-sha256'] = digest.toString('base64');
}

function sha256Of(parts: readonly Uint8Array[]): Buffer {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part);
  return hash.digest();
}
