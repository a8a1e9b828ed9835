/**
 * Memory that CRIU has dumped to images (pagemap-*.img, pages-*.img), told as its page stream would have: the way where there is
 * room for them in memory. CRIU needs nobody's help then, and so the program stands still no longer than it must; what is to be
 * done with the pages is done when it runs again.
 */
import { constants } from 'node:fs';
import { type FileHandle, open, readdir, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { decodePagemap, isPagesName, type PageRange, pagemapObject, pagesName } from '../criu/pagemap.ts';
import { flawOfRange, PageFlags, type PageSink } from '../criu/pageServer.ts';
import { FreezerError } from '../errors.ts';
import type { FilePart } from './content.ts';
import { PAGE_BYTES } from './format.ts';

/** Never through a link: what is read here, the container's side has written. */
export const OPEN_IMAGE = constants.O_RDONLY | constants.O_NOFOLLOW;

/** Told at once; then the sink may want to wait. */
const STEP_BYTES = 2 * 2 ** 20;

interface MemoryImage {
  readonly object: bigint;
  readonly ranges: readonly PageRange[];
  readonly pages: FileHandle;
}

export class PageImages implements AsyncDisposable {
  readonly sizeBytes: number;
  readonly #images: readonly MemoryImage[];
  readonly #opened: AsyncDisposable;

  private constructor(images: readonly MemoryImage[], opened: AsyncDisposable) {
    this.#images = images;
    this.#opened = opened;
    this.sizeBytes = images.reduce((sum, { ranges }) => sum + presentBytes(ranges), 0);
  }

  /** Whether it is for here, and not an image like others. */
  static has(name: string): boolean {
    return isPagesName(name) || pagemapObject(name) !== null;
  }

  /**
   * Takes the images out of their folder: their memory comes free when this is disposed of, or the process ends. Throws `FreezerError`
   * `dumpFailed` where they do not belong together.
   * @param openedAs what is open already, by name, and remains the caller's
   */
  static async open(
    directory: string,
    openedAs: (name: string) => FileHandle | undefined = () => undefined,
  ): Promise<PageImages> {
    await using opened = new AsyncDisposableStack();
    const images: MemoryImage[] = [];
    for (const name of (await readdir(directory)).sort()) {
      const object = pagemapObject(name);
      if (object === null) continue;
      await using file = await open(join(directory, name), OPEN_IMAGE);
      const { pagesId, ranges } = decodePagemap(await file.readFile());
      const path = join(directory, pagesName(pagesId));
      const pages = openedAs(pagesName(pagesId)) ?? opened.use(await open(path, OPEN_IMAGE));
      await unlink(path);
      checkRanges(name, ranges, (await pages.stat()).size);
      images.push({ object, ranges, pages });
    }
    return new PageImages(images, opened.move());
  }

  /** `ready` resolves when the sink can take more. */
  async read(sink: PageSink<FilePart>, ready: () => Promise<void>): Promise<void> {
    for (const { object, ranges, pages } of this.#images) {
      let offset = 0;
      sink.open(object);
      for (const range of ranges) {
        sink.range(object, ...range);
        const end = offset + presentBytes([range]);
        for (let address = range[0]; offset < end; ) {
          await ready();
          const length = Math.min(STEP_BYTES, end - offset);
          sink.data(address, { file: pages.fd, offset, length });
          address += BigInt(length);
          offset += length;
        }
      }
      sink.close();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#opened[Symbol.asyncDispose]();
  }
}

function presentBytes(ranges: readonly PageRange[]): number {
  return ranges.reduce((sum, [, pages, flags]) => sum + (flags & PageFlags.present ? pages * PAGE_BYTES : 0), 0);
}

function checkRanges(name: string, ranges: readonly PageRange[], sizeBytes: number): void {
  const flaw = ranges.map(([address, pages]) => flawOfRange(address, pages)).find((each) => each !== null);
  const describes = presentBytes(ranges);
  if (!flaw && describes === sizeBytes) return;
  const what = flaw ?? `it describes ${describes} bytes, and there are ${sizeBytes}`;
  const remedy = 'Use the toolbox that belongs to this version of Floe.';
  throw new FreezerError('dumpFailed', `CRIU's ${name} is not understood: ${what}.`, remedy);
}
