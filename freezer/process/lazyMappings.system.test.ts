/** Lazy thaws of programs that change their mappings while their memory is on its way. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { defaultToolbox } from '../../test/support/toolbox.ts';
import { type Kind, onStage, output, untilLines } from '../testing/stage.ts';
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
