/** A job's secrets: it has them at every start and thaw, as they are then, and no checkpoint has their files. */
import { randomUUID } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { execa } from 'execa';
import { describe, expect, test } from 'vitest';
import { DEFAULT_IMAGES_DIRECTORY } from '../../run/imagesPlace.ts';
import type { Run } from '../../runtime.ts';
import { type Kind, onStage, output, untilLines } from '../stage.ts';

const UNTIL_GO = 'while [ ! -e go ]; do sleep 0.02; done; rm go';
const READ_EACH_TIME = `while :; do cat /run/secrets/token; ${UNTIL_GO}; done`;
const TRY_TO_CHANGE = `cd /run/secrets; ls -A
echo x 2>/dev/null > token || echo cannot write; rm -f token 2>/dev/null || echo cannot remove
echo x 2>/dev/null > new || echo cannot add; chmod 777 token 2>/dev/null || echo cannot change modes`;

/** 294: inotify_init1 with O_NONBLOCK, 254: inotify_add_watch for everything, on x86_64. */
const WATCH = `$| = 1; my ($folder, $file) = qw(/run/secrets /run/secrets/token);
my $watch = syscall(294, 04000); print syscall(254, $watch, $_, 0xfff) < 0 ? "$!\\n" : "watched\\n" for $folder, $file;
while (1) { select undef, undef, undef, 0.02 until unlink "go"; open my $token, "<", $file; print <$token>; close $token }`;

const go = (run: Run) => writeFile(join(run.workspace, 'go'), '');
/** Files below `folder` that hold the text. */
const filesWith = async (text: string, folder: string) =>
  (await execa('grep', ['--recursive', '--files-with-matches', '--text', text, folder], { reject: false })).stdout;

/** Needs a shell, and perl. */
export function givesSecrets(kind: Kind): void {
  const stage = onStage(kind);

  describe('secrets', () => {
    test('are those of the day after each of three moves, and in no file that moves', async () => {
      const values = [1, 2, 3, 4].map((day) => `${randomUUID()}${'x'.repeat(day)}`);
      stage().secrets = { token: `${values[0]}\n` };
      let run = await stage().start(['sh', '-c', READ_EACH_TIME]);
      for (const epoch of [1, 2, 3]) {
        await untilLines(run, epoch);
        stage().secrets = { token: `${values[epoch]}\n` };
        run = await stage().move(run, epoch);
        await go(run);
      }
      await untilLines(run, 4);
      expect(await output(run)).toBe(`${values.join('\n')}\n`);
      const files = dirname(run.workspace);
      await writeFile(run.logs.stdout, ''); // what the job prints is in its log, and the log moves
      for (const value of values) expect(await filesWith(value, files)).toBe('');
      expect(await filesWith(values[3] ?? '', DEFAULT_IMAGES_DIRECTORY)).not.toBe('');
      await run[Symbol.asyncDispose]();
      for (const value of values) expect(await filesWith(value, DEFAULT_IMAGES_DIRECTORY)).toBe('');
    });

    test('can be read and not changed', async () => {
      stage().secrets = { token: 'x\n' };
      const run = await stage().start(['sh', '-c', TRY_TO_CHANGE]);
      expect(await run.ended).toEqual({ kind: 'exited', code: 0 });
      const refused = ['cannot write', 'cannot remove', 'cannot add', 'cannot change modes'];
      expect((await output(run)).trim().split('\n')).toEqual(['token', ...refused]);
    });

    test('are not there for a job that has none', async () => {
      const run = await stage().start(['sh', '-c', 'ls -A /run/secrets 2>/dev/null; echo end']);
      expect(await run.ended).toEqual({ kind: 'exited', code: 0 });
      expect(await output(run)).toBe('end\n');
    });

    test.skipIf(process.arch !== 'x64')('can be watched, and the watching program moves', async () => {
      stage().secrets = { token: 'first\n' };
      let run = await stage().start(['perl', '-e', WATCH]);
      await untilLines(run, 2);
      for (const epoch of [1, 2, 3]) {
        stage().secrets = { token: `${'x'.repeat(epoch)}\n` };
        run = await stage().move(run, epoch);
        await go(run);
        await untilLines(run, 2 + epoch);
      }
      expect(await output(run)).toBe('watched\nwatched\nx\nxx\nxxx\n');
    });

    test('keep a program from being frozen while it has one open, which is told, and no longer', async () => {
      stage().secrets = { token: 'short\n' };
      const script = `exec 3< /run/secrets/token; echo open; ${UNTIL_GO}; exec 3<&-; echo closed; ${UNTIL_GO}; cat /run/secrets/token`;
      let run = await stage().start(['sh', '-c', script]);
      await untilLines(run, 1);
      const refusal = { code: 'cannotFreeze', message: expect.stringContaining('/run/secrets/token as descriptor 3') };
      await expect(run.preflight()).rejects.toMatchObject(refusal);
      await expect(stage().move(run, 1)).rejects.toMatchObject(refusal);
      expect(await stage().checkpoints()).toEqual([]);
      await go(run);
      await untilLines(run, 2);
      stage().secrets = { token: 'of another length\n' };
      run = await stage().move(run, 1);
      await go(run);
      expect(await run.ended).toEqual({ kind: 'exited', code: 0 });
      expect(await output(run)).toBe('open\nclosed\nof another length\n');
    });
  });
}
