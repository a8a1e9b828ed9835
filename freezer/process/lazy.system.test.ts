import { expect, test } from 'vitest';
import { defaultToolbox } from '../../test/support/toolbox.ts';
import { type Kind, onStage, output, untilLines, withPrograms } from '../testing/stage.ts';
import { openProcessRuntime } from './runtime.ts';

const kind: Kind = {
  open: (stateDirectory) => openProcessRuntime({ stateDirectory, toolboxDirectory: defaultToolbox() }),
};
const stage = onStage(kind);

test.each(['plain', 'random', 'threads', 'tree', 'shared'])('three lazy moves: %s', async (mode) => {
  const undisturbed = await stage().start(['./memory', '16', '400', mode, '--pace-ms', '1'], withPrograms('memory'));
  expect(await undisturbed.ended).toEqual({ kind: 'exited', code: 0 });
  const expected = await output(undisturbed);
  stage().mode = 'lazy';
  let run = await stage().start(['./memory', '16', '400', mode, '--pace-ms', '10'], withPrograms('memory'));
  for (const epoch of [1, 2, 3]) {
    await untilLines(run, 8 * epoch);
    run = await stage().move(run, epoch);
  }
  expect(await run.ended).toEqual({ kind: 'exited', code: 0 });
  expect(await output(run)).toBe(expected);
});
