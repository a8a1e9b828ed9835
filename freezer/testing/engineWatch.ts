/** Watches, while Floe works, what it costs its caller: the memory of its engine processes and the delay of the event loop. */
import { readdir, readFile } from 'node:fs/promises';
import { monitorEventLoopDelay } from 'node:perf_hooks';

const LOOK_EVERY_MS = 25;

export interface EngineCost {
  /** The largest resident size that one of them had. */
  readonly rssBytes: number;
  readonly loopDelayP99Ms: number;
}

export class EngineWatch implements Disposable {
  readonly #delays = monitorEventLoopDelay({ resolution: 1 });
  readonly #timer: NodeJS.Timeout;
  #rssBytes = 0;

  constructor() {
    this.#delays.enable();
    this.#timer = setInterval(() => void this.#look(), LOOK_EVERY_MS);
  }

  /** Throws where it has not seen an engine: that would pass for one without memory. */
  get cost(): EngineCost {
    if (this.#rssBytes === 0) throw new Error('No engine process was seen.');
    return { rssBytes: this.#rssBytes, loopDelayP99Ms: this.#delays.percentile(99) / 1e6 };
  }

  async #look(): Promise<void> {
    const sizes = await Promise.all((await childrenOfOurs()).map(engineRssBytes));
    this.#rssBytes = Math.max(this.#rssBytes, ...sizes);
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
    this.#delays.disable();
  }
}

async function childrenOfOurs(): Promise<string[]> {
  const threads = await readdir('/proc/self/task');
  const lists = await Promise.all(threads.map((thread) => read(`/proc/self/task/${thread}/children`)));
  return lists.flatMap((list) => list.split(' ').filter(Boolean));
}

/** The kernel's own record of the peak (VmHWM in proc_pid_status(5)); 0 for a process that is no engine. */
async function engineRssBytes(pid: string): Promise<number> {
  const [command, status] = await Promise.all([read(`/proc/${pid}/cmdline`), read(`/proc/${pid}/status`)]);
  const [program = '', ...words] = command.split('\0');
  if (program !== process.execPath || !words.some((word) => word.includes('/freezer/engine/'))) return 0;
  return Number(/^VmHWM:\s*(\d+) kB$/m.exec(status)?.[1] ?? 0) * 1024;
}

/** Empty when the process has ended meanwhile. */
async function read(path: string): Promise<string> {
  return readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT' || error.code === 'ESRCH') return '';
    throw error;
  });
}
