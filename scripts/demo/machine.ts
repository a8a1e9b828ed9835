/** A pretended spot machine: a worker process with a state folder and a metadata endpoint of its own. */
import { createWriteStream } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { type Metadata, startMetadata } from './metadata.ts';

const FLOE = join(import.meta.dirname, '../../bin/floe.ts');
const SLOTS = 2;

export interface Cluster {
  /** Folder of the whole demo. */
  readonly directory: string;
  readonly redisUrl: string;
  readonly storeUrl: string;
}

type Worker = ReturnType<typeof startWorker>;

export class Machine implements AsyncDisposable {
  readonly name: string;
  /** Resolves when its worker process is gone. */
  readonly gone: Promise<void>;
  readonly #metadata: Metadata;
  readonly #worker: Worker;

  private constructor(name: string, metadata: Metadata, worker: Worker) {
    this.name = name;
    this.#metadata = metadata;
    this.#worker = worker;
    this.gone = worker.then(() => undefined);
  }

  /** Starts the worker; what it logs goes to `<name>.log` in the demo's folder. */
  static async start(name: string, cluster: Cluster): Promise<Machine> {
    const metadata = await startMetadata();
    const stateDir = join(cluster.directory, name);
    await mkdir(stateDir, { recursive: true });
    const worker = startWorker(name, stateDir, cluster, metadata.url);
    const log = createWriteStream(join(cluster.directory, `${name}.log`));
    worker.stdout.pipe(log, { end: false });
    worker.stderr.pipe(log, { end: false });
    return new Machine(name, metadata, worker);
  }

  /** The cloud gives notice, and takes the machine at the deadline or when its worker has left, whichever is first. */
  async interrupt(inMs: number): Promise<void> {
    this.#metadata.interrupt(inMs);
    const timer = setTimeout(() => this.#worker.kill('SIGKILL'), inMs);
    await this.gone;
    clearTimeout(timer);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#worker.kill('SIGKILL');
    await this.gone;
    await this.#metadata[Symbol.asyncDispose]();
  }
}

function startWorker(name: string, stateDir: string, cluster: Cluster, metadataUrl: string) {
  return execa(process.execPath, [FLOE, 'worker'], {
    reject: false,
    buffer: false,
    cwd: stateDir,
    stdin: 'ignore',
    env: {
      FLOE_REDIS_URL: cluster.redisUrl,
      FLOE_STORE: cluster.storeUrl,
      FLOE_STATE_DIR: stateDir,
      FLOE_WORKER_NAME: name,
      FLOE_SLOTS: String(SLOTS),
      // By name: where there is a container engine, jobs without an image would not run.
      FLOE_RUNTIMES: 'process',
      FLOE_NOTICE_SOURCE: 'ec2',
      FLOE_NOTICE_POLL_MS: '500',
      AWS_EC2_METADATA_SERVICE_ENDPOINT: metadataUrl,
    },
  });
}
