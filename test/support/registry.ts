/** A real registry for images (Debian's docker-registry) on a free port of 127.0.0.1, which engines accept without TLS. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { vi } from 'vitest';
import { freePort } from './redis.ts';

export interface TestRegistry extends AsyncDisposable {
  /** What the names of its images begin with, `localhost:PORT`. */
  readonly address: string;
}

/** `isClosed`: it wants a password, which nobody has. */
export async function startRegistry({ isClosed = false } = {}): Promise<TestRegistry> {
  const folder = await mkdtemp(join(tmpdir(), 'floe-test-registry-'));
  const port = await freePort();
  const auth = { htpasswd: { realm: 'nobody', path: join(folder, 'passwords') } };
  const config = {
    version: '0.1',
    storage: { filesystem: { rootdirectory: folder } },
    http: { addr: `127.0.0.1:${port}` },
    ...(isClosed ? { auth } : {}),
  };
  await writeFile(join(folder, 'config.yml'), JSON.stringify(config)); // which is YAML, too
  // It ends with this process, however that ends.
  const command = ['--pdeathsig', 'KILL', 'docker-registry', 'serve', join(folder, 'config.yml')];
  const server = spawn('setpriv', command, { stdio: 'ignore' });
  await once(server, 'spawn');
  await vi.waitFor(() => fetch(`http://127.0.0.1:${port}/v2/`), { timeout: 20_000 });
  return {
    address: `localhost:${port}`,
    async [Symbol.asyncDispose]() {
      const ended = once(server, 'exit');
      server.kill('SIGKILL');
      await ended;
      await rm(folder, { recursive: true, force: true });
    },
  };
}
