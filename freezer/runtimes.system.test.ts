/** A machine's runtimes as one: an engine that is not there, and one that comes up after its worker. */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { testImage } from '../test/images/testImage.ts';
import { requireEngine } from '../test/support/engine.ts';
import { type PrivateEngine, startPrivateEngine } from '../test/support/privateEngine.ts';
import { defaultToolbox } from '../test/support/toolbox.ts';
import { warningsOf } from '../test/support/warnings.ts';
import { openRuntimes } from './runtimes.ts';
import { onStage } from './testing/stage.ts';

let engine: PrivateEngine;
let image: string;
beforeAll(async () => {
  image = await testImage(await requireEngine(), 'debian');
  engine = await startPrivateEngine();
  await engine.take(image);
  await engine.stop();
  vi.stubEnv('DOCKER_HOST', engine.env.DOCKER_HOST);
});
afterAll(async () => {
  vi.unstubAllEnvs();
  await engine?.[Symbol.asyncDispose]();
});
const lateEngines: string[] = [];
const stage = onStage({
  open: (stateDirectory) =>
    openRuntimes({
      names: 'auto',
      stateDirectory,
      toolboxDirectory: defaultToolbox(),
      onLateEngine: (name) => lateEngines.push(name),
    }),
});

/** As if it were not installed. */
async function withoutPodman(): Promise<void> {
  const folder = join(stage().directory, 'bin');
  await mkdir(folder);
  await writeFile(join(folder, 'podman'), '#!/bin/sh\nexit 127\n', { mode: 0o755 });
  vi.stubEnv('PATH', `${folder}:${process.env.PATH}`);
}

/** It answers, and can run nothing. */
async function withBrokenPodman(): Promise<void> {
  const whole = await readFile(process.env.CONTAINERS_CONF ?? '', 'utf8');
  const broken = join(stage().directory, 'containers.conf');
  const runtimes = '\n[engine.runtimes]\nbroken = ["/bin/false"]\n';
  await writeFile(broken, whole.replace('runtime = "runc"', 'runtime = "broken"') + runtimes);
  vi.stubEnv('CONTAINERS_CONF', broken);
}

test('a Podman that cannot be used leaves no word of images on a disk', async () => {
  await withBrokenPodman();
  const machine = stage().machine('m0');
  expect(await warningsOf(() => machine.check())).toEqual([]);
  expect(machine.name).toBe('process');
});

test('an engine that comes up after the worker is found by the first job that wants it', async () => {
  await withoutPodman();
  const machine = stage().machine('m0');
  await machine.check();
  expect(machine.name).toBe('process');
  await expect(stage().start(['true'], undefined, { image })).rejects.toMatchObject({
    code: 'notHere',
    message: expect.stringContaining(`no container engine that answers, and the job wants the image ${image}`),
  });
  await engine.start();
  const runs = await Promise.all([1, 2].map(() => stage().start(['sleep', '1000'], undefined, { image })));
  expect(machine.name).toBe('process and docker');
  // Decided when the worker started; that it still holds is said.
  expect(lateEngines).toEqual(['docker']);
  const listed = await execa('docker', ['ps', '--quiet'], { env: engine.env });
  expect(listed.stdout.split('\n')).toHaveLength(runs.length);

  const later = stage().machine('m1');
  await later.check();
  expect(later.name).toBe('docker');
  const program = stage().program(['true']);
  const { attachLease } = stage();
  await expect(later.start({ jobId: 'a', epoch: 1, program, attachLease })).rejects.toMatchObject({
    code: 'notHere',
    message: expect.stringContaining('images only'),
    remedy: expect.stringContaining('worker.runtimes: process,docker'),
  });
});
