/** What a job cannot do, seen from inside. */

import { writeFile } from 'node:fs/promises';
import { constants } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { describe, expect, test } from 'vitest';
import { type Kind, onStage, output, untilLines, withPrograms } from '../stage.ts';

/** Its log first, which it would empty; then all that it can reach of its parent, the agent and its init. Perl itself is process $$. */
const OPEN_OTHERS = String.raw`$| = 1; while (1) {
  my $parent = getppid;
  print "the log could be opened: ", (open(my $log, ">", "/proc/$parent/fd/1") ? "yes" : "no"), "\n";
  my @opened;
  for my $pid (1, 2, $parent) {
    for my $path (map("/proc/$pid/$_", qw(fd/0 fd/1 fd/2 fd/3 mem environ maps root cwd exe))) {
      push @opened, $path if open(my $file, "<", $path) or opendir(my $folder, "$path/");
    }
  }
  print "opened: ", join(" ", @opened) || "none", "\n";
  select undef, undef, undef, 0.02 until unlink "go";
}`;

/** Needs a shell. */
export function confinesTheJob(kind: Kind): void {
  const stage = onStage(kind);

  describe('the job in its container', () => {
    test('has no capability, can gain none, and no io_uring, before and after a move', async () => {
      const script =
        'while :; do ./capabilities; ./io_uring; echo --; while [ ! -e go ]; do sleep 0.02; done; rm go; done';
      let run = await stage().start(['sh', '-c', script], async (workspace) => {
        await withPrograms('capabilities')(workspace);
        await withPrograms('io_uring')(workspace);
      });
      await untilLines(run, 9);
      run = await stage().move(run, 1);
      await writeFile(join(run.workspace, 'go'), '');
      await untilLines(run, 18);
      const [before, after] = (await output(run)).split('--\n');
      expect(before?.split('\n').map((line) => line.replace(/\s+/, ' '))).toEqual([
        ...['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb'].map((name) => `${name}: 0000000000000000`),
        ...['NoNewPrivs: 1', 'Seccomp: 2', 'io_uring: Function not implemented', ''],
      ]);
      expect(after).toBe(before);
    });

    test('cannot open what its supervisor and its agent have open, nor their memory, before and after moves', async () => {
      let run = await stage().start(['perl', '-e', OPEN_OTHERS]);
      const claims = ['the log could be opened: no', 'opened: none', ''];
      for (const epoch of [1, 2, 3]) {
        await untilLines(run, 2 * epoch);
        run = await stage().move(run, epoch);
        await writeFile(join(run.workspace, 'go'), '');
      }
      await untilLines(run, 8);
      expect(await output(run)).toBe(claims.join('\n').repeat(4));
    });

    test('dies when its lease is not renewed', async () => {
      const run = await stage().start(['sleep', '1000']);
      stage().renewNewest(100);
      expect(await run.ended).toMatchObject({ kind: 'lost', reason: expect.stringContaining('lease') });
    });

    test('dies when its lease is not renewed, though the job has stopped all that it could', async () => {
      const stopAll =
        'kill STOP => grep { $_ > 1 && $_ != $$ } map { m{(\\d+)} } glob "/proc/[0-9]*"; print "stopped\\n"; sleep 1000';
      const run = await stage().start([
        'perl',
        '-e',
        `$| = 1; select undef, undef, undef, 0.02 until -e "go"; ${stopAll}`,
      ]);
      stage().renewNewest(2000);
      await writeFile(join(run.workspace, 'go'), '');
      expect(await run.ended).toMatchObject({ kind: 'lost', reason: expect.stringContaining('lease') });
    });

    test('is gone with everything in it after a kill', async () => {
      const sleep = `sleep 54321.${process.pid}`;
      const run = await stage().start(['sh', '-c', `setsid ${sleep} & ${sleep} & echo ready; wait`]);
      await untilLines(run, 1);
      await run.kill();
      expect((await execa('pgrep', ['-f', sleep], { reject: false })).stdout).toBe('');
    });

    test('a job that kills its whole process group, as shell scripts do, is not lost with it', async () => {
      const run = await stage().start(['sh', '-c', 'sleep 1000 & kill -TERM 0; wait']);
      expect(await run.ended).toEqual({ kind: 'killed', signal: constants.signals.SIGTERM });
    });
  });
}
