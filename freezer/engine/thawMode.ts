/** Whether a program starts before its memory is there. */
import { access } from 'node:fs/promises';
import type { Index } from '../checkpoint/format.ts';
import { type LazyMemory, lazyBytes } from '../checkpoint/lazyMemory.ts';
import { partOf } from '../checkpoint/pieces.ts';
import { roomForImages } from '../run/roomForImages.ts';
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

/** What an eager thaw would take. */
interface EagerNeeds {
  readonly memoryBytes: number;
  /** How much CRIU's images of it would take in the folder. */
  readonly imageBytes: number;
  readonly imagesDirectory: string;
}

/** `lazy` is what could be brought later. Where there is no room for the images of all memory, it is unless that was ruled out. */
export async function isLazyThaw(mode: ThawMode, lazy: readonly LazyMemory[], eager: EagerNeeds): Promise<boolean> {
  if (mode !== 'auto') return mode === 'lazy' && lazy.length > 0;
  const { memoryBytes, imageBytes, imagesDirectory } = eager;
  const largest = Math.max(0, ...lazy.map(lazyBytes));
  const isWorthIt = memoryBytes >= LAZY_FROM_BYTES && largest >= memoryBytes * SHARE_OF_ONE;
  if (!isWorthIt && (lazy.length === 0 || (await roomForImages(imagesDirectory, imageBytes)))) return false;
  return await access(USERFAULTFD).then(
    () => true,
    () => false,
  );
}

/** What CRIU's images of the memory take on a tmpfs: zeros are holes. */
export function memoryImageBytes({ memory, chunks }: Pick<Index, 'memory' | 'chunks'>): number {
  let sum = 0;
  for (const { pieces } of memory) {
    for (const piece of pieces) {
      const part = partOf(piece, chunks);
      if (part && part.chunk !== null) sum += part.sizeBytes;
    }
  }
  return sum;
}
