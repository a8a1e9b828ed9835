/**
 * A real S3 server for tests: Ceph's RADOS gateway with one monitor and one disk, set up by `scripts/setup/ceph`.
 *
 * The programs run in the chroot that the set-up made, on free ports of 127.0.0.1. Clusters are kept there and used again,
 * since making one takes four times as long as starting one. Each running server has a cluster to itself, so that
 * test runs on one machine do not meet.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, open, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3';
import { execa } from 'execa';
import { clusterConfig, clusterId, identities } from './cephConfig.ts';

export interface Ceph extends AsyncDisposable {
  /** `http://127.0.0.1:port`. */
  readonly endpoint: string;
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  /** What a process needs in its environment to use this server: `AWS_ACCESS_KEY_ID` and the like. */
  readonly environment: Readonly<Record<string, string>>;
  /** Creates an empty bucket with a new name and resolves to the name. */
  createBucket(): Promise<string>;
  /**
   * Makes a role that this server's user may assume (only where it was started with `hasSts`), and that may read the bucket and do nothing else. Resolves to its ARN; STS is at
   * `endpoint`, too.
   */
  createReaderRole(bucket: string): Promise<string>;
  /** A store URL for a bucket of this server, without credentials; `path` goes below the bucket. */
  storeUrl(bucket: string, path?: string): string;
  /** Ends the server. The same happens by itself when this process ends, however it ends. */
  stop(): Promise<void>;
}

const credentials = { accessKeyId: 'floe-test', secretAccessKey: 'floe-test-secret' };
const region = 'us-east-1';
const readyWithinMs = 110_000;
const clustersAtMost = 16;
const keepClusterUpToBytes = 4 * 2 ** 30;

/**
 * Starts a server and resolves when it has served a request.
 *
 * `root` is the chroot; by default `ceph` in `FLOE_SETUP_DIR` (default `/var/lib/floe/setup`)
 * @throws Error when Ceph has not been set up, or does not come up; the message has the last lines of its log
 */
export async function startCeph({
  root = join(process.env.FLOE_SETUP_DIR ?? '/var/lib/floe/setup', 'ceph'),
  hasSts = false,
} = {}): Promise<Ceph> {
  if (!existsSync(join(root, 'complete'))) {
    throw new Error(`There is no Ceph in ${root}. Run scripts/setup/ceph ${root} as root.`);
  }
  const cluster = await takeCluster(root);
  try {
    return await cluster.start(hasSts);
  } catch (error) {
    await cluster.giveUp();
    throw error;
  }
}

/** Finds a cluster that no other process uses and holds it until `end`. */
async function takeCluster(root: string): Promise<Cluster> {
  await mkdir(join(root, 'clusters'), { recursive: true });
  for (let number = 0; number < clustersAtMost; number++) {
    const folder = `/clusters/${number}`;
    const lock = await tryLock(`${root}${folder}.lock`);
    if (lock) return new Cluster(root, folder, lock);
  }
  throw new Error(`All ${clustersAtMost} clusters in ${root} are in use.`);
}

/** Holds a lock for as long as the returned process lives; it ends with ours, because its standard input does. */
async function tryLock(path: string): Promise<ChildProcess | undefined> {
  const holder = spawn('flock', ['--nonblock', '--no-fork', path, 'cat'], { stdio: ['pipe', 'pipe', 'ignore'] });
  holder.stdin.on('error', () => {}); // EPIPE when the lock is taken: the end of the process tells.
  holder.stdin.write('held\n');
  const held = once(holder.stdout, 'data').then(() => true);
  const refused = once(holder, 'exit').then(() => false);
  return (await Promise.race([held, refused])) ? holder : undefined;
}

interface Daemon {
  readonly program: string;
  readonly log: string;
  readonly process: ChildProcess;
  readonly ended: Promise<void>;
}

class Cluster {
  readonly #root: string;
  /** As the programs in the chroot see it. */
  readonly #folder: string;
  readonly #lock: ChildProcess;
  readonly #daemons: Daemon[] = [];
  readonly #ending = new AbortController();

  constructor(root: string, folder: string, lock: ChildProcess) {
    this.#root = root;
    this.#folder = folder;
    this.#lock = lock;
  }

  async start(hasSts: boolean): Promise<Ceph> {
    await this.#discardIfUnfinishedOrLarge();
    const isNew = !existsSync(this.#outside('complete'));
    const [monitorPort, gatewayPort] = await Promise.all([freePort(), freePort()]);
    await mkdir(this.#outside('run'), { recursive: true });
    await writeFile(
      this.#outside('ceph.conf'),
      clusterConfig(this.#folder, { monitor: monitorPort, gateway: gatewayPort }, hasSts),
    );
    if (isNew) await this.#makeKeys();
    await this.#prepareMonitor(monitorPort, isNew);
    await this.#daemon('ceph-mon', '-i', 'a');
    if (isNew) await this.#whileRunning(this.#makeDisk());
    await this.#daemon('ceph-osd', '-i', '0');
    await this.#daemon('radosgw', '-n', 'client.rgw');
    if (isNew) await this.#whileRunning(this.#makeUser());

    const ceph = this.#describe(`http://127.0.0.1:${gatewayPort}`);
    await this.#whileRunning(waitUntilReady(ceph, this.#ending.signal));
    await writeFile(this.#outside('complete'), '');
    return ceph;
  }

  /** Ends the programs the hard way, at once: Ceph's storage is made to survive that. */
  async end(): Promise<void> {
    this.#ending.abort();
    for (const { process } of this.#daemons) process.kill('SIGKILL');
    await Promise.all(this.#daemons.map(({ ended }) => ended));
    this.#lock.kill();
  }

  /** Ends the programs, and lets the next start make a new cluster: this one may be beyond use. */
  async giveUp(): Promise<void> {
    await rm(this.#outside('complete'), { force: true });
    await this.end();
  }

  #describe(endpoint: string): Ceph {
    const client = new S3Client({ endpoint, region, credentials, forcePathStyle: true, maxAttempts: 1 });
    const stop = async () => {
      client.destroy();
      await this.end();
    };
    return {
      endpoint,
      ...credentials,
      environment: {
        AWS_ACCESS_KEY_ID: credentials.accessKeyId,
        AWS_SECRET_ACCESS_KEY: credentials.secretAccessKey,
        AWS_REGION: region,
      },
      async createBucket() {
        const bucket = `floe-${randomUUID()}`;
        await client.send(new CreateBucketCommand({ Bucket: bucket }));
        return bucket;
      },
      createReaderRole: (bucket) => this.#makeReaderRole(bucket),
      storeUrl: (bucket, path = '') =>
        `s3://${bucket}/${path}?endpoint=${encodeURIComponent(endpoint)}&region=${region}&path-style=true`,
      stop,
      [Symbol.asyncDispose]: stop,
    };
  }

  /** A start that did not get through leaves a cluster in no known state; old tests' objects pile up in one that did. */
  async #discardIfUnfinishedOrLarge(): Promise<void> {
    const disk = await stat(this.#outside('osd/block')).catch(() => undefined);
    const isLarge = disk !== undefined && disk.blocks * 512 > keepClusterUpToBytes;
    if (isLarge || !existsSync(this.#outside('complete'))) {
      await rm(join(this.#root, this.#folder), { recursive: true, force: true });
    }
  }

  async #makeKeys(): Promise<void> {
    const keyring = this.#inside('keyring');
    await writeFile(this.#outside('keyring'), '', { mode: 0o600 });
    for (const identity of identities) await this.#run('ceph-authtool', keyring, '--gen-key', ...identity);
  }

  /** The monitor's address is part of its data, so a new port has to be told to an old monitor. */
  async #prepareMonitor(port: number, isNew: boolean): Promise<void> {
    const map = this.#inside('monmap');
    const address = `[v2:127.0.0.1:${port}/0]`;
    await mkdir(this.#outside('mon'), { recursive: true });
    const identity = ['--fsid', clusterId];
    await this.#run('monmaptool', '--create', '--clobber', ...identity, '--addv', 'a', address, map);
    const change = isNew ? ['--mkfs', '--monmap', map, '--keyring', this.#inside('keyring')] : ['--inject-monmap', map];
    await this.#run('ceph-mon', ...this.#config, '-i', 'a', ...change);
  }

  async #makeDisk(): Promise<void> {
    const id = randomUUID();
    await mkdir(this.#outside('osd'), { recursive: true });
    await this.#run('ceph', ...this.#config, '--connect-timeout', '60', 'osd', 'new', id);
    await this.#run('ceph-osd', ...this.#config, '-i', '0', '--mkfs', '--osd-uuid', id);
  }

  async #makeUser(): Promise<void> {
    const keys = ['--access-key', credentials.accessKeyId, '--secret-key', credentials.secretAccessKey];
    const user = ['user', 'create', '--uid', 'floe-test', '--display-name', 'Floe tests', ...keys];
    await this.#run('radosgw-admin', ...this.#config, '-n', 'client.rgw', ...user);
  }

  async #makeReaderRole(bucket: string): Promise<string> {
    const name = `reader-${randomUUID()}`;
    const admin = ['radosgw-admin', ...this.#config, '-n', 'client.rgw'] as const;
    const trust = { Effect: 'Allow', Principal: { AWS: ['arn:aws:iam:::user/floe-test'] }, Action: ['sts:AssumeRole'] };
    const allowed = ['s3:GetObject', 's3:ListBucket'];
    const reads = {
      Effect: 'Allow',
      Action: allowed,
      Resource: [`arn:aws:s3:::${bucket}`, `arn:aws:s3:::${bucket}/*`],
    };
    const policy = (statement: object) => JSON.stringify({ Version: '2012-10-17', Statement: [statement] });
    await this.#run(...admin, 'role', 'create', '--role-name', name, '--assume-role-policy-doc', policy(trust));
    await this.#run(
      ...admin,
      ...['role-policy', 'put', '--role-name', name, '--policy-name', 'read', '--policy-doc', policy(reads)],
    );
    return `arn:aws:iam:::role/${name}`;
  }

  async #run(program: string, ...args: string[]): Promise<void> {
    await execa('chroot', [this.#root, program, ...args], { timeout: readyWithinMs });
  }

  /** Starts a program that the kernel kills when this process goes, even by SIGKILL. */
  async #daemon(program: string, ...args: string[]): Promise<void> {
    const log = this.#outside(`${program}.log`);
    await using output = await open(log, 'w');
    const command = ['--pdeathsig', 'KILL', 'chroot', this.#root, program, ...this.#config, ...args, '-f'];
    const process = spawn('setpriv', command, { stdio: ['ignore', output.fd, output.fd] });
    const daemon = { program, log, process, ended: once(process, 'exit').then(() => {}) };
    this.#daemons.push(daemon);
  }

  /** `work`, or an error as soon as one of the programs that it needs has ended. */
  async #whileRunning(work: Promise<void>): Promise<void> {
    const ended = this.#daemons.map(async ({ program, log, process, ended }) => {
      await ended;
      const lines = (await readFile(log, 'utf8')).trimEnd().split('\n').slice(-20);
      throw new Error(
        `${program} ended with ${process.signalCode ?? `exit code ${process.exitCode}`}:\n${lines.join('\n')}`,
      );
    });
    await Promise.race([work, ...ended]);
  }

  get #config(): string[] {
    return ['--conf', this.#inside('ceph.conf')];
  }

  /** A path in the cluster's folder, as the programs in the chroot see it. */
  #inside(name: string): string {
    return join(this.#folder, name);
  }

  /** The same path, as everybody else sees it. */
  #outside(name: string): string {
    return join(this.#root, this.#folder, name);
  }
}

/** The gateway answers before the disk is there; a bucket that got made shows that all of it works. */
async function waitUntilReady(ceph: Ceph, signal: AbortSignal): Promise<void> {
  const giveUpAt = Date.now() + readyWithinMs;
  for (;;) {
    try {
      await ceph.createBucket();
      return;
    } catch (error) {
      if (Date.now() > giveUpAt) throw new Error(`Ceph is not ready after ${readyWithinMs} ms.`, { cause: error });
      await delay(50, undefined, { signal });
    }
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}
