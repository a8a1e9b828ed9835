/** Whether a program starts before its memory is there. */
import { access } from 'node:fs/promises';
import { type LazyMemory, lazyBytes } from '../checkpoint/lazyMemory.ts';
import type { ThawMode } from '../runtime.ts';

/** Below this all of the memory is there about as soon as the program could start without it. */
const LAZY_FROM_BYTES = 512 * 2 ** 20;
/**
 * How much of it one process must have. Pages that processes have in common since a fork become copies when they are brought
 * one by one: such trees would take more memory than they had.
 */
const SHARE_OF_ONE = 0.9;

/** What the kernel has only with userfaultfd(2), which processes get their missing pages by. */
const USERFAULTFD = '/proc/sys/vm/unprivileged_userfaultfd';

/** `lazy` is what could be brought later. */
export async function isLazyThaw(mode: ThawMode, lazy: readonly LazyMemory[], memoryBytes: number): Promise<boolean> {
  if (mode !== 'auto') return mode === 'lazy' && lazy.length > 0;
  const largest = Math.max(0, ...lazy.map((one) => lazyBytes([one])));
  if (memoryBytes < LAZY_FROM_BYTES || largest < memoryBytes * SHARE_OF_ONE) return false;
  return await access(USERFAULTFD).then(
    () => true,
    () => false,
  );
}
