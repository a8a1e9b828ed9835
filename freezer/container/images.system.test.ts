/** What an image and a spec say of a job, and what of it moves with the job. */
import { readFile, writeFile } from 'node:fs/promises';
import { constants } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { describe, expect, onTestFinished, test } from 'vitest';
import type { Run } from '../runtime.ts';
import { onStage, output, untilLines } from '../testing/stage.ts';
import { bare, configured, configuredOnPodman, debian, debianOnPodman } from './testing/kinds.ts';

const go = (run: Run, name = 'go') => writeFile(join(run.workspace, name), '');
const lines = async (run: Run) => (await output(run)).trim().split('\n');
/** The commands by which the engines of the same kinds are asked, in the same order. */
const CONFIGURED = [
  ['docker', configured],
  ['podman', configuredOnPodman],
] as const;
const DEBIAN = [
  ['docker', debian],
  ['podman', debianOnPodman],
] as const;

const UNTIL_GO = 'while [ ! -e /workspace/go ]; do sleep 0.02; done';

/** Whether containers of this machine can have CAP_SYS_RESOURCE: bit 24 of what this process may give away. */
async function grantsSysResource(): Promise<boolean> {
  const mask = /CapBnd:\s*(\w+)/.exec(await readFile('/proc/self/status', 'utf8'))?.[1];
  return ((BigInt(`0x${mask}`) >> 24n) & 1n) === 1n;
}

describe.each(CONFIGURED)('%s: an image that says how it is to be run', (_, kind) => {
  const stage = onStage(kind);

  test('its command runs in its folder, with its environment', async () => {
    const run = await stage().start([], undefined, { user: 'root' });
    expect(await run.ended).toEqual({ kind: 'exited', code: 0 });
    expect((await lines(run)).at(-1)).toMatch(/^done /);
  });

  test("a command of the job's own takes the place of all of it, and environment, folder and user are as the spec says", async () => {
    const script = `echo "$GREETING, $OWN"; pwd; id -u; ${UNTIL_GO}; echo "$GREETING, $OWN"; pwd`;
    const spec = { user: '0', env: { OWN: 'and from the spec' }, directory: '/srv' };
    let run = await stage().start(['sh', '-c', script], undefined, spec);
    await untilLines(run, 3);
    run = await stage().move(run, 1, spec);
    await go(run);
    expect(await run.ended).toEqual({ kind: 'exited', code: 0 });
    const greeting = 'hello from the image, and from the spec';
    expect(await lines(run)).toEqual([greeting, '/srv', '0', greeting, '/srv']);
  });

  test("its volume begins with what the image has there, and moves; so does one of the spec's", async () => {
    const spec = { user: 'root', volumes: ['/srv/job'] };
    const script = `cat /srv/data/file; echo new > /srv/data/made; echo kept > /srv/job/made; stat -c %U /srv/data/file; ${UNTIL_GO}
      cat /srv/data/file /srv/data/made /srv/job/made; stat -c %U /srv/data/file`;
    let run = await stage().start(['sh', '-c', script], undefined, spec);
    await untilLines(run, 2);
    for (const epoch of [1, 2, 3]) run = await stage().move(run, epoch, spec);
    await go(run);
    expect(await run.ended).toEqual({ kind: 'exited', code: 0 });
    expect(await lines(run)).toEqual(['from-the-image', 'job', 'from-the-image', 'new', 'kept', 'job']);
  });

  test("its user: where the machine cannot freeze other users' programs the job is left to another, with what to do", async (context) => {
    context.skip(await grantsSysResource(), 'this machine grants CAP_SYS_RESOURCE');
    await expect(stage().start(['true'])).rejects.toMatchObject({
      code: 'notHere',
      message: expect.stringMatching(/as job.*CAP_SYS_RESOURCE/),
      remedy: expect.stringContaining('user: root'),
    });
    const run = await stage().start(['sleep', '1000'], undefined, { user: 'root' });
    const { checkpoint } = await run.freeze({ place: stage().place, epoch: 1, afterwards: 'stop' });
    await expect(stage().thaw(checkpoint.id, 2)).rejects.toMatchObject({ code: 'notHere' });
  });

  test('its user: where the machine can, the job is that user before and after moves', async (context) => {
    context.skip(!(await grantsSysResource()), 'this machine grants no CAP_SYS_RESOURCE');
    const script = `id; echo $HOME; touch /workspace/mine; ${UNTIL_GO}; id; stat -c %U /workspace/mine`;
    let run = await stage().start(['sh', '-c', script]);
    await untilLines(run, 2);
    for (const epoch of [1, 2, 3]) run = await stage().move(run, epoch);
    await go(run);
    expect(await run.ended).toEqual({ kind: 'exited', code: 0 });
    const id = 'uid=1234(job) gid=4321(crew) groups=4321(crew),4322(extra)';
    expect(await lines(run)).toEqual([id, '/home/job', id, 'job']);
  });

  test('a user that the image does not know', async () => {
    const refused = stage().start(['true'], undefined, { user: 'nobody-knows' });
    await expect(refused).rejects.toMatchObject({
      code: 'unsupported',
      message: expect.stringContaining('nobody-knows'),
    });
  });
});

/** All that can be done to files, outside of every volume. Perl, because Debian's base image has it. */
const CHANGE = String.raw`
$| = 1; use strict; use File::Path "remove_tree";
my ($file, $name, $value) = ("/opt/deep/file", "user.note", "text\0and more");
mkdir "/opt/deep"; open my $f, ">", $file; print $f "content"; close $f; chmod 0640, $file;
syscall(188, $file, $name, $value, length $value, 0) == 0 or die "setxattr: $!";
link $file, "/opt/deep/second"; symlink "file", "/opt/deep/link"; unlink "/etc/issue"; rename "/etc/issue.net", "/etc/issue.moved";
remove_tree("/usr/share/perl/doc", "/usr/share/base-files"); mkdir "/usr/share/base-files"; open $f, ">", "/usr/share/base-files/mine"; close $f;
open $f, ">>", "/etc/hostname.mine"; print $f "x"; close $f; chmod 04755, "/etc/hostname.mine";
open $f, ">", "/opt/sparse"; seek $f, 1 << 30, 0; print $f "end"; close $f;
open my $held, "+>", "/root/held"; print $held "still here"; $held->flush;
sub look {
  for (sort(glob "/opt/* /opt/deep/* /etc/issue* /etc/hostname.mine /usr/share/base-files/*")) { my @s = lstat; printf "%s %o %d %d %d\n", $_, $s[2], $s[3], $s[4], $s[7]; }
  my $buffer = "\0" x 64; my $size = syscall(191, $file, $name, $buffer, 64); print unpack("H*", substr $buffer, 0, $size), "\n";
  my @s = stat "/opt/sparse"; print $s[12] < 1000 ? "sparse\n" : "full\n"; seek $held, 0, 0; print <$held>, "\n--\n";
}
use IO::Handle; look(); select undef, undef, undef, 0.02 until -e "go"; look();
`;

describe.each(DEBIAN)('%s: a job in a container', (engine, kind) => {
  const stage = onStage(kind);

  test('keeps everything that it changed in its image, wherever it is', async () => {
    let run = await stage().start(['perl', '-e', CHANGE]);
    await expect.poll(async () => (await output(run)).includes('--\n')).toBe(true);
    for (const epoch of [1, 2, 3]) run = await stage().move(run, epoch);
    await go(run);
    expect(await run.ended).toEqual({ kind: 'exited', code: 0 });
    expect(await readFile(run.logs.stderr, 'utf8')).toBe('');
    const [before, after] = (await output(run)).split('--\n');
    expect(after).toBe(before);
    expect(before).toContain('/opt/deep/second 100640 2 0 7');
    expect(before).not.toContain('/etc/issue 1');
    expect(before).toMatch(/7465787400616e64206d6f7265\nsparse\nstill here\n$/);
  });

  test('that nests folders there more deeply than the engine can tell is not frozen, and runs on', async () => {
    const nest = 'perl -e \'(mkdir "nested" and chdir "nested") or die $! for 1..600\'';
    const script = `cd /root; ${nest}; cd /; echo ready; while [ ! -e /workspace/go ]; do sleep 0.02; done`;
    const run = await stage().start(['sh', '-c', script]);
    await untilLines(run, 1);
    const freezing = run.freeze({ place: stage().place, epoch: 1, afterwards: 'stop' });
    await expect(freezing).rejects.toMatchObject({
      code: 'cannotFreeze',
      message: expect.stringContaining('longer than'),
    });
    await writeFile(join(run.workspace, 'go'), '');
    expect(await run.ended).toEqual({ kind: 'exited', code: 0 });
  });

  test('has the very same image after a move, also when its name means another by then', async () => {
    const image = stage().program([]).image ?? '';
    const name = `floe-test/renamed:${process.pid}`;
    onTestFinished(async () => void (await execa(engine, ['image', 'rm', name], { reject: false })));
    await execa(engine, ['tag', image, name]);
    let run = await stage().start(['sh', '-c', `${UNTIL_GO}; perl -e 'print "perl is here\\n"'`], undefined, {
      image: name,
    });
    expect(run.image).toMatch(/^sha256:[0-9a-f]{64}$/);
    await execa(engine, ['import', '-', name], { input: new Uint8Array(1024) });
    run = await stage().move(run, 1, { image: name });
    await go(run);
    expect(await run.ended).toEqual({ kind: 'exited', code: 0 });
    expect(await output(run)).toBe('perl is here\n');
  });

  test('has the name of its host, and no network where it wants none', async () => {
    const script = `cat /proc/sys/kernel/hostname; ls /sys/class/net; ${UNTIL_GO}; cat /proc/sys/kernel/hostname`;
    let run = await stage().start(['sh', '-c', script], undefined, { network: 'none' });
    await untilLines(run, 2);
    run = await stage().move(run, 1, { network: 'none' });
    await go(run);
    await run.ended;
    expect(await lines(run)).toEqual(['a', 'lo', 'a']);
  });

  test('that uses more memory than its limit is told so, and others are not', async () => {
    const resources = { memoryBytes: 32 * 2 ** 20 };
    const greedy = await stage().start(['perl', '-e', 'my $all = "x" x 400_000_000; sleep 1000'], undefined, {
      resources,
    });
    expect(await greedy.ended).toEqual({
      kind: 'killed',
      signal: constants.signals.SIGKILL,
      reason: expect.stringContaining('more memory than its limit'),
    });
    const killed = await stage().start(['sh', '-c', 'kill -KILL $$'], undefined, { resources });
    expect(await killed.ended).toEqual({ kind: 'killed', signal: constants.signals.SIGKILL });
  });

  test('is limited again after a move', async () => {
    const spec = { resources: { cpus: 0.5, memoryBytes: 64 * 2 ** 20 } };
    const script = `echo ready; ${UNTIL_GO}; exec perl -e 'my $all = "x" x 400_000_000; sleep 1000'`;
    let run = await stage().start(['sh', '-c', script], undefined, spec);
    await untilLines(run, 1);
    run = await stage().move(run, 1, spec);
    await go(run);
    expect(await run.ended).toMatchObject({ kind: 'killed', reason: expect.stringContaining('memory') });
  });

  test.each([
    ['an image that nobody has', { image: `sha256:${'0'.repeat(64)}` }, 'imageNotFound', /cannot be had/],
    ['a GPU where there is none', { resources: { gpus: 1 } }, 'notHere', /GPU|gpu/],
    ['more processors than there are', { resources: { cpus: 4000 } }, 'notHere', /CPU/],
  ] as const)('%s is refused, with nothing left of it', async (_, more, code, message) => {
    const refused = stage().start(['true'], undefined, more);
    await expect(refused).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
    const label = `label=floe.state=${stage().stateDirectory('m0')}`;
    expect((await execa(engine, ['ps', '--all', '--quiet', '--filter', label])).stdout).toBe('');
  });
});

describe.each(DEBIAN)('%s: what a dead worker left with the engine', (engine, kind) => {
  const stage = onStage(kind);

  test('is removed by the next start, and nothing of the living is', async () => {
    const mine = await stage().start(['sleep', '1000']);
    const label = (owner: string) => [
      '--label',
      `floe.state=${stage().stateDirectory('m0')}`,
      '--label',
      `floe.owner=${owner}`,
    ];
    const left = `floe-test-left-${process.pid}`;
    onTestFinished(async () => void (await execa(engine, ['rm', '--force', '--volumes', left], { reject: false })));
    await execa(engine, ['volume', 'create', ...label('1.1'), left]);
    const image = stage().program([]).image ?? '';
    await execa(engine, ['run', '--detach', '--name', left, ...label('1.1'), image, 'sleep', '1000']);
    await stage().reopen('m0').check();
    expect((await execa(engine, ['ps', '--all', '--quiet', '--filter', `name=${left}`])).stdout).toBe('');
    expect((await execa(engine, ['volume', 'ls', '--quiet', '--filter', `name=${left}`])).stdout).toBe('');
    mine.signal(constants.signals.SIGTERM);
    expect(await mine.ended).toEqual({ kind: 'killed', signal: constants.signals.SIGTERM });
  });
});

describe('an image with one program and nothing said about it', () => {
  const stage = onStage(bare);

  test('needs a command', async () => {
    await expect(stage().start([])).rejects.toMatchObject({ code: 'unsupported' });
  });
});
