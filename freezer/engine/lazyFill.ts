/**
 * Brings a program that runs already the rest of its memory: answers CRIU's questions until CRIU says that it has all.
 *
 * The connection is never closed from here while the program lives. CRIU's daemon would end, and what ends with it are the pages of
 * a program that goes on (agent/lazyPages.ts): so where a page cannot be had the question stays open, and the worker, which is told
 * why, ends the container before it ends this process.
 */
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { controlFiles } from '../agent/protocol.ts';
import { answerHeader, closeAnswer, type Question, QuestionParser } from '../criu/lazyPageServer.ts';
import { type HeaderLayout, PAGE_BYTES } from '../criu/pageServer.ts';
import { FreezerError } from '../errors.ts';
import { AnswerSizes } from './answerSizes.ts';
import type { PageSource } from './pageSource.ts';

const NOTHING = new Uint8Array();

export interface LazyFillOptions {
  readonly controlDirectory: string;
  readonly layout: HeaderLayout;
  readonly source: PageSource;
  /** Called with how many bytes have been brought so far. */
  readonly onBrought: (bytes: number) => void;
}

/**
 * Resolves when CRIU has said that it is through. Rejects with `FreezerError`: `corrupt` for content that does not verify, `failed`
 * when CRIU is not understood, `lost` when it leaves early: why, the agent knows.
 */
export async function fillLazily(options: LazyFillOptions): Promise<void> {
  await using directory = await open(options.controlDirectory, constants.O_DIRECTORY);
  // Through the descriptor, because a socket's path may have 107 bytes at most and folders can be deep.
  const socket = connect(join('/proc/self/fd', String(directory.fd), controlFiles.pages));
  await new Fill(socket, options).done;
}

class Fill {
  readonly done: Promise<void>;
  readonly #socket: Socket;
  readonly #options: LazyFillOptions;
  readonly #parser: QuestionParser;
  readonly #questions: Question[] = [];
  readonly #sizes = new AnswerSizes();
  #isAnswering = false;
  #brought = 0;

  constructor(socket: Socket, options: LazyFillOptions) {
    this.#socket = socket;
    this.#options = options;
    this.#parser = new QuestionParser(options.layout, (question) => this.#questions.push(question));
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.done = promise;
    socket.on('data', (bytes: Buffer) => {
      try {
        this.#parser.feed(bytes);
      } catch (error) {
        reject(error);
        socket.pause();
        return;
      }
      // In the order of the questions, whatever is there first.
      if (!this.#isAnswering) this.#answerAll().catch(reject);
    });
    socket.once('error', (error) => reject(leftEarly(error)));
    socket.once('close', () => (this.#parser.isClosed ? resolve() : reject(leftEarly())));
  }

  async #answerAll(): Promise<void> {
    this.#isAnswering = true;
    for (let question = this.#questions.shift(); question; question = this.#questions.shift()) {
      const most = this.#sizes.mostPages(question);
      const answer = await this.#options.source.answer({ ...question, pages: most });
      const bytes = answer.pages.reduce((sum, { length }) => sum + length, 0);
      this.#sizes.answered(question, bytes / PAGE_BYTES);
      this.#socket.cork();
      this.#socket.write(answerHeader(this.#options.layout, question, bytes / PAGE_BYTES));
      for (const part of answer.pages) this.#socket.write(part);
      // Called also for what was never sent.
      this.#socket.write(NOTHING, () => answer[Symbol.dispose]());
      this.#socket.uncork();
      this.#brought += bytes;
      this.#options.onBrought(this.#brought);
    }
    this.#isAnswering = false;
    if (this.#parser.isClosed) this.#socket.end(closeAnswer);
  }
}

function leftEarly(cause?: unknown): FreezerError {
  const what = "CRIU's daemon for lazy pages left before the program had all its memory.";
  return new FreezerError('lost', what, "See the worker's log for its last words.", { cause });
}
