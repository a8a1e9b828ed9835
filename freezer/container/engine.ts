/**
 * A container engine, driven through its command line: Docker's and Podman's agree in all that is used here.
 * Every call may wait as long as the engine does; a signal ends it.
 */
import { execa } from 'execa';
import { z } from 'zod';
import { FreezerError } from '../errors.ts';

export type EngineName = 'docker' | 'podman';

interface CallOptions {
  readonly signal?: AbortSignal | undefined;
  /** Standard input. Default none. */
  readonly input?: Uint8Array;
  /** Standard error, too, in the order of its coming. Default only standard output. */
  readonly all?: boolean;
}

/** What the engine said when it refused. */
export class EngineRefusal extends Error {
  override readonly name = 'EngineRefusal';
  /** The engine itself does not answer. */
  readonly isDown: boolean;

  constructor(words: string, isDown: boolean) {
    super(words);
    this.isDown = isDown;
  }
}

const DOWN =
  /cannot connect to the docker daemon|error during connect|unable to connect to podman|connection refused|is the docker daemon running/i;

const Version = z.object({
  Client: z.object({ Version: z.string() }),
  /** Podman without a service has none. */
  Server: z.object({ Version: z.string() }).nullish(),
});

export class ContainerEngine {
  readonly name: EngineName;

  constructor(name: EngineName) {
    this.name = name;
  }

  /** What it printed. Rejects with `EngineRefusal`; with the signal's reason when that aborted. */
  async call(args: readonly string[], options: CallOptions = {}): Promise<string> {
    const { failed, all, stdout, stderr, exitCode, shortMessage } = await execa(this.name, args, {
      reject: false,
      all: true,
      // Of a group of its own: a Ctrl-C at the worker's terminal is the worker's to answer.
      detached: true,
      ...(options.input === undefined ? { stdin: 'ignore' } : { input: options.input }),
      ...(options.signal === undefined ? {} : { cancelSignal: options.signal }),
    });
    options.signal?.throwIfAborted();
    if (!failed) return options.all ? all : stdout;
    const words = lastWords(stderr) || shortMessage || 'it gave no reason';
    throw new EngineRefusal(words, exitCode === undefined || DOWN.test(stderr));
  }

  /** As `call`, for answers in JSON. */
  async ask<T extends z.ZodType>(schema: T, args: readonly string[], options?: CallOptions): Promise<z.output<T>> {
    const text = await this.call(args, options);
    const parsed = schema.safeParse(parseJson(text));
    if (parsed.success) return parsed.data;
    const what = `${this.name} ${args[0]} gave an answer that is not understood: ${z.prettifyError(parsed.error)}`;
    throw new FreezerError('cannotRun', what, `Use a current version of ${this.name}.`);
  }

  /** The engine's version. Throws `FreezerError` `cannotRun` when there is none, or it does not answer. */
  async version(): Promise<string> {
    try {
      const { Client, Server } = await this.ask(Version, ['version', '--format', '{{json .}}']);
      return (Server ?? Client).Version;
    } catch (error) {
      throw error instanceof EngineRefusal ? this.unavailable(error) : error;
    }
  }

  unavailable(cause: EngineRefusal): FreezerError {
    const remedy = `Start ${this.name === 'docker' ? 'the Docker daemon' : 'Podman'} on this machine, and let the worker reach it.`;
    return new FreezerError('cannotRun', `The container engine does not answer: ${cause.message}`, remedy, { cause });
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text; // the schema says what is wrong with it
  }
}

/** Without the hint at `--help` and the prefixes that say only who speaks. */
function lastWords(stderr: string): string {
  const lines = stderr.split('\n').filter((line) => line.trim() !== '' && !/--help/.test(line));
  return lines
    .join(' ')
    .replace(/^(docker: |Error: |Error response from daemon: )+/g, '')
    .slice(0, 1000);
}
