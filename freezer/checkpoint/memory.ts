/**
 * Memory on its way out: CRIU's page stream, or its images, cut into windows at multiples of the chunk size in the *address space*, not in the
 * stream: a page that appears or goes away changes one window and leaves all others what they were.
 *
 * A window is stored in the cheapest of these ways:
 *   all zeros                  → nothing is stored
 *   as it was in the base      → refers to what is there
 *   some pages changed         → those go, with those of other such windows, into a chunk of their own; the window is pieces
 *                                of that and of what is there. So a page written here and there costs a page, not a window
 *   most changed, or new, or
 *   in more than a few pieces  → a chunk of its own, or one that is known by its id
 */
import type { PageSink } from '../criu/pageServer.ts';
import type { BaseMemory } from './baseMemory.ts';
import { ChangedPages } from './changedPages.ts';
import type { ChunkWriter } from './chunkWriter.ts';
import type { Finding } from './codec.ts';
import { type Content, type ContentPart, mergedParts, partAt, partOfPart } from './content.ts';
import { CHUNK_BYTES, type Index, PAGE_BYTES, type Piece } from './format.ts';
import { DIGEST_BYTES, type PageDigests, zeroDigests } from './pageDigests.ts';
import { countParts, type Part, piecesOf, zeros } from './pieces.ts';
import { PAGES_PER_WINDOW } from './stretches.ts';

type MemoryObject = Index['memory'][number];

/** Beyond this share of changed pages a window is stored whole. */
const MOST_CHANGED = 0.5;
/** Beyond this number of pieces too: each is a look-up when the window is read. */
const MOST_PIECES = 24;

const ZERO_PART: Part = { chunk: null, offset: 0, sizeBytes: PAGE_BYTES };

interface Window {
  readonly object: WindowedObject;
  readonly number: number;
  /** Its place among the windows of the object. */
  readonly position: number;
  /** Of its first page, among all of the checkpoint. */
  readonly firstPage: number;
  readonly pages: number[];
  readonly parts: ContentPart[];
}

interface WindowedObject {
  readonly object: string;
  readonly ranges: MemoryObject['ranges'];
  readonly windows: Piece[][];
}

export interface MemoryWriterOptions {
  readonly writer: ChunkWriter;
  /** Null where there is none, or nothing is known of its pages. */
  readonly base: BaseMemory | null;
  /** Where the pages' digests are written, for the next checkpoint. */
  readonly digests: PageDigests;
  /** What is known of whole pages before they are examined (earlyPages.ts). Default nothing. */
  readonly digestsOf?: (pages: Content) => Uint8Array | null;
  readonly partsOf?: (pages: Content) => Part[] | null;
}

export class MemoryWriter implements PageSink<ContentPart> {
  readonly #writer: ChunkWriter;
  readonly #base: BaseMemory | null;
  readonly #digests: PageDigests;
  readonly #digestsOf: (pages: Content) => Uint8Array | null;
  readonly #partsOf: (pages: Content) => Part[] | null;
  readonly #objects: WindowedObject[] = [];
  readonly #changed: ChangedPages;
  /** Of a page of zeros. */
  readonly #zeroDigest: Buffer;
  #current: WindowedObject | undefined;
  #window: Window | null = null;
  #pages = 0;

  constructor({ writer, base, digests, digestsOf = () => null, partsOf = () => null }: MemoryWriterOptions) {
    this.#writer = writer;
    this.#base = base;
    this.#digests = digests;
    this.#digestsOf = digestsOf;
    this.#partsOf = partsOf;
    this.#changed = new ChangedPages(writer);
    this.#zeroDigest = zeroDigests(1, digests.seed);
  }

  open(object: bigint): void {
    this.#endWindow();
    this.#current = { object: String(object), ranges: [], windows: [] };
    this.#objects.push(this.#current);
  }

  range(_object: bigint, address: bigint, pages: number, flags: number): void {
    this.#current?.ranges.push([String(address), pages, flags]);
  }

  /** Bytes in memory lie in a slab of the writer's. */
  data(address: bigint, bytes: ContentPart): void {
    for (let at = 0; at < bytes.length; ) {
      const here = Number(address) + at;
      const window = this.#windowAt(here);
      const taken = Math.min(CHUNK_BYTES - (here % CHUNK_BYTES), bytes.length - at);
      this.#addPart(window.parts, partOfPart(bytes, at, taken));
      // Bytes come in pieces of any size: a page counts when its first byte is there.
      for (let page = Math.ceil(here / PAGE_BYTES); page * PAGE_BYTES < here + taken; page++) {
        window.pages.push(page % PAGES_PER_WINDOW);
        this.#pages++;
      }
      at += taken;
    }
  }

  /** What arrived in two reads and lies in one slab is one part: joining parts costs a copy. */
  #addPart(parts: ContentPart[], part: ContentPart): void {
    const last = parts.at(-1);
    const merged = last ? mergedParts(last, part) : null;
    if (merged) {
      parts.splice(-1, 1, merged);
      return;
    }
    this.#writer.slabs.hold(part);
    parts.push(part);
  }

  close(): void {
    this.#endWindow();
    this.#current = undefined;
  }

  /** What the index says of memory, once everything is examined; to be called before its `finish`. */
  objects(): MemoryObject[] {
    return this.#objects.map(({ object, ranges, windows }) => ({ object, ranges, pieces: windows.flat() }));
  }

  /** To be called when the stream is over and all is examined: what is left of changed pages becomes a chunk. */
  finish(): void {
    this.#digests.flush();
    this.#changed.flush();
  }

  #windowAt(address: number): Window {
    const number = Math.floor(address / CHUNK_BYTES);
    const page = Math.floor((address % CHUNK_BYTES) / PAGE_BYTES);
    const isWithinPage = address % PAGE_BYTES !== 0;
    const last = this.#window?.pages.at(-1) ?? -1;
    const isSame = this.#window?.number === number && (page > last || (page === last && isWithinPage));
    if (this.#window && isSame) return this.#window;
    this.#endWindow();
    const object = this.#current;
    if (!object) throw new Error('Pages came before the object that they belong to.');
    const position = object.windows.push([]) - 1;
    this.#window = { object, number, position, firstPage: this.#pages, pages: [], parts: [] };
    return this.#window;
  }

  #endWindow(): void {
    const window = this.#window;
    this.#window = null;
    if (!window) return;
    if (!this.#placeKnown(window)) this.#examine(window);
    for (const part of window.parts) this.#writer.slabs.release(part);
  }

  /** By what is known before its pages are looked at; false where that is nothing. */
  #placeKnown(window: Window): boolean {
    const digests = this.#digestsOf(window.parts);
    if (!digests) return false;
    const stored = this.#base ? null : this.#partsOf(window.parts);
    if (!this.#base && !stored) return false;
    this.#digests.write(window.firstPage, digests);
    if (stored) this.#settle(window, piecesOf(stored));
    else this.#compare(window, digests);
    return true;
  }

  #examine(window: Window): void {
    // Of a window that was there before it is asked first whether it has changed.
    const isNew = !this.#base?.has(window.object.object, window.number);
    this.#writer.examine(window.parts, { digests: true, stored: isNew }, (finding) => {
      this.#digests.write(window.firstPage, finding.digests);
      if (isNew || finding.isZero) this.#storeWhole(window, finding);
      else this.#compare(window, finding.digests);
    });
  }

  /** With the base. */
  #compare(window: Window, digests: Uint8Array): void {
    const pieces = this.#asBefore(window, digests) ?? this.#asChanges(window, digests);
    if (pieces) this.#settle(window, pieces);
    else this.#writer.examine(window.parts, { stored: true }, (finding) => this.#storeWhole(window, finding));
  }

  #storeWhole(window: Window, finding: Finding): void {
    const { isZero } = finding;
    this.#settle(window, [
      isZero ? zeros(window.pages.length * PAGE_BYTES) : this.#writer.store(window.parts, finding),
    ]);
  }

  #settle({ object, position }: Window, pieces: Piece[]): void {
    object.windows[position] = pieces;
  }

  #asBefore({ object, number, pages }: Window, digests: Uint8Array): Piece[] | null {
    const parts = this.#base?.unchanged(object.object, number, Uint8Array.from(pages), digests);
    return parts ? piecesOf(parts.map((part) => this.#reused(part))) : null;
  }

  #asChanges({ object, number, pages, parts }: Window, digests: Uint8Array): Piece[] | null {
    const before = this.#base?.pagesOf(object.object, number);
    if (!before) return null;
    const kept = pages.map((page, at) => {
      const digest = digests.subarray(at * DIGEST_BYTES, (at + 1) * DIGEST_BYTES);
      if (this.#zeroDigest.equals(digest)) return ZERO_PART;
      const old = before.get(page);
      return old?.digest.equals(digest) ? old.part : null;
    });
    const changed = kept.filter((part) => part === null).length;
    if (changed > pages.length * MOST_CHANGED || countParts(kept) > MOST_PIECES) return null;
    return piecesOf(
      kept.map((part, at) =>
        part === null ? this.#changed.add(partAt(parts, at * PAGE_BYTES, PAGE_BYTES)) : this.#reused(part),
      ),
    );
  }

  #reused(part: Part): Part {
    return part.chunk === null ? part : { ...part, chunk: this.#writer.reuse(part.chunk) };
  }
}
