/** Images from registries: pulled when they are needed, pinned by digest, and told of when they cannot be had. */
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { dirname } from 'node:path';
import { execa } from 'execa';
import { afterAll, afterEach, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { requireEngine } from '../../test/support/engine.ts';
import { program } from '../../test/support/programs.ts';
import { freePort } from '../../test/support/redis.ts';
import { startRegistry, type TestRegistry } from '../../test/support/registry.ts';
import { onStage, output, untilLines } from '../testing/stage.ts';
import { ContainerEngine } from './engine.ts';
import { resolveImage } from './image.ts';
import { debian } from './testing/kinds.ts';

const docker = async (...args: string[]) => (await execa('docker', args)).stdout;
const EMPTY_ARCHIVE = new Uint8Array(1024);

let registry: TestRegistry;
beforeAll(async () => {
  await requireEngine();
  registry = await startRegistry();
});
afterAll(async () => {
  await registry?.[Symbol.asyncDispose]();
});
/** Whatever the engine has of a registry that was there for these tests alone. */
afterEach(() => forget(registry.address));

async function forget(address: string): Promise<void> {
  const listed = await docker('image', 'ls', '--digests', '--format', '{{.Repository}} {{.ID}}');
  const ids = listed.split('\n').filter((line) => line.startsWith(`${address}/`));
  for (const id of new Set(ids.map((line) => line.split(' ')[1] ?? ''))) await docker('image', 'rm', '--force', id);
}

/** Puts an image of one layer there, under a name that may have meant another before, and has it nowhere else. */
async function push(name: string, archive: Uint8Array): Promise<void> {
  await execa('docker', ['import', '-', name], { input: archive });
  await docker('push', '--quiet', name);
  await forget(registry.address);
}

describe('an image that only a registry has', () => {
  const stage = onStage({ open: debian.open });

  test('is pulled, and after a move once more by its digest, whatever its name means by then', async () => {
    const name = `${registry.address}/jobs/memory:1`;
    const file = await program('memory');
    const archive = await execa('tar', ['-C', dirname(file), '-c', 'memory'], { encoding: 'buffer' });
    await push(name, archive.stdout);
    const steps = 200;
    const command = ['/memory', '8', String(steps), 'tree', '--pace-ms', '20'];
    const run = await stage().start(command, undefined, { image: name });
    expect(run.image).toMatch(new RegExp(`^${registry.address}/jobs/memory@sha256:[0-9a-f]{64}$`));
    await untilLines(run, 5);
    const { checkpoint } = await run.freeze({ place: stage().place, epoch: 1, afterwards: 'stop' });
    await run[Symbol.asyncDispose]();
    await push(name, EMPTY_ARCHIVE);
    const again = await stage().thaw(checkpoint.id, 2, { image: name });
    expect(again.image).toBe(run.image);
    expect(await again.ended).toEqual({ kind: 'exited', code: 0 });
    const seen = (await output(again)).match(/^step \d+/gm);
    expect(seen).toEqual(Array.from({ length: steps }, (_, at) => `step ${at + 1}`));
  });
});

describe('an image that cannot be had', () => {
  const resolving = (image: string) => resolveImage(new ContainerEngine('docker'), image);
  const notFound = { code: 'imageNotFound', remedy: expect.stringContaining('registry') };
  const unreachable = { code: 'cannotRun', message: expect.stringContaining('could not be pulled') };

  test('nobody has one of that name', async () => {
    await expect(resolving(`${registry.address}/nobody/has:1`)).rejects.toMatchObject(notFound);
  });

  test('the registry has the name, but not that tag or digest', async () => {
    const name = `${registry.address}/jobs/empty`;
    await push(`${name}:1`, EMPTY_ARCHIVE);
    await expect(resolving(`${name}:2`)).rejects.toMatchObject(notFound);
    await expect(resolving(`${name}@sha256:${'0'.repeat(64)}`)).rejects.toMatchObject(notFound);
  });

  test('the registry wants a password, which the worker may have tomorrow', async () => {
    await using closed = await startRegistry({ isClosed: true });
    await expect(resolving(`${closed.address}/jobs/secret:1`)).rejects.toMatchObject({
      ...unreachable,
      remedy: expect.stringContaining('Log the workers in'),
    });
  });

  test.each([500, 503, 429])('the registry answers %i: it may pass', async (status) => {
    const server = createServer((_, response) => response.writeHead(status).end()).listen(0, '127.0.0.1');
    onTestFinished(() => void server.close());
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    await expect(resolving(`localhost:${port}/jobs/any:1`)).rejects.toMatchObject(unreachable);
  });

  test('no registry listens there: it may pass', async () => {
    await expect(resolving(`localhost:${await freePort()}/jobs/any:1`)).rejects.toMatchObject(unreachable);
  });

  test('what is no name of an image', async () => {
    await expect(resolving('UPPER/case:1')).rejects.toMatchObject(notFound);
  });

  test('what makes a command line too long, which is no word of an engine that is gone', async () => {
    const calling = new ContainerEngine('docker').call(['version', 'x'.repeat(200_000)]);
    await expect(calling).rejects.toMatchObject({ isDown: false, code: 'cannotRun' });
  });

  test.each(['--help', '-f={{.Id}}', '', 'a b', 'a\n'])(
    'what an engine could take for something else: %j',
    async (name) => {
      await expect(resolving(name)).rejects.toMatchObject({ code: 'unsupported' });
    },
  );
});
