/** A real registry for images (Debian's docker-registry) on a free port of 127.0.0.1, which engines accept without TLS. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, open, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { vi } from 'vitest';
import { onFreePort } from './redis.ts';

export interface TestRegistry extends AsyncDisposable {
  /** What the names of its images begin with, `localhost:PORT`. */
  readonly address: string;
}

/** `isClosed`: it wants a password, which nobody has. */
export async function startRegistry({ isClosed = false } = {}): Promise<TestRegistry> {
  return onFreePort((port) => startAt(port, isClosed));
}

async function startAt(port: number, isClosed: boolean): Promise<TestRegistry> {
  const folder = await mkdtemp(join(tmpdir(), 'floe-test-registry-'));
  const auth = { htpasswd: { realm: 'nobody', path: join(folder, 'passwords') } };
  const config = {
    version: '0.1',
    storage: { filesystem: { rootdirectory: folder } },
    http: { addr: `127.0.0.1:${port}`, headers: { [FOLDER_HEADER]: [folder] } },
    ...(isClosed ? { auth } : {}),
  };
  await writeFile(join(folder, 'config.yml'), JSON.stringify(config)); // which is YAML, too
  await using log = await open(join(folder, 'log'), 'w');
  // It ends with this process, however that ends.
  const command = ['--pdeathsig', 'KILL', 'docker-registry', 'serve', join(folder, 'config.yml')];
  const server = spawn('setpriv', command, { stdio: ['ignore', log.fd, log.fd] });
  const ended = once(server, 'exit');
  const registry = {
    address: `localhost:${port}`,
    async [Symbol.asyncDispose]() {
      server.kill('SIGKILL');
      await ended;
      await rm(folder, { recursive: true, force: true });
    },
  };
  try {
    await answers(port, folder, server);
    return registry;
  } catch (error) {
    await registry[Symbol.asyncDispose]();
    throw error;
  }
}

/** With every answer: whose it is. */
const FOLDER_HEADER = 'X-Floe-Test-Folder';

/** Waits for its first answer; one that ends instead, as where another has its port, is an error that shows its log. */
async function answers(port: number, folder: string, server: ChildProcess): Promise<void> {
  await vi.waitUntil(
    async () => {
      if (server.exitCode !== null)
        throw new Error(`The registry ended: ${await readFile(join(folder, 'log'), 'utf8')}`);
      const answer = await fetch(`http://127.0.0.1:${port}/v2/`).catch(() => null); // refused until it listens
      return answer?.headers.get(FOLDER_HEADER) === folder;
    },
    { timeout: 20_000 },
  );
}
