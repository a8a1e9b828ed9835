/** A Docker engine of a test's own, which it may stop, kill and start again without disturbing anybody. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { execa } from 'execa';
import { requireEngine, type TestEngine } from './engine.ts';

export interface PrivateEngine extends TestEngine, AsyncDisposable {
  /** Gives it an image that the shared engine has: it cannot pull any. */
  take(image: string): Promise<void>;
  /** Ends the engine by SIGTERM, which ends its containers, or by the signal given: SIGKILL leaves them running. */
  stop(signal?: NodeJS.Signals): Promise<void>;
  /** Makes it hang: it takes calls and answers none, until `goOn`. */
  hang(): void;
  goOn(): void;
  /** Starts it again on the same data. Containers that SIGKILL left are ended by that. */
  start(): Promise<void>;
}

export interface PrivateEngineOptions {
  /** What it may have of memory for its data; beyond that it ends. Default no limit. */
  readonly mostBytes?: number;
}

/**
 * Starts an engine and resolves when it listens. It has a network of its own, so that two engines do not meet on one bridge:
 * its containers reach each other and nothing else. Disposing of it ends its containers and removes its data.
 */
export async function startPrivateEngine({ mostBytes }: PrivateEngineOptions = {}): Promise<PrivateEngine> {
  const shared = await requireEngine();
  const folder = await mkdtemp(join(tmpdir(), 'floe-engine-'));
  const env = { ...shared.env, DOCKER_HOST: `unix://${folder}/docker.sock` };
  let daemon: ChildProcess | undefined;

  const start = async () => {
    daemon = await startDaemon(folder, env.DOCKER_HOST, mostBytes);
  };
  const stop = async (signal: NodeJS.Signals = 'SIGTERM') => {
    if (!daemon) return;
    const ended = once(daemon, 'exit');
    daemon.kill(signal);
    daemon = undefined;
    await ended;
  };
  await start();
  return {
    cli: 'docker',
    env,
    start,
    stop,
    hang: () => void daemon?.kill('SIGSTOP'),
    goOn: () => void daemon?.kill('SIGCONT'),
    async take(image) {
      const archive = join(folder, 'image.tar');
      await execa('docker', ['save', '--output', archive, image], { env: shared.env });
      await execa('docker', ['load', '--quiet', '--input', archive], { env });
      await rm(archive);
    },
    async [Symbol.asyncDispose]() {
      if (!daemon) await start(); // to end the containers that a SIGKILL may have left
      await stop();
      await unmountBelow(folder);
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** Resolves when the engine says that it listens. It gets a SIGTERM when this process ends, however that ends. */
async function startDaemon(folder: string, host: string, mostBytes?: number): Promise<ChildProcess> {
  // Of one that was killed. Its number may be anybody's by now; and containerd, which a SIGKILL takes along, may be dying still.
  for (const stale of ['pid', 'exec/containerd/containerd.pid']) await rm(join(folder, stale), { force: true });
  const files = [
    '--data-root',
    join(folder, 'data'),
    '--exec-root',
    join(folder, 'exec'),
    '--pidfile',
    join(folder, 'pid'),
  ];
  const dockerd = ['dockerd', ...files, '--host', host, '--storage-driver', 'overlay2', '--shutdown-timeout', '5'];
  const limit = mostBytes === undefined ? [] : ['prlimit', `--data=${mostBytes}`];
  const daemon = spawn('setpriv', ['--pdeathsig', 'TERM', 'unshare', '--net', ...limit, ...dockerd], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const log: string[] = [];
  return new Promise((resolve, reject) => {
    daemon.once('error', reject);
    daemon.once('exit', () => reject(new Error(`dockerd ended before it listened: ${log.slice(-15).join('\n')}`)));
    createInterface(daemon.stderr).on('line', (line) => {
      log.push(line);
      if (log.length > 100) log.shift();
      if (line.includes('API listen on')) resolve(daemon);
    });
  });
}

/** A killed engine leaves its mounts: the data folder on itself, and those of its containers. */
async function unmountBelow(folder: string): Promise<void> {
  const mounts = (await readFile('/proc/self/mounts', 'utf8')).split('\n').map((line) => line.split(' ')[1] ?? '');
  for (const mount of mounts.filter((path) => path.startsWith(`${folder}/`)).reverse()) await execa('umount', [mount]);
}
