/**
 * How many pages an answer may have, so that CRIU's daemon can place them.
 *
 * What is in one answer goes into the program's memory by one call (UFFDIO_COPY), which the kernel refuses unless all of it belongs into
 * one mapping. But a program that runs changes its mappings: one that protects a part of one against writing has three. The daemon
 * does not know, takes the refusal for something that passes, and asks for the same again, for ever (`uffd_recoverable_error` in
 * criu/uffd.c). An answer may have fewer pages than were asked for: so whoever asks again gets half, and in the end one page, which
 * always is in one mapping; and while all goes well, twice as many with each answer.
 */
import { MOST_PAGES_ASKED, type Question } from '../criu/lazyPageServer.ts';
import { FreezerError } from '../errors.ts';

/**
 * A single page is refused only for a moment, while a mapping changes: or it has none any more, and the daemon has missed that,
 * because it counts what is unmapped in an int (`drop_iovs`), so 2 GiB at once are too much.
 */
const MOST_REFUSALS = 10_000;

interface Sizes {
  /** Pages in the next answer. */
  most: number;
  /** What was asked last of many pages, and how many it got. */
  askedAt: bigint;
  answered: number;
  /** What was asked last of one page, or got one, and how often in a row it was asked again. */
  singleAt: bigint;
  refusals: number;
}

export class AnswerSizes {
  readonly #ofProcess = new Map<number, Sizes>();

  /** To be called once for each question. Throws `FreezerError` `failed` for a page that cannot be placed at all. */
  mostPages({ process, address, pages }: Question): number {
    const sizes = this.#ofProcess.get(process) ?? newSizes();
    this.#ofProcess.set(process, sizes);
    if (sizes.singleAt !== address) sizes.refusals = 0;
    else if (++sizes.refusals > MOST_REFUSALS) throw cannotBePlaced(process, address);
    if (pages === 1) return 1;
    sizes.most =
      sizes.askedAt === address ? Math.max(1, sizes.answered >> 1) : Math.min(sizes.most * 2, MOST_PAGES_ASKED);
    return Math.min(pages, sizes.most);
  }

  /** What the question got. */
  answered({ process, address, pages }: Question, answered: number): void {
    const sizes = this.#ofProcess.get(process) ?? newSizes();
    if (answered === 1) sizes.singleAt = address;
    if (pages === 1) return;
    sizes.askedAt = address;
    sizes.answered = answered;
  }
}

function newSizes(): Sizes {
  return { most: MOST_PAGES_ASKED, askedAt: -1n, answered: 0, singleAt: -1n, refusals: 0 };
}

function cannotBePlaced(process: number, address: bigint): FreezerError {
  return new FreezerError(
    'failed',
    `Process ${process} has unmapped memory at ${address.toString(16)} in a way that CRIU's daemon cannot follow.`,
    'Thaw it eagerly: `thaw: eager` in the job.',
  );
}
