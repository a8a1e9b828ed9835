/** A fixed number of compressor threads behind three functions. */
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import { FreezerError } from '../errors.ts';
import { siblingModule } from '../siblingModule.ts';
import type {
  Answer,
  ExamineAnswer,
  ExamineRequest,
  Refusal,
  Request,
  UnpackAnswer,
  UnpackRequest,
} from './compressor.ts';

interface Task {
  request: Request;
  answer: PromiseWithResolvers<Answer>;
}

export class Compressors implements AsyncDisposable {
  readonly count: number;
  readonly #threads: Worker[];
  readonly #idle: Worker[];
  readonly #waiting: Task[] = [];
  readonly #running = new Map<Worker, Task>();
  #failure: FreezerError | undefined;

  /** `count` defaults to the number of cores, at most 4: CRIU hands pages over no faster than so many compress them. */
  constructor(count = Math.min(4, availableParallelism())) {
    this.count = count;
    this.#threads = Array.from({ length: count }, () => this.#startThread());
    this.#idle = [...this.#threads];
  }

  examine(request: Omit<ExamineRequest, 'kind'>): Promise<ExamineAnswer> {
    return this.#submit({ kind: 'examine', ...request }) as Promise<ExamineAnswer>;
  }

  /** `bytes` must own its whole buffer: it is handed over. */
  unpack(request: Omit<UnpackRequest, 'kind'>): Promise<UnpackAnswer> {
    return this.#submit({ kind: 'unpack', ...request }) as Promise<UnpackAnswer>;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#threads.map((thread) => thread.terminate()));
  }

  #submit(request: Request): Promise<Answer> {
    if (this.#failure) return Promise.reject(this.#failure);
    const answer = Promise.withResolvers<Answer>();
    this.#waiting.push({ request, answer });
    this.#next();
    return answer.promise;
  }

  #next(): void {
    while (this.#idle.length > 0 && this.#waiting.length > 0) {
      const thread = this.#idle.pop() as Worker;
      const task = this.#waiting.shift() as Task;
      this.#running.set(thread, task);
      thread.postMessage(
        task.request,
        task.request.kind === 'unpack' ? [task.request.bytes.buffer as ArrayBuffer] : [],
      );
    }
  }

  #startThread(): Worker {
    const thread = new Worker(siblingModule(import.meta.url, 'compressor'));
    thread.on('message', (answer: Answer | Refusal) => {
      const task = this.#running.get(thread);
      this.#running.delete(thread);
      this.#idle.push(thread);
      if ('kind' in answer) task?.answer.reject(Object.assign(new Error(answer.message), { code: answer.code }));
      else task?.answer.resolve(answer);
      this.#next();
    });
    thread.on('error', (cause) => this.#fail(cause));
    return thread;
  }

  /** One thread less is a task without an answer, and none at all is no answer for ever: everything ends here. */
  #fail(cause: unknown): void {
    const remedy = 'See the log of the worker; most likely it ran out of memory or of processes.';
    this.#failure ??= new FreezerError('failed', `A compressor thread failed: ${cause}`, remedy, { cause });
    for (const task of [...this.#running.values(), ...this.#waiting.splice(0)]) task.answer.reject(this.#failure);
    this.#running.clear();
  }
}
