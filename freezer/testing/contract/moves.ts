/** Moves of programs that verify themselves, and how they end. */

import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { constants } from 'node:os';
import { describe, expect, test } from 'vitest';
import { undisturbed } from '../../../test/support/undisturbed.ts';
import type { Program, Run } from '../../runtime.ts';
import { type Kind, onStage, output, type Stage, untilLines, withPrograms } from '../stage.ts';

/** Needs nothing of the image but the memory program. */
export function movesExactly(kind: Kind): void {
  const stage = onStage(kind);

  const memory = kind.memory ?? './memory';

  describe('three moves of the self-verifying job', () => {
    test.each(kind.modes ?? ['plain', 'random', 'threads', 'tree', 'shared'])(
      '%s: memory, files and log are those of an undisturbed run',
      async (mode) => {
        const undisturbed = await stage().start([memory, '16', '400', mode, '--pace-ms', '1'], withPrograms('memory'));
        expect(await undisturbed.ended).toEqual({ kind: 'exited', code: 0 });
        const expected = await output(undisturbed);

        const run = await stage().start([memory, '16', '400', mode, '--pace-ms', '10'], withPrograms('memory'));
        await movesThrice(stage(), run, expected);
      },
    );
  });

  describe('how a program ends survives moves', () => {
    test.each([
      [['--exit', '42'], { kind: 'exited', code: 42 }],
      [['--die', '11'], { kind: 'killed', signal: constants.signals.SIGSEGV }],
    ] as const)('%s', async (option, end) => {
      let run = await stage().start([memory, '1', '400', '--pace-ms', '10', ...option], withPrograms('memory'));
      await untilLines(run, 5);
      run = await stage().move(run, 1);
      run = await stage().move(run, 2);
      expect(await run.ended).toEqual(end);
    });

    test('a program that cannot be executed ends with 127, and the log says why', async () => {
      const run = await stage().start(['./no-such-program']);
      const cannotStart = expect.stringContaining('./no-such-program: No such file or directory');
      expect(await run.ended).toEqual({ kind: 'exited', code: 127, cannotStart });
      expect(await readFile(run.logs.stderr, 'utf8')).toContain('./no-such-program: No such file or directory');
    });
  });
}

/** Of a job with a limit, which the machine must be able to set. */
export function movesAsStream(kind: Kind): void {
  const stage = onStage(kind);
  const memory = kind.memory ?? './memory';

  test('a job whose limit has no room for images moves as a stream, three times', async () => {
    const words = ['16', '400', kind.modes?.[0] ?? 'random'];
    const limited = { resources: { memoryBytes: 128 * 2 ** 20 } };
    const run = await stage().start([memory, ...words, '--pace-ms', '10'], withPrograms('memory'), limited);
    await movesThrice(stage(), run, (await undisturbed(words)).stdout, limited);
  });
}

/** Three moves of a program that runs, each time, before its memory is there. Needs nothing of the image but the memory program. */
export function movesLazily(kind: Kind): void {
  const stage = onStage(kind);

  test('three moves, each lazy, of a job whose checkpoints are encrypted', async () => {
    const words = ['16', '400', kind.modes?.[0] ?? 'random'];
    stage().mode = 'lazy';
    stage().place = { ...stage().place, encryptionKeys: [randomBytes(32).toString('hex')] };
    const run = await stage().start([kind.memory ?? './memory', ...words, '--pace-ms', '10'], withPrograms('memory'));
    await movesThrice(stage(), run, (await undisturbed(words)).stdout);
  });
}

/** Moves the program that verifies itself between its steps. What it says of its memory and files is looked at before that it has ended. */
export async function movesThrice(
  stage: Stage,
  run: Run,
  expected: string,
  more: Partial<Program> = {},
): Promise<void> {
  let moved = run;
  for (const epoch of [1, 2, 3]) {
    await untilLines(moved, 8 * epoch);
    await isWhole(moved);
    moved = await stage.move(moved, epoch, more);
  }
  const end = await moved.ended;
  await isWhole(moved);
  expect(await output(moved)).toBe(expected);
  expect(end).toEqual({ kind: 'exited', code: 0 });
}

async function isWhole(run: Run): Promise<void> {
  expect((await output(run)).match(/^CORRUPT.*$/gm)).toBeNull();
}
