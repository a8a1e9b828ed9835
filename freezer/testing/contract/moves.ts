/** Moves of programs that verify themselves, and how they end. */

import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { constants } from 'node:os';
import { describe, expect, test } from 'vitest';
import { undisturbed } from '../../../test/support/undisturbed.ts';
import type { Run } from '../../runtime.ts';
import { type Kind, onStage, output, untilLines, withPrograms } from '../stage.ts';

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

        let run = await stage().start([memory, '16', '400', mode, '--pace-ms', '10'], withPrograms('memory'));
        for (const epoch of [1, 2, 3]) {
          await untilLines(run, 8 * epoch);
          await isWhole(run);
          run = await stage().move(run, epoch);
        }
        await endsAs(run, expected);
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
      expect(await run.ended).toEqual({ kind: 'exited', code: 127 });
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
    let run = await stage().start([memory, ...words, '--pace-ms', '10'], withPrograms('memory'), limited);
    for (const epoch of [1, 2, 3]) {
      await untilLines(run, 8 * epoch);
      await isWhole(run);
      run = await stage().move(run, epoch, limited);
    }
    await endsAs(run, (await undisturbed(words)).stdout);
  });
}

/** Three moves of a program that runs, each time, before its memory is there. Needs nothing of the image but the memory program. */
export function movesLazily(kind: Kind): void {
  const stage = onStage(kind);

  test('three moves, each lazy, of a job whose checkpoints are encrypted', async () => {
    const words = ['16', '400', kind.modes?.[0] ?? 'random'];
    stage().mode = 'lazy';
    stage().place = { ...stage().place, encryptionKeys: [randomBytes(32).toString('hex')] };
    let run = await stage().start([kind.memory ?? './memory', ...words, '--pace-ms', '10'], withPrograms('memory'));
    for (const epoch of [1, 2, 3]) {
      await untilLines(run, 8 * epoch);
      await isWhole(run);
      run = await stage().move(run, epoch);
    }
    await endsAs(run, (await undisturbed(words)).stdout);
  });
}

/** What it says of its memory and files says more than that it has ended. */
async function isWhole(run: Run): Promise<void> {
  expect((await output(run)).match(/^CORRUPT.*$/gm)).toBeNull();
}

async function endsAs(run: Run, expected: string): Promise<void> {
  const end = await run.ended;
  await isWhole(run);
  expect(await output(run)).toBe(expected);
  expect(end).toEqual({ kind: 'exited', code: 0 });
}
