/** The contract of runtimes, kept by the `process` runtime, and what is this one's own. */
import { mkdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { defaultToolbox } from '../../test/support/toolbox.ts';
import { confinesTheJob } from '../testing/contract/confinement.ts';
import { keepsFiles } from '../testing/contract/files.ts';
import { goesOnAfterFreezes } from '../testing/contract/freezes.ts';
import { movesExactly } from '../testing/contract/moves.ts';
import { refusesCheckpoints } from '../testing/contract/refusals.ts';
import { type Kind, onStage } from '../testing/stage.ts';
import { openProcessRuntime } from './runtime.ts';

const kind: Kind = {
  open: (stateDirectory) => openProcessRuntime({ stateDirectory, toolboxDirectory: defaultToolbox() }),
};

movesExactly(kind);
keepsFiles(kind);
goesOnAfterFreezes(kind);
refusesCheckpoints(kind);
confinesTheJob(kind);

describe('what this runtime does not have it refuses', () => {
  const stage = onStage(kind);

  test('a write to the machine itself fails, and is not left behind', async () => {
    const run = await stage().start(['sh', '-c', 'touch /etc/floe-test /opt/floe-test /floe-test']);
    expect(await run.ended).toEqual({ kind: 'exited', code: 1 });
    expect((await readFile(run.logs.stderr, 'utf8')).match(/Read-only file system/g)).toHaveLength(3);
  });

  test('an image', async () => {
    const refused = stage().start(['true'], undefined, { image: 'debian' });
    await expect(refused).rejects.toMatchObject({ code: 'unsupported', message: expect.stringContaining('debian') });
  });
});

describe('check', () => {
  const stage = onStage(kind);

  test('tells what is there', async () => {
    const { criuVersion, cpuFeatures } = await stage().machine('m0').check();
    expect(criuVersion).toMatch(/^\d+\.\d+\.\d+$/);
    expect(cpuFeatures.length).toBeGreaterThan(0);
  });

  test('names what is missing', async () => {
    const nothing = join(stage().directory, 'nothing');
    const runtime = openProcessRuntime({ stateDirectory: stage().directory, toolboxDirectory: nothing });
    await expect(runtime.check()).rejects.toMatchObject({
      code: 'cannotRun',
      remedy: expect.stringContaining('scripts/setup/main'),
    });
  });

  test('removes what a dead worker left, and nothing else', async () => {
    const mine = await stage().start(['sleep', '1000']);
    const orphan = join(stage().stateDirectory('m0'), 'runs', `${process.pid}.1-gone`);
    await mkdir(orphan);
    await stage().machine('m0').check();
    await expect(stat(orphan)).rejects.toMatchObject({ code: 'ENOENT' });
    expect((await stat(mine.workspace)).isDirectory()).toBe(true);
  });
});
