/** A container that runs and whose agent says nothing. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { expect, test } from 'vitest';
import { testImage } from '../../test/images/testImage.ts';
import { requireEngine } from '../../test/support/engine.ts';
import { defaultToolbox } from '../../test/support/toolbox.ts';
import { makeRunFolder } from '../run/folder.ts';
import { openImagesPlace } from '../run/imagesPlace.ts';
import { onStage } from '../testing/stage.ts';
import { launch } from './container.ts';
import { ContainerEngine } from './engine.ts';
import { resolveImage } from './image.ts';
import { CAPABILITIES, type ContainerPlan } from './runArguments.ts';
import { debian } from './testing/kinds.ts';

const engine = new ContainerEngine('docker');
const stage = onStage(debian, { newMachines: true });

async function silentPlan(): Promise<ContainerPlan> {
  const stateDirectory = stage().stateDirectory('m0');
  const image = await resolveImage(engine, await testImage(await requireEngine(), 'debian'));
  const freezer = join(stage().directory, 'freezer');
  await mkdir(freezer);
  await writeFile(join(freezer, 'silent.js'), 'setTimeout(() => {}, 1_000_000)');
  return {
    ...{ name: `floe-test-silent-${process.pid}`, labels: {}, hostname: 'silent', image, mounts: [] },
    program: stage().program(['true']),
    folder: await makeRunFolder({ stateDirectory, images: await openImagesPlace(undefined, stateDirectory) }, 'silent'),
    bundle: { toolbox: defaultToolbox(), freezer, agent: 'silent.js' },
    ...{ capabilities: CAPABILITIES, securityOptions: [] },
  };
}

const isThere = async ({ name }: ContainerPlan, ...more: string[]) =>
  (await execa('docker', ['ps', '--all', ...more, '--quiet', '--filter', `name=${name}`])).stdout !== '';

test('is given up in time, and removed', async () => {
  const plan = await silentPlan();
  await expect(launch(engine, plan, { connectsWithinMs: 100 })).rejects.toMatchObject({
    code: 'cannotRun',
    message: expect.stringContaining('its agent has not answered'),
  });
  expect(await isThere(plan)).toBe(false);
});

test('is removed as soon as it is not wanted any more', async () => {
  const plan = await silentPlan();
  const cancelling = new AbortController();
  const launching = launch(engine, plan, { signal: cancelling.signal });
  launching.catch(() => undefined); // looked at below
  await expect.poll(() => isThere(plan, '--filter', 'status=running'), { timeout: 30_000 }).toBe(true);
  cancelling.abort();
  await expect(launching).rejects.toMatchObject({ code: 'cancelled' });
  expect(await isThere(plan)).toBe(false);
});
