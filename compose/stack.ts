/**
 * The stack of compose.yaml under a project name of its own, with its state and secrets in a temporary folder, for the demo and
 * the tests. The engine is the one that the `docker` command leads to, and on this machine: it mounts the folder.
 */
import { randomBytes } from 'node:crypto';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { execa } from 'execa';
import { Floe } from '../producers/index.ts';

const HERE = import.meta.dirname;
/** The set-up sees to it that the engine has it, pulled or made; it has no digest where it was made. */
const BASE = 'debian:trixie-slim';
export const SAMPLES = ['numeric', 'video', 'pipeline'] as const;
export type Sample = (typeof SAMPLES)[number];

export interface StackOptions {
  /** The tag of the images. */
  readonly version: string;
  /** The samples whose images are built as well. */
  readonly samples: readonly Sample[];
  /** Jobs that each worker runs at once. */
  readonly slots: number;
  /** Takes the lines that `docker compose build` writes. */
  readonly onBuildLine?: (line: string) => void;
  readonly signal?: AbortSignal;
}

export class Stack implements AsyncDisposable {
  readonly directory: string;
  readonly project: string;
  readonly #options: StackOptions;
  #environment: Record<string, string>;
  #floe: Floe | undefined;

  private constructor(directory: string, options: StackOptions) {
    this.directory = directory;
    this.project = `floe-${randomBytes(4).toString('hex')}`;
    this.#options = options;
    this.#environment = {
      COMPOSE_PROJECT_NAME: this.project,
      FLOE_BASE: BASE,
      FLOE_VERSION: options.version,
      FLOE_STATE_DIR: join(directory, 'state'),
      FLOE_SECRETS: join(directory, 'secrets'),
      FLOE_DASHBOARD_BIND: '127.0.0.1:0',
      FLOE_NOTICE_SOURCE: 'none',
      FLOE_SLOTS: String(options.slots),
      // A third of the default: the jobs of a worker that was killed go on soon.
      FLOE_LOCK_DURATION_MS: '10000',
      FLOE_STOP_MARGIN_MS: '2500',
      ...engineSocket(),
    };
  }

  /** Builds the images and brings the stack up. Nothing is left when it rejects. */
  static async open(options: StackOptions): Promise<Stack> {
    const stack = new Stack(await mkdtemp(join(tmpdir(), 'floe-')), options);
    try {
      await execa(join(HERE, 'make-secrets'), [join(stack.directory, 'secrets')]);
      await stack.build(['valkey', 'worker', 'dashboard', ...options.samples], options.onBuildLine);
      await stack.up();
      stack.#floe = await Floe.open({
        redisUrl: await stack.redisUrl(),
        store: pathToFileURL(join(stack.directory, 'state', 'store')).href,
        stateDir: stack.directory,
      });
      return stack;
    } catch (error) {
      await stack[Symbol.asyncDispose]();
      throw error;
    }
  }

  get floe(): Floe {
    if (!this.#floe) throw new Error('The stack is not up.');
    return this.#floe;
  }

  /** `docker compose …`; resolves to what it prints. */
  async compose(...words: string[]): Promise<string> {
    return (await this.#compose(words)).stdout;
  }

  async build(services: readonly string[], onLine?: (line: string) => void): Promise<void> {
    // One after the other: two that need the same stage would build it twice.
    for (const service of services) {
      const building = this.#compose(['--profile', 'samples', 'build', service]);
      if (onLine) for await (const line of building.iterable({ from: 'all' })) onLine(line);
      await building;
    }
  }

  /** Starts what is not there, recreates what has changed, and resolves when all of it is healthy. */
  async up(...words: string[]): Promise<void> {
    await this.compose('up', '--detach', '--no-build', '--wait', ...words);
  }

  /** From now on the stack's images are those of this tag; the samples stay. */
  useVersion(version: string): void {
    this.#environment = { ...this.#environment, FLOE_VERSION: version };
  }

  image(sample: Sample): string {
    return `floe/job-${sample}:${this.#options.version}`;
  }

  /** What the sample job prints when nothing happens to it. */
  async undisturbed(sample: Sample, words: readonly string[]): Promise<string> {
    const label = `com.docker.compose.project=${this.project}`;
    const run = ['run', '--rm', '--network', 'none', '--label', label, this.image(sample), ...words];
    return (await this.docker(...run)).stdout;
  }

  /** The id of the container that a worker is in. */
  async containerOf(worker: string): Promise<string> {
    const found = (await this.floe.workers()).find(({ name }) => name === worker);
    if (!found) throw new Error(`There is no worker ${worker}.`);
    return found.host;
  }

  /** Sends the signal to a worker's container, as Compose, Kubernetes or an operator would; resolves when it has gone. */
  async signal(worker: string, signal: 'TERM' | 'KILL'): Promise<void> {
    const container = await this.containerOf(worker);
    await this.docker('kill', '--signal', signal, container);
    await this.docker('wait', container);
  }

  async dashboard(): Promise<{ url: string; password: string }> {
    const password = await readFile(join(this.directory, 'secrets', 'dashboard-password'), 'utf8');
    return { url: `http://${await this.compose('port', 'dashboard', '3000')}`, password };
  }

  /** The address of the queue as this machine sees it: its bridges reach containers in internal networks, too. */
  async redisUrl(): Promise<string> {
    const container = await this.compose('ps', '--quiet', 'valkey');
    const format = '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}';
    const { stdout: address } = await this.docker('inspect', '--format', format, container);
    const inside = await readFile(join(this.directory, 'secrets', 'redis-url'), 'utf8');
    return inside.replace('@valkey:', `@${address}:`);
  }

  docker(...words: string[]) {
    return execa('docker', words, this.#cancellation());
  }

  /** Ends and removes all of it, the jobs' containers included, whether or not it has come up. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#floe?.[Symbol.asyncDispose]();
    await execa('docker', this.#composeWords(['down', '--volumes', '--remove-orphans', '--timeout', '1']), {
      env: this.#environment,
    });
    // Without their workers they would end by themselves when their leases are over.
    for (const filter of [`label=com.docker.compose.project=${this.project}`, 'label=floe.state']) {
      const format = '{{.ID}} {{.Label "floe.state"}}';
      const { stdout } = await execa('docker', ['ps', '--all', '--filter', filter, '--format', format]);
      for (const line of stdout.split('\n').filter((each) => each !== '')) {
        const [id = '', state = ''] = line.split(' ');
        if (state === '' || state.startsWith(this.directory)) {
          await execa('docker', ['rm', '--force', '--volumes', id], { reject: false });
        }
      }
    }
    await rm(this.directory, { recursive: true, force: true });
  }

  #compose(words: readonly string[]) {
    const options = { env: this.#environment, all: true } as const;
    return execa('docker', this.#composeWords(words), { ...options, ...this.#cancellation() });
  }

  #cancellation(): { cancelSignal?: AbortSignal } {
    const { signal } = this.#options;
    return signal ? { cancelSignal: signal } : {};
  }

  #composeWords(words: readonly string[]): string[] {
    return ['compose', '--progress', 'plain', '--file', join(HERE, 'compose.yaml'), ...words];
  }
}

/** The socket that workers get: that of the engine which runs them. */
function engineSocket(): { FLOE_ENGINE_SOCKET?: string } {
  const host = process.env.DOCKER_HOST ?? '';
  return host.startsWith('unix://') ? { FLOE_ENGINE_SOCKET: host.slice('unix://'.length) } : {};
}
