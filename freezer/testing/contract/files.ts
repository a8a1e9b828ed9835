/** What a job's files are after moves. */
import { readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { type Kind, onStage, output, untilLines } from '../stage.ts';

const UNTIL_GO = 'while [ ! -e go ]; do sleep 0.02; done';

/** Needs a shell. */
export function keepsFiles(kind: Kind): void {
  const stage = onStage(kind);

  describe('files', () => {
    test('those that the job made, changed and deleted, its links, modes and temporary files move with it', async () => {
      const script = `
      set -e
      echo old > kept; echo old > changed; echo old > deleted; mkdir -p deep/empty; ln -s kept link; ln kept second
      chmod 640 kept; truncate -s 1M sparse; echo end >> sparse; echo t > /tmp/t; echo v > /var/tmp/v; echo s > /dev/shm/s
      echo ready; while [ ! -e go ]; do sleep 0.02; done
      echo new > changed; rm deleted; echo more >> kept; echo ready; while [ ! -e on ]; do sleep 0.02; done
      cat kept second changed link /tmp/t /var/tmp/v /dev/shm/s; stat -c '%a %h' kept; ls; ls deep; tail -c 4 sparse; stat -c %s sparse`;
      let run = await stage().start(['sh', '-c', script]);
      await untilLines(run, 1);
      run = await stage().move(run, 1);
      await writeFile(join(run.workspace, 'go'), '');
      await untilLines(run, 2);
      run = await stage().move(run, 2);
      await writeFile(join(run.workspace, 'on'), '');
      expect(await run.ended).toEqual({ kind: 'exited', code: 0 });
      const kept = ['old', 'more'];
      const names = ['changed', 'deep', 'go', 'kept', 'link', 'on', 'second', 'sparse'];
      expect((await output(run)).trim().split('\n')).toEqual([
        ...[
          'ready',
          'ready',
          ...kept,
          ...kept,
          'new',
          ...kept,
          't',
          'v',
          's',
          '640 2',
          ...names,
          'empty',
          'end',
          '1048580',
        ],
      ]);
      expect((await stat(join(run.workspace, 'sparse'))).blocks * 512).toBeLessThan(100_000);
    });

    test('a file that was deleted while open is still there for the program', async () => {
      let run = await stage().start([
        'sh',
        '-c',
        'exec 5<>lost; echo content >&5; rm lost; echo ready; while [ ! -e go ]; do sleep 0.02; done; cat /proc/self/fd/5; ls',
      ]);
      await untilLines(run, 1);
      run = await stage().move(run, 1);
      run = await stage().move(run, 2);
      await writeFile(join(run.workspace, 'go'), '');
      expect(await run.ended).toEqual({ kind: 'exited', code: 0 });
      expect(await output(run)).toBe('ready\ncontent\ngo\n');
    });
  });

  describe('the log', () => {
    test('is not truncated by what opens it anew, before or after a move', async () => {
      const say = (word: string) => `echo ${word} > /dev/stdout; echo ${word} > /dev/stderr`;
      let run = await stage().start([
        'sh',
        '-c',
        `echo first; ${say('second')}; ${UNTIL_GO}; ${say('third')}; echo fourth`,
      ]);
      await untilLines(run, 2);
      for (const epoch of [1, 2, 3]) run = await stage().move(run, epoch);
      await writeFile(join(run.workspace, 'go'), '');
      expect(await run.ended).toEqual({ kind: 'exited', code: 0 });
      expect(await output(run)).toBe('first\nsecond\nthird\nfourth\n');
      expect(await readFile(run.logs.stderr, 'utf8')).toBe('second\nthird\n');
    });

    test('has every line once of a program that never pauses', async () => {
      const script = 'n=0; while [ ! -e go ]; do n=$((n + 1)); echo $n; done; echo the end of $n';
      let run = await stage().start(['sh', '-c', script]);
      for (const epoch of [1, 2, 3]) {
        await untilLines(run, 2000 * epoch);
        run = await stage().move(run, epoch);
      }
      await writeFile(join(run.workspace, 'go'), '');
      expect(await run.ended).toEqual({ kind: 'exited', code: 0 });
      const lines = (await output(run)).trimEnd().split('\n');
      expect(lines.pop()).toBe(`the end of ${lines.length}`);
      expect(lines.findIndex((line, at) => line !== String(at + 1))).toBe(-1);
    });
  });
}
