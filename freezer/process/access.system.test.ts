/** What a job sees of its machine: tried from inside, with things planted outside that it must not find. */

import { once } from 'node:events';
import { chmod, mkdir, mkdtemp, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { defaultToolbox } from '../../test/support/toolbox.ts';
import { onStage, output, untilLines } from '../testing/stage.ts';
import { LEAST_ACCESS, type MachineAccess } from './machineAccess.ts';
import { openProcessRuntime } from './runtime.ts';

const CANARY = 'canary-of-the-machine';
/** Where it is planted: a program folder, beside /etc's own, in homes and below /var and /srv. */
const PLACES = ['/opt', '/usr/local/share', '/etc', '/root', '/home', '/var/lib', '/srv', '/run'];
const planted: string[] = [];
let readable: string;

async function plant(parent: string): Promise<string> {
  const folder = await mkdtemp(join(parent, 'floe-canary-'));
  planted.push(folder);
  await chmod(folder, 0o755);
  await writeFile(join(folder, 'secret'), CANARY, { mode: 0o600 });
  await mkdir(join(folder, 'closed'), { mode: 0o700 });
  await writeFile(join(folder, 'closed', 'file'), CANARY, { mode: 0o644 });
  await writeFile(join(folder, 'floe.yaml'), CANARY, { mode: 0o644 });
  return folder;
}

const servers: ReturnType<typeof createServer>[] = [];

async function listenAt(path: string): Promise<void> {
  const server = createServer((socket) => socket.end(CANARY));
  server.listen(path);
  await once(server, 'listening');
  servers.push(server);
}

beforeAll(async () => {
  for (const place of PLACES) await plant(place);
  readable = await plant('/srv');
  await listenAt(join(planted[0] ?? '', 'socket'));
  await listenAt(join(planted.at(-2) ?? '', 'socket'));
});
afterAll(async () => {
  for (const server of servers) server.close();
  for (const folder of planted) await rm(folder, { recursive: true, force: true });
});

/** Prints every canary that it finds, in files or behind sockets, and every file of the machine's that it should not see. */
const SEARCH = String.raw`use Socket; $| = 1;
sub look { my ($path) = @_;
  lstat $path or return;
  if (-l _) { return }
  if (-S _) { socket(my $s, PF_UNIX, SOCK_STREAM, 0); if (connect($s, pack_sockaddr_un($path))) { print "connected to $path\n" } return }
  if (-d _) { opendir(my $d, $path) or return; look("$path/$_") for grep { !/^\.\.?$/ } readdir $d; return }
  return unless -f _ && -s _ < 1000;
  open(my $f, "<", $path) or return; local $/; my $text = <$f>; print "read $path\n" if $text =~ /canary-of-the-ma[c]hine/;
}
while (1) {
  look($_) for @ARGV;
  for (qw(/etc/shadow /etc/gshadow /etc/sudoers /root /home /boot /srv /mnt /media /run/docker.sock /var/run /var/lib)) { print "there is $_\n" if -e $_ }
  opendir(my $run, "/run"); print "in /run: $_\n" for grep { !/^\./ } readdir $run;
  print "written: $_\n" for grep { open(my $f, ">", "$_/new") } qw(/run /var /etc /usr /opt /);
  print "--\n"; select undef, undef, undef, 0.02 until unlink "go";
}`;
const EVERYWHERE = [
  '/usr/local/share',
  '/opt',
  '/etc',
  '/run',
  '/var',
  '/srv',
  '/home',
  '/root',
  '/floe',
  '/tmp',
  '/sys/fs',
];

const stage = onStage({
  open: (stateDirectory) => openProcessRuntime({ stateDirectory, toolboxDirectory: defaultToolbox() }),
});
const open = (access: Partial<MachineAccess>) => (stateDirectory: string) =>
  openProcessRuntime({ stateDirectory, toolboxDirectory: defaultToolbox(), access: { ...LEAST_ACCESS, ...access } });

describe('a job as every user of the machine', () => {
  test("reads nothing of root's, of other jobs' or of Floe's, and connects to no socket, before and after three moves", async () => {
    const other = await stage().start(['sleep', '1000'], async (workspace) => {
      await writeFile(join(workspace, 'mine'), CANARY);
    });
    let run = await stage().start(['perl', '-e', SEARCH, ...EVERYWHERE]);
    // The one that is readable for everybody is no secret of the machine's.
    const found = [PLACES[0], PLACES[1], PLACES[2]].map((place) =>
      planted.find((path) => path.startsWith(`${place}/`)),
    );
    const expected = [...[found[1], found[0], found[2]].map((folder) => `read ${folder}/floe.yaml`), '--', ''];
    for (const epoch of [1, 2, 3]) {
      await untilLines(run, (expected.length - 1) * epoch);
      run = await stage().move(run, epoch);
      await writeFile(join(run.workspace, 'go'), '');
    }
    await untilLines(run, (expected.length - 1) * 4);
    expect(await output(run)).toBe(expected.join('\n').repeat(4));
    expect(await readFile(join(other.workspace, 'mine'), 'utf8')).toBe(CANARY);
  });

  test('sees no process of the machine, and can end none', async () => {
    const script = String.raw`my @pids = grep { /^\d+$/ } map { s{.*/}{}r } glob "/proc/*"; print scalar(@pids) < 10 ? "few" : "many", "\n"; kill 9, ${process.pid}`;
    const run = await stage().start(['perl', '-e', script]);
    expect(await run.ended).toEqual({ kind: 'exited', code: 0 });
    expect(await output(run)).toBe('few\n');
  });
});

describe('the operator', () => {
  const sharing = onStage({
    open: (directory) => open({ readablePaths: [readable], hiddenPaths: [join(readable, 'floe.yaml')] })(directory),
  });

  test("names a folder that jobs can read, root's files in it too, but never what is Floe's", async () => {
    const run = await sharing().start(['sh', '-c', `cat ${readable}/secret ${readable}/floe.yaml; ls ${readable}/..`]);
    await run.ended;
    expect(await output(run)).toBe(`${CANARY}${readable.slice('/srv/'.length)}\n`);
  });

  test('who shows it on some workers only has the job wait for those, by the name of the file, and none of its work lost', async () => {
    const script = `exec 5< ${readable}/secret; echo ready; while [ ! -e go ]; do sleep 0.02; done; cat <&5`;
    const run = await sharing().start(['sh', '-c', script]);
    await untilLines(run, 1);
    const { place, attachLease } = sharing();
    const { checkpoint } = await run.freeze({ place, epoch: 1, afterwards: 'stop' });
    const options = { jobId: 'a', epoch: 2, program: sharing().program(['unused']), attachLease, place };
    const thaw = { ...options, checkpointId: checkpoint.id };
    await expect(open({})(sharing().stateDirectory('m5')).thaw(thaw)).rejects.toMatchObject({
      code: 'notHere',
      message: expect.stringContaining(`${readable}/secret`),
      remedy: expect.stringContaining('FLOE_READABLE_PATHS'),
    });
    await using thawed = await sharing().machine('m6').thaw(thaw);
    await writeFile(join(thawed.workspace, 'go'), '');
    expect(await thawed.ended).toEqual({ kind: 'exited', code: 0 });
    expect(await output(thawed)).toBe(`ready\n${CANARY}`);
  });

  test('is told of a folder that is not there', async () => {
    const runtime = open({ readablePaths: ['/srv/floe-nothing'] })(sharing().stateDirectory('m7'));
    await expect(runtime.check()).rejects.toMatchObject({
      code: 'cannotRun',
      message: expect.stringContaining('/srv/floe-nothing'),
    });
  });
});

describe('a volume at a place of the machine', () => {
  let root: string;
  beforeAll(async () => {
    root = await mkdtemp('/srv/floe-root-');
    await mkdir(join(root, 'data'));
    await writeFile(join(root, 'data', 'file'), 'data\n');
    await symlink(planted[3] ?? '', join(root, 'link'));
    await symlink('/etc/shadow', join(root, 'data', 'shadow'));
    await listenAt(join(root, 'data', 'socket'));
  });
  afterAll(() => rm(root, { recursive: true, force: true }));
  const withRoots = onStage({ open: (directory) => open({ volumeRoots: ['/srv/floe-nothing', root] })(directory) });

  test('begins as a copy where it is below a root, without sockets, and links stay links', async () => {
    const place = join(root, 'data');
    const script = `cat ${place}/file; ls ${place}; cat ${place}/shadow; echo more >> ${place}/file`;
    const run = await withRoots().start(['sh', '-c', script], undefined, { volumes: [place] });
    expect(await run.ended).toEqual({ kind: 'exited', code: 0 });
    expect(await output(run)).toBe('data\nfile\nshadow\n');
    expect(await readFile(join(place, 'file'), 'utf8')).toBe('data\n');
  });

  test.each([
    ['outside of the roots', () => planted[0] ?? ''],
    ['that a link leads to', () => join(root, 'link')],
    ['below such a link', () => join(root, 'link', 'closed')],
  ])('is refused %s, with what to do', async (_, place) => {
    const refused = withRoots().start(['true'], undefined, { volumes: [place()] });
    await expect(refused).rejects.toMatchObject({
      code: 'notHere',
      remedy: expect.stringContaining('worker.volumeRoots'),
    });
  });

  test('is refused by a worker without roots, and one at a place that the machine lacks begins empty', async () => {
    const refused = stage().start(['true'], undefined, { volumes: [join(root, 'data')] });
    await expect(refused).rejects.toMatchObject({ code: 'notHere' });
    const run = await stage().start(['sh', '-c', 'ls /srv/floe-new && touch /srv/floe-new/x'], undefined, {
      volumes: ['/srv/floe-new'],
    });
    expect(await run.ended).toEqual({ kind: 'exited', code: 0 });
    await expect(stat('/srv/floe-new')).rejects.toMatchObject({ code: 'ENOENT' });
  });
});
