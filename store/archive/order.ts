/** What the archiver is asked and what it answers. The parent parses the answers (archiver.ts); this file is types alone. */

/** How much of a folder may be packed or unpacked. */
export interface Limits {
  /** Content of all files together; holes of sparse files do not count where the kernel tells them. */
  readonly bytes: number;
  /** Files, folders and links. */
  readonly entries: number;
  /** Folders within folders. */
  readonly depth: number;
}

export type Order =
  | {
      readonly task: 'pack';
      /** Absolute: the archiver has another working folder than its parent. */
      readonly directory: string;
      /** Sound patterns (patterns.ts), relative to the folder. Null stands for everything. */
      readonly include: readonly string[] | null;
      readonly limits: Limits;
      /** The addon that knows where sparse files have data (native/dataRanges.c). */
      readonly dataRanges: string | null;
    }
  | { readonly task: 'unpack'; readonly directory: string; readonly limits: Limits };

/**
 * Why a file is not in an archive, or not as it was.
 * - `pipe`, `socket`, `device`, `unknown`: a file of this type; left out.
 * - `vanished`: it was removed, or became something else, while the folder was packed; left out.
 * - `changed`: it grew or shrank while it was read; what was read is there, filled up with zeros.
 */
export type ExceptionReason = 'pipe' | 'socket' | 'device' | 'unknown' | 'vanished' | 'changed';

export interface Exceptions {
  readonly count: number;
  /** The first of them. Bytes that are not UTF-8 are shown as U+FFFD, and long paths are cut. */
  readonly examples: readonly { readonly path: string; readonly reason: ExceptionReason }[];
}

export interface Summary {
  /** Files and links, without folders. */
  readonly files: number;
  /** Numbers of the patterns in `include` that nothing matched. */
  readonly unmatched: readonly number[];
  readonly exceptions: Exceptions;
}

export type FailureCode = 'notFound' | 'denied' | 'full' | 'damaged' | 'invalid' | 'tooLarge' | 'unreadable' | 'failed';

/** One JSON line each; the last one is `done` or `failed`. */
export type Message =
  | { readonly type: 'progress'; readonly bytes: number }
  | { readonly type: 'done'; readonly summary: Summary }
  | { readonly type: 'failed'; readonly code: FailureCode; readonly message: string; readonly remedy: string };
