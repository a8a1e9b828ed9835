/**
 * What goes to this process's own stdout and stderr, in order. Written through the thread pool: Node's own streams block
 * the whole process while a pipe's reader is slow, and then nothing could be frozen any more.
 */
import { write } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { redact, redactJson } from '../../base/redact.ts';
import { escapeUnsafe, plain, plainLines } from '../../base/terminal.ts';

const writeSome = promisify(write);
export const FILE_DESCRIPTORS = { stdout: 1, stderr: 2 } as const;
export type Stream = keyof typeof FILE_DESCRIPTORS;

/** A terminal may be in non-blocking mode because of another program's wish. */
const WHEN_FULL_MS = 10;

const last: Record<Stream, Promise<void>> = { stdout: Promise.resolve(), stderr: Promise.resolve() };
const closed = new Set<Stream>();

/**
 * Resolves when the reader has taken it. Where there is no reader any more it is dropped, which the other stream is told once:
 * the program itself does not depend on somebody looking on.
 */
export function writeOut(stream: Stream, bytes: Uint8Array): Promise<void> {
  last[stream] = last[stream].then(() => writeAll(stream, bytes));
  return last[stream];
}

/** One line to stderr, marked as freezer's own. */
export function say(line: string): void {
  void writeOut('stderr', Buffer.from(`freezer: ${plain(redact(line))}\n`));
}

/** Lines for people, to stdout: nothing in them that a terminal would obey, and no secret. */
export function printLines(text: string): Promise<void> {
  return writeOut('stdout', Buffer.from(redact(plainLines(text))));
}

export function printJson(value: unknown): Promise<void> {
  return writeOut('stdout', Buffer.from(escapeUnsafe(redactJson(`${JSON.stringify(value)}\n`))));
}

/** Resolves when everything is written. */
export async function settled(): Promise<void> {
  await Promise.all([last.stdout, last.stderr]);
}

async function writeAll(stream: Stream, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length && !closed.has(stream); ) {
    try {
      at += (await writeSome(FILE_DESCRIPTORS[stream], bytes, at, bytes.length - at)).bytesWritten;
    } catch (error) {
      if (error instanceof Error && 'code' in error && error.code === 'EAGAIN') await delay(WHEN_FULL_MS);
      else giveUp(stream, error);
    }
  }
}

function giveUp(stream: Stream, error: unknown): void {
  closed.add(stream);
  if (stream === 'stdout') say(`What the program writes is shown no longer: ${error}`);
}
