/**
 * A body that is sent as the parts that it is in memory: not joined, and read once for a checksum. Where the connection is encrypted
 * that is CRC32, which S3 compares; elsewhere SHA-256, which the signature covers, too, so that nobody on the way changes a bit of it.
 *
 * Source: "Authenticating Requests (AWS Signature Version 4)" and "Checking object integrity for data uploads", Amazon S3 User Guide.
 */
import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import { crc32 } from 'node:zlib';
import type { PutObjectCommand } from '@aws-sdk/client-s3';

/** From this size on S3 is asked first whether it takes the body at all, as the SDK does. */
const askFirstFromBytes = 2 * 2 ** 20;

/** What is needed of the SDK's requests. */
interface HttpRequest {
  readonly protocol: string;
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

function describe({ headers, protocol }: HttpRequest, parts: readonly Uint8Array[]): void {
  const sizeBytes = parts.reduce((sum, { length }) => sum + length, 0);
  headers['content-length'] = String(sizeBytes);
  if (sizeBytes >= askFirstFromBytes) headers.expect = '100-continue';
  if (protocol === 'https:') {
    headers['x-amz-content-sha256'] = 'UNSIGNED-PAYLOAD';
    headers['x-amz-checksum-crc32'] = crc32Of(parts).toString('base64');
  } else {
    const digest = sha256Of(parts);
    headers['x-amz-content-sha256'] = digest.toString('hex');
    headers['x-amz-checksum-sha256'] = digest.toString('base64');
  }
}

function crc32Of(parts: readonly Uint8Array[]): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(parts.reduce((sum, part) => crc32(part, sum), 0));
  return bytes;
}

function sha256Of(parts: readonly Uint8Array[]): Buffer {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part);
  return hash.digest();
}
