/** A container engine, driven through its command line: Docker's and Podman's agree in all that is used here. */
import { execa } from 'execa';
import { z } from 'zod';
import { FreezerError } from '../errors.ts';

export type EngineName = 'docker' | 'podman';

interface CallOptions {
  readonly signal?: AbortSignal | undefined;
  /** How long the engine may take to answer. Default one minute, after which it counts as one that does not. */
  readonly withinMs?: number;
  /** Standard input. Default none. */
  readonly input?: Uint8Array;
  /** Standard error, too, in the order of its coming. Default only standard output. */
  readonly all?: boolean;
}

/** What nobody but the engine can do it has refused, or does not answer: `cannotRun` or `diskFull`, until a caller knows better. */
export class EngineRefusal extends FreezerError {
  /** What the engine said. */
  readonly words: string;
  /** The engine itself does not answer. */
  readonly isDown: boolean;

  constructor(engine: EngineName, words: string, isDown: boolean) {
    const start = `Start ${engine === 'docker' ? 'the Docker daemon' : 'Podman'} on this machine, and let the worker reach it.`;
    if (isDown) super('cannotRun', `The container engine does not answer: ${words}`, start);
    else if (/no space left/i.test(words)) super('diskFull', `${engine} refuses: ${words}`, FREE_SPACE);
    else super('cannotRun', `${engine} refuses: ${words}`, "Look into the container engine's log on this machine.");
    this.words = words;
    this.isDown = isDown;
  }
}

const FREE_SPACE = "Free space on the container engine's disk.";
const ANSWERS_WITHIN_MS = 60_000;
/** For what may take any time: a large image, a job that runs on. */
export const ANY_TIME = 0;

const DOWN =
  /cannot connect to the docker daemon|error during connect|unable to connect to podman|is the docker daemon running/i;

const Version = z.object({
  Client: z.object({ Version: z.string() }),
  /** Podman without a service has none. */
  Server: z.object({ Version: z.string() }).nullish(),
});

export class ContainerEngine {
  readonly name: EngineName;
  /** Containers that have ended, and that it could not remove then. */
  readonly leftOver = new Set<string>();
  /** Pins of the images whose files it can read without harm (imageFiles.ts). */
  readonly harmlessImages = new Set<string>();

  constructor(name: EngineName) {
    this.name = name;
  }

  /** What it printed. Rejects with `EngineRefusal`; with the signal's reason when that aborted. */
  async call(args: readonly string[], options: CallOptions = {}): Promise<string> {
    const { failed, all, stdout, ...result } = await execa(this.name, args, {
      ...common(options),
      all: true,
      ...(options.input === undefined ? { stdin: 'ignore' } : { input: options.input }),
    });
    options.signal?.throwIfAborted();
    if (!failed) return options.all ? all : stdout;
    throw this.#refusal(result, options);
  }

  /** What it prints, as it comes. The command ends when it is no longer read. Rejects as `call` does. */
  async *stream(args: readonly string[], options: Pick<CallOptions, 'signal' | 'withinMs'>): AsyncGenerator<Buffer> {
    const command = execa(this.name, args, { ...common(options), stdin: 'ignore', buffer: { stdout: false } });
    try {
      yield* command.stdout;
    } finally {
      command.kill();
    }
    const { failed, ...result } = await command;
    options.signal?.throwIfAborted();
    if (failed) throw this.#refusal(result, options);
  }

  #refusal(result: Failure, { withinMs = ANSWERS_WITHIN_MS }: CallOptions): EngineRefusal {
    const { timedOut, code, stderr, shortMessage, exitCode } = result;
    if (timedOut) return new EngineRefusal(this.name, `nothing for ${withinMs / 1000} s`, true);
    // An image with very many or long names of labels and variables makes it so; the engine is well.
    if (code === 'E2BIG') return new EngineRefusal(this.name, 'its command line would be too long', false);
    const words = lastWords(stderr) || shortMessage || 'it gave no reason';
    return new EngineRefusal(this.name, words, exitCode === undefined || DOWN.test(stderr));
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
    const { Client, Server } = await this.ask(Version, ['version', '--format', '{{json .}}']);
    return (Server ?? Client).Version;
  }
}

interface Failure {
  readonly timedOut: boolean;
  readonly stderr: string;
  readonly code?: string | undefined;
  readonly exitCode?: number | undefined;
  readonly shortMessage?: string | undefined;
}

function common({ signal, withinMs = ANSWERS_WITHIN_MS }: CallOptions) {
  return {
    reject: false,
    // Of a group of its own: a Ctrl-C at the worker's terminal is the worker's to answer.
    detached: true,
    timeout: withinMs,
    ...(signal === undefined ? {} : { cancelSignal: signal }),
  } as const;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text; // the schema says what is wrong with it
  }
}

/**
 * Without the hint at `--help`, the prefixes that say only who speaks, and Podman's log beside its words. Of many words, the beginning and the end: a reason stands
 * behind the path that it is about.
 */
function lastWords(stderr: string): string {
  const lines = stderr.split('\n').filter((line) => line.trim() !== '' && !/--help/.test(line));
  const words = lines.filter((line) => !/^time="/.test(line));
  return (words.length > 0 ? words : lines)
    .join(' ')
    .replace(/^(docker: |Error: |Error response from daemon: )+/g, '')
    .replace(/^(.{500}).*(.{500})$/s, '$1…$2');
}
