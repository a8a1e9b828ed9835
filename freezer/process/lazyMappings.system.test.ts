/** Lazy thaws of programs that change their mappings while their memory is on its way. */
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { defaultToolbox } from '../../test/support/toolbox.ts';
import { FORK_HELPERS } from '../testing/contract/freezes.ts';
import { type Kind, onStage, output, untilLines, withPrograms } from '../testing/stage.ts';
import { openProcessRuntime } from './runtime.ts';

const kind: Kind = {
  open: (stateDirectory) => openProcessRuntime({ stateDirectory, toolboxDirectory: defaultToolbox() }),
};
const stage = onStage(kind);

/**
 * Maps 256 MiB and says what is in it. When it sees, by the clock, that it has been thawed, it protects parts of it against writing:
 * the kernel has many small mappings then instead of a large one. Asked by SIGUSR1, it says again what is in it, and ends.
 */
const SPLITTER = `
use strict; use Digest::MD5; use Time::HiRes qw(time sleep); $| = 1;
my ($mmap, $read, $mprotect, $size, $step) = (9, 0, 10, 256 << 20, 1 << 20);
my $memory = syscall($mmap, 0, $size, 3, 0x22, -1, 0);
open(my $random, '<', '/dev/urandom') or die;
for (my $at = 0; $at < $size;) { $at += syscall($read, fileno($random), $memory + $at, $size - $at) }
close($random);
sub digest {
  my $md5 = Digest::MD5->new;
  for (my $at = 0; $at < $size; $at += $step) { $md5->add(unpack("P$step", pack('Q', $memory + $at))) }
  return $md5->hexdigest;
}
my $asked = 0; $SIG{USR1} = sub { $asked = 1 };
print digest(), "\\n";
my $last = time;
while (!$asked) {
  sleep 0.001;
  my $isThawed = time - $last > 0.4;
  $last = time;
  next unless $isThawed;
  for (my $at = 0x3000; $at + $step < $size; $at += 0x1f3000) {
    syscall($mprotect, $memory + $at, 0x5000, 1) == 0 or die "mprotect: $!";
  }
  print "split\\n";
  $last = time;
}
print digest(), "\\n";
`;

const SIGUSR1 = 10;

/** Starts 40 processes, and kills them all when there is a file. */
const KILLER = `
$| = 1;
my @started = ${FORK_HELPERS};
print "started\\n";
select undef, undef, undef, 0.002 until -e 'on';
print "ended ", scalar(grep { kill(KILL => $_) && waitpid($_, 0) == $_ } @started), "\\n";
`;

test('mappings that are split meanwhile get their memory, and the job can be frozen', async () => {
  const run = await stage().start(['perl', 'splitter.pl'], (workspace) =>
    writeFile(join(workspace, 'splitter.pl'), SPLITTER),
  );
  await untilLines(run, 1);
  stage().mode = 'lazy';
  const thawed = await stage().move(run, 1);
  await untilLines(thawed, 2);
  const steps = new Set<string>();
  const { checkpoint } = await thawed.freeze({
    ...{ place: stage().place, epoch: 2, afterwards: 'stop' as const },
    onProgress: ({ step }) => steps.add(step),
  });
  expect(steps).toContain('filling');
  await thawed[Symbol.asyncDispose]();
  stage().mode = 'eager';
  const again = await stage().thaw(checkpoint.id, 3);
  again.signal(SIGUSR1);
  expect(await again.ended).toEqual({ kind: 'exited', code: 0 });
  const [before, ...after] = (await output(again)).trim().split('\n');
  expect(after.at(-1)).toBe(before);
}, 120_000);

test('memory that is unmapped, emptied, moved, protected and inherited meanwhile is what it was, three moves on', async () => {
  const run = await stage().start(['./rearranger', '48'], withPrograms('rearranger'));
  await untilLines(run, 1);
  stage().mode = 'lazy';
  let moved = await stage().move(run, 1);
  await writeFile(join(moved.workspace, 'on'), '');
  await untilLines(moved, 2);
  expect(await output(moved)).toBe('ready\nwhole\n');
  for (const epoch of [2, 3]) moved = await stage().move(moved, epoch);
  await rm(join(moved.workspace, 'on'));
  expect(await moved.ended).toEqual({ kind: 'exited', code: 0 });
  expect(await output(moved)).toBe('ready\nwhole\nwhole\n');
}, 120_000);

test('processes that end meanwhile take nothing with them', async () => {
  const run = await stage().start(['perl', '-e', KILLER]);
  await untilLines(run, 1);
  const { checkpoint } = await run.freeze({ place: stage().place, epoch: 1, afterwards: 'stop' });
  await run[Symbol.asyncDispose]();
  stage().mode = 'lazy';
  for (let epoch = 2; epoch < 12; epoch++) {
    await using thawed = await stage().thaw(checkpoint.id, epoch);
    await writeFile(join(thawed.workspace, 'on'), '');
    expect(await thawed.ended).toEqual({ kind: 'exited', code: 0 });
    expect(await output(thawed)).toBe('started\nended 40\n');
  }
}, 120_000);
