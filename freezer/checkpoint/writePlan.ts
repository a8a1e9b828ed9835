/** Where in open files the content of a chunk belongs, as plain data, so that any thread can write it. */
import { writeSync } from 'node:fs';

/** A descriptor of this process, the offset in that file, the offset in the chunk's content, and how many bytes. */
export type Write = readonly [file: number, fileOffset: number, contentOffset: number, sizeBytes: number];

/** Throws what the file system says, `ENOSPC` for one. */
export function execute(writes: readonly Write[], content: Uint8Array): void {
  for (const [file, fileOffset, contentOffset, sizeBytes] of writes) {
    // A single write may be cut short, by a disk that fills up for one.
    for (let at = 0; at < sizeBytes; ) {
      at += writeSync(file, content, contentOffset + at, sizeBytes - at, fileOffset + at);
    }
  }
}
