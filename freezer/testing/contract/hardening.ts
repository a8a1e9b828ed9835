/** What keeps a job from the machine, beside that it has no capability; tried from inside. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { type Kind, onStage, output, untilLines } from '../stage.ts';

/** Needs perl, and as the image's user root. */
export function keepsTheJobFromTheMachine(kind: Kind): void {
  const stage = onStage(kind);

  describe('the job and the machine', () => {
    test.skipIf(process.arch !== 'x64')('it has a seccomp profile, once, however often it has moved', async () => {
      const lines = [...REFUSED_CALLS.map(([name, , error]) => `${name}: ${error}`), 'Seccomp_filters:\t1', ''];
      let run = await stage().start(['perl', '-e', TRY_SYSTEM_CALLS]);
      for (const epoch of [1, 2, 3]) {
        await untilLines(run, (lines.length - 1) * epoch);
        run = await stage().move(run, epoch);
        await writeFile(join(run.workspace, 'go'), '');
      }
      await untilLines(run, (lines.length - 1) * 4);
      expect(await output(run)).toBe(lines.join('\n').repeat(4));
    });

    test("it can neither list nor change Floe's own folders, and opens its log once more all the same", async () => {
      const lines = ['reopened', ...OUR_FOLDERS.map((path) => `${path}: Permission denied, Permission denied`), ''];
      let run = await stage().start(['perl', '-e', LOOK_AROUND]);
      await untilLines(run, lines.length - 1);
      run = await stage().move(run, 1);
      await writeFile(join(run.workspace, 'go'), '');
      await untilLines(run, 2 * (lines.length - 1));
      expect(await output(run)).toBe(lines.join('\n').repeat(2));
    });

    test("it cannot turn the kernel's knobs", async () => {
      const run = await stage().start(['perl', '-e', TURN_KNOBS]);
      expect(await run.ended).toEqual({ kind: 'exited', code: 0 });
      const path = '/proc/sys/kernel';
      expect(await output(run)).toBe(
        `${path}/core_pattern: Read-only file system\n${path}/ns_last_pid: Read-only file system\n`,
      );
    });
  });
}

/** Name, number on x86_64 with arguments, and how it is answered. */
const REFUSED_CALLS = [
  ['unshare', '272, 0x10000000', 'Operation not permitted'],
  ['clone with a new user namespace', '56, 0x10000011, 0, 0, 0, 0', 'Operation not permitted'],
  ['clone3', '435, 0, 0', 'Function not implemented'],
  ['mount', '165, 0, 0, 0, 0, 0', 'Operation not permitted'],
  ['bpf', '321, 0, 0, 0', 'Operation not permitted'],
  ['userfaultfd', '323, 1', 'Operation not permitted'],
  ['keyctl', '250, 0, 0, 0, 0, 0', 'Operation not permitted'],
  ['io_uring_setup', '425, 0, 0', 'Function not implemented'],
  ['a socket to the hypervisor', '41, 40, 1, 0', 'Operation not permitted'],
  ['getpid of x32', '0x40000027', 'Function not implemented'],
  ['a call that is yet to be invented', '999', 'Function not implemented'],
] as const;

const WAIT_TO_GO = 'select undef, undef, undef, 0.02 until unlink "go";';

const TRY_SYSTEM_CALLS = `$| = 1; while (1) {
  ${REFUSED_CALLS.map(([name, call]) => `print "${name}: ", syscall(${call}) < 0 ? $! : "done", "\\n";`).join('\n  ')}
  open my $status, "<", "/proc/self/status"; print grep /^Seccomp_filters/, <$status>;
  ${WAIT_TO_GO}
}`;

const OUR_FOLDERS = ['/floe/common', '/floe/control', '/floe/images', '/floe/logs'];

const LOOK_AROUND = `$| = 1; while (1) {
  open my $log, ">>", "/dev/stdout" or die $!; print $log "reopened\\n"; close $log;
  for (qw(${OUR_FOLDERS.join(' ')})) {
    print "$_: ", (opendir(my $folder, $_) ? "listed" : $!), ", ", (open(my $file, ">", "$_/new") ? "written" : $!), "\\n";
  }
  ${WAIT_TO_GO}
}`;

// Nothing is written, should it be possible after all.
const TURN_KNOBS = `for (qw(core_pattern ns_last_pid)) {
  my $path = "/proc/sys/kernel/$_"; print "$path: ", (open(my $knob, "+<", $path) ? "open" : $!), "\\n";
}`;
