import { type Bytes, textOf } from './beneath.ts';
import type { ExceptionReason, Exceptions } from './order.ts';

const EXAMPLES = 20;
const LONGEST_SHOWN = 300;

/** Collects what is not in an archive as it was: all are counted, some are named. */
export class ExceptionList {
  #count = 0;
  readonly #examples: { path: string; reason: ExceptionReason }[] = [];

  add(path: Bytes, reason: ExceptionReason): void {
    this.#count += 1;
    if (this.#examples.length >= EXAMPLES) return;
    const text = textOf(path);
    this.#examples.push({ path: text.length > LONGEST_SHOWN ? `${text.slice(0, LONGEST_SHOWN)}…` : text, reason });
  }

  summary(): Exceptions {
    return { count: this.#count, examples: this.#examples };
  }
}
