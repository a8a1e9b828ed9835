/**
 * Brings a program that runs already the rest of its memory: answers the filler's questions until that says that it has all.
 *
 * The connection is never closed from here while the program lives: the filler would end, and the program wait for its pages for ever
 * (agent/lazyPages.ts). So where a page cannot be had the question stays open, and the worker, which is told why, ends the container
 * before it ends this process.
 */
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { controlFiles } from '../agent/protocol.ts';
import { PAGE_BYTES } from '../checkpoint/format.ts';
import type { LazyMemory } from '../checkpoint/lazyMemory.ts';
import { FreezerError } from '../errors.ts';
import { answerHeader, type Pages, type Question, QuestionParser, rangeMessages } from './fillMessages.ts';
import type { Answer, PageSource } from './pageSource.ts';

const NOTHING = new Uint8Array();
/** Pages that are waited for may lie far from each other: each is a request to the store of its own. */
const WANTED_AT_A_TIME = 8;

export interface LazyFillOptions {
  readonly controlDirectory: string;
  readonly memory: readonly LazyMemory[];
  readonly source: PageSource;
  /** Called with how many bytes have been brought so far. */
  readonly onBrought: (bytes: number) => void;
}

/**
 * Resolves when the filler has said that it is through. Rejects with `FreezerError`: `corrupt` for content that does not verify,
 * `failed` when the filler is not understood, `lost` when it leaves early: why, the agent knows.
 */
export async function fillLazily(options: LazyFillOptions): Promise<void> {
  await using directory = await open(options.controlDirectory, constants.O_DIRECTORY);
  // Through the descriptor, because a socket's path may have 107 bytes at most and folders can be deep.
  const socket = connect(join('/proc/self/fd', String(directory.fd), controlFiles.pages));
  await new Fill(socket, options).done;
}

/** Questions, of which some are answered at a time. */
interface Line {
  readonly questions: Question[];
  readonly mostAtATime: number;
  answering: number;
}

class Fill {
  readonly #done = Promise.withResolvers<void>();
  readonly #socket: Socket;
  readonly #options: LazyFillOptions;
  readonly #parser: QuestionParser;
  readonly #wanted: Line = { questions: [], mostAtATime: WANTED_AT_A_TIME, answering: 0 };
  readonly #next: Line = { questions: [], mostAtATime: 1, answering: 0 };
  /** Resolves when the filler has taken so much of what was written that more may follow. */
  #room = Promise.resolve();
  #brought = 0;

  constructor(socket: Socket, options: LazyFillOptions) {
    this.#socket = socket;
    this.#options = options;
    this.#parser = new QuestionParser((question) =>
      (question.isWanted ? this.#wanted : this.#next).questions.push(question),
    );
    socket.write(rangeMessages(options.memory));
    socket.on('data', (bytes: Buffer) => this.#heard(bytes));
    socket.once('error', (error) => this.#done.reject(leftEarly(error)));
    socket.once('close', () => (this.#parser.isDone ? this.#done.resolve() : this.#done.reject(leftEarly())));
  }

  get done(): Promise<void> {
    return this.#done.promise;
  }

  #heard(bytes: Buffer): void {
    try {
      this.#parser.feed(bytes);
    } catch (error) {
      this.#done.reject(error);
      this.#socket.pause();
      return;
    }
    // The filler takes what is under way, and leaves when it sees this end.
    if (this.#parser.isDone) this.#socket.end();
    else for (const line of [this.#wanted, this.#next]) this.#answerAll(line);
  }

  #answerAll(line: Line): void {
    while (line.answering < line.mostAtATime && line.questions.length > 0) {
      line.answering += 1;
      this.#answerInTurn(line).catch((error: unknown) => this.#done.reject(error));
    }
  }

  async #answerInTurn(line: Line): Promise<void> {
    for (let question = line.questions.shift(); question; question = line.questions.shift()) {
      await this.#answer(question);
    }
    line.answering -= 1;
  }

  async #answer({ process, address, pages }: Question): Promise<void> {
    const end = address + pages * PAGE_BYTES;
    for (let at = address; at < end; ) {
      await this.#room;
      const answer = await this.#options.source.answer({ process, address: at, pages: (end - at) / PAGE_BYTES });
      if (this.#parser.isDone) return answer[Symbol.dispose]();
      at += this.#write({ process, address: at }, answer);
    }
  }

  /** Returns how many bytes of memory it was. */
  #write(of: Omit<Pages, 'pages'>, answer: Answer): number {
    const bytes = answer.pages.reduce((sum, { length }) => sum + length, 0);
    this.#socket.cork();
    this.#socket.write(answerHeader({ ...of, pages: bytes / PAGE_BYTES }));
    for (const part of answer.pages) this.#socket.write(part);
    // Called also for what was never sent.
    this.#socket.write(NOTHING, () => answer[Symbol.dispose]());
    this.#socket.uncork();
    if (this.#socket.writableNeedDrain) this.#room = new Promise((resolve) => this.#socket.once('drain', resolve));
    this.#brought += bytes;
    this.#options.onBrought(this.#brought);
    return bytes;
  }
}

function leftEarly(cause?: unknown): FreezerError {
  const what = 'What fills the memory of the job left before the program had all of it.';
  return new FreezerError('lost', what, "See the worker's log for its last words.", { cause });
}
