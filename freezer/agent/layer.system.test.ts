/** The writable layer of a real container, moved to a second one of the same image. */
import { randomBytes } from 'node:crypto';
import { chmod, lstat, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { requireEngine } from '../../test/support/engine.ts';
import { defaultToolbox } from '../../test/support/toolbox.ts';
import { parseDockerDiff } from '../container/changes.ts';
import { toolCommand } from '../toolbox.ts';
import { applyLayer, saveLayer } from './layer.ts';

const IMAGE = 'debian:trixie-slim';
const SOURCE = fileURLToPath(new URL('..', import.meta.url));
const toolboxDirectory = defaultToolbox();

let directory: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'floe-layer-'));
});

afterEach(() => rm(directory, { recursive: true, force: true }));

describe('between two containers of one image', () => {
  let env: Readonly<Record<string, string>>;
  const containers: string[] = [];

  beforeAll(async () => {
    ({ env } = await requireEngine());
  });

  afterEach(async () => {
    if (containers.length > 0) await docker('rm', '--force', ...containers.splice(0));
  });

  async function docker(...args: string[]): Promise<string> {
    return (await execa('docker', args, { env, maxBuffer: 2 ** 30 })).stdout;
  }

  /** A container that does nothing, with the layer's folder at its place and a volume. */
  async function startContainer(): Promise<string> {
    const binds = [
      `${toolboxDirectory}:/floe/toolbox:ro`,
      `${SOURCE}:/floe/freezer:ro`,
      `${join(SOURCE, '..', 'package.json')}:/floe/package.json:ro`,
      `${join(directory, 'layer')}:/floe/layer`,
      `${join(directory, 'volume')}:/srv/my volume`,
    ].flatMap((bind) => ['--volume', bind]);
    const args = ['--detach', '--label', 'floe.test=layer', '--cap-add', 'SYS_ADMIN', '--network', 'none', ...binds];
    const id = (await docker('run', ...args, '--entrypoint', '/bin/sleep', IMAGE, 'infinity')).trim();
    containers.push(id);
    return id;
  }

  /** Runs a module's text with the toolbox's Node inside the container. */
  function evaluate(container: string, module: string, ...args: string[]): Promise<string> {
    return docker('exec', container, ...toolCommand('node'), '--input-type=module', '--eval', module, '--', ...args);
  }

  async function describeIn(container: string): Promise<Record<string, string>> {
    const describing = "import { describeTree } from '/floe/freezer/testing/describeTree.ts';";
    const tree = JSON.parse(
      await evaluate(container, `${describing} console.log(JSON.stringify(await describeTree('/')));`),
    );
    const folders = ['bin', 'etc', 'home', 'opt', 'root', 'srv', 'usr', 'var'];
    const options = ['-R', '-P', '-h', '-d', '-m', '-', '-e', 'hex', '--', ...folders];
    const attributes = await docker('exec', '--workdir', '/', container, ...toolCommand('getfattr'), ...options);
    // The engine makes these anew in every container, beneath its writable layer.
    for (const path of ['/.dockerenv', '/etc/mtab', '/floe']) delete tree[path];
    return { ...tree, attributes };
  }

  test('everything is as it was: content, deletions, replaced and renamed folders, attributes, links, holes', async () => {
    await mkdir(join(directory, 'layer'));
    await mkdir(join(directory, 'volume'));
    await writeFile(join(directory, 'volume', 'precious'), 'x');
    const first = await startContainer();
    const fresh = await describeIn(first);
    await docker('exec', first, 'perl', '-e', CHANGES);
    for (const [path, name, value] of ATTRIBUTES)
      await docker('exec', first, ...toolCommand('setfattr'), '-h', '-n', name, '-v', value, path);
    const before = await describeIn(first);
    expect(before).not.toEqual(fresh);

    const changes = JSON.stringify(parseDockerDiff(await docker('diff', first)));
    const saving =
      "import { saveLayer } from '/floe/freezer/agent/layer.ts'; await saveLayer(JSON.parse(process.argv[1]));";
    await evaluate(first, saving, changes);
    expect(await describeIn(first)).toEqual(before);
    const tree = join(directory, 'layer', 'tree');
    for (const ours of ['floe', '.dockerenv', 'proc', 'etc/hosts', 'srv/my volume'])
      await expect(lstat(join(tree, ours))).rejects.toThrow('ENOENT');

    const second = await startContainer();
    const applying = "import { applyLayer } from '/floe/freezer/agent/layer.ts'; await applyLayer();";
    await evaluate(second, applying);
    const after = await describeIn(second);
    expect(after).toEqual(before);
    expect(await readFile(join(directory, 'volume', 'precious'), 'utf8')).toBe('x');

    // A second time from there, as a job that moves twice.
    await evaluate(second, saving, JSON.stringify(parseDockerDiff(await docker('diff', second))));
    const third = await startContainer();
    await evaluate(third, applying);
    expect(await describeIn(third)).toEqual(before);
  });
});

describe('with folders that stand for a container', () => {
  const place = (name: string) => join(directory, name);
  const where = () => ({ root: place('root'), layer: place('layer'), toolboxDirectory, mountPoints: ['/srv/volume'] });

  beforeEach(async () => {
    for (const name of ['root', 'layer', 'outside', 'root/srv', 'root/srv/volume']) await mkdir(place(name));
    await writeFile(place('outside/precious'), 'x');
    await writeFile(place('root/srv/volume/precious'), 'x');
  });

  async function layerOf(deleted: unknown): Promise<void> {
    await mkdir(place('layer/tree'));
    await writeFile(place('layer/deleted.json'), JSON.stringify(deleted));
  }

  test('a link of the image is replaced, and nothing is written or deleted behind it', async () => {
    await symlink(place('outside'), place('root/data'));
    await layerOf(['/data/precious']);
    await mkdir(place('layer/tree/data'), { mode: 0o700 });
    await writeFile(place('layer/tree/data/new'), 'n');
    await applyLayer(where());
    expect(await readdir(place('outside'))).toEqual(['precious']);
    const data = await lstat(place('root/data'));
    expect([data.isDirectory(), data.mode & 0o777]).toEqual([true, 0o700]);
    expect(await readdir(place('root/data'))).toEqual(['new']);
  });

  test.each([
    ['a folder with a volume in it', ['/srv']],
    ['a path that leads out', ['/srv/../../outside']],
    ['everything', ['/']],
    ['what is no path', [1]],
    ['no list', {}],
  ])('a list of deletions with %s is refused', async (_, deleted) => {
    await layerOf(deleted);
    await expect(applyLayer(where())).rejects.toMatchObject({ code: 'corrupt' });
    expect(await readdir(place('outside'))).toEqual(['precious']);
    expect(await readdir(place('root/srv/volume'))).toEqual(['precious']);
  });

  test('a file in the place of a folder with a volume in it is refused', async () => {
    await layerOf([]);
    await writeFile(place('layer/tree/srv'), 'x');
    await expect(applyLayer(where())).rejects.toMatchObject({ code: 'corrupt' });
    expect(await readdir(place('root/srv/volume'))).toEqual(['precious']);
  });

  test('a volume is left where it is, and its deletion is none of ours', async () => {
    const changed = { kind: 'changed', path: '/srv/volume/precious' } as const;
    await saveLayer([changed, { kind: 'deleted', path: '/srv/volume/gone' }], where());
    expect(await readdir(place('layer/tree'))).toEqual([]);
    expect(await readFile(place('layer/deleted.json'), 'utf8')).toBe('[]');
  });

  test.each([
    ['a folder with a volume in it', '/srv'],
    ['a file', '/file'],
  ])('an engine that says that %s was deleted, which is there, has lost sight of the files', async (_, path) => {
    await writeFile(place('root/file'), 'here');
    const saving = saveLayer([{ kind: 'deleted', path }], where());
    await expect(saving).rejects.toMatchObject({ code: 'cannotFreeze', message: expect.stringContaining(path) });
    expect(await readdir(place('layer'))).toEqual([]);
  });

  test('where no layer was saved, nothing happens', async () => {
    await applyLayer(where());
    expect(await readdir(place('root'))).toEqual(['srv']);
  });

  test('a disk that fills up is said to be full, and holds nothing of it afterwards', async () => {
    await execa('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', place('layer')]);
    try {
      await writeFile(place('root/large'), randomBytes(4 * 2 ** 20));
      const saving = saveLayer([{ kind: 'added', path: '/large' }], where());
      await expect(saving).rejects.toMatchObject({ code: 'diskFull' });
      expect(await readdir(place('layer'))).toEqual([]);
    } finally {
      await execa('umount', [place('layer')]);
    }
  });

  test('a name that the engine cannot tell makes the job unfreezable, and is not left behind', async () => {
    const saving = saveLayer([{ kind: 'added', path: '/f\ufffd' }], where());
    await expect(saving).rejects.toMatchObject({ code: 'cannotFreeze', message: expect.stringContaining('UTF-8') });
  });

  test('an unreadable place is an error in words, not half a layer', async () => {
    await writeFile(place('root/file'), 'x');
    await chmod(place('root/file'), 0);
    const saving = saveLayer([{ kind: 'added', path: '/file' }], { ...where(), toolboxDirectory: place('none') });
    await expect(saving).rejects.toThrow();
    expect(await readdir(place('layer'))).toEqual([]);
  });
});

/** In Perl, which Debian's base system has: it works on the image's own files, in ways that are told differently by the engine. */
const CHANGES = String.raw`
use strict; use warnings; use utf8;
sub put { my ($path, $text) = @_; open(my $f, '>', $path) or die "$path: $!"; print $f $text; close $f or die; }
sub run { system(@_) == 0 or die "@_"; }
# content, names and times
put('/etc/motd', "changed\n"); put('/root/new', 'x' x 100000); put('/opt/empty', '');
mkdir '/opt/with space'; put('/opt/with space/"quoted" \\ back\\012slash', 'q'); put("/opt/-dash", 'd'); put("/opt/\xc3\xbc\xe2\x80\xa8" . ('long' x 50), 'u');
utime 1_000_000, 1_000_000, '/opt/-dash';
# deletions: a file, a folder, and what is in folders that stay
unlink '/etc/debian_version' or die; run('rm', '-r', '/usr/share/doc'); unlink glob('/usr/share/zoneinfo/*.tab');
# a folder deleted and made again, with one inside that looks like the image's own; and one that is empty now
run('cp', '-a', '/etc/apt', '/tmp/apt'); run('rm', '-r', '/etc/apt'); run('cp', '-a', '/tmp/apt', '/etc/apt');
unlink '/etc/apt/sources.list'; put('/etc/apt/mine', 'm');
run('rm', '-r', '/usr/share/base-files'); mkdir '/usr/share/base-files' or die;
# kinds that change: folder to file, file to folder, link to folder, folder to link
run('rm', '-r', '/usr/share/man'); put('/usr/share/man', 'a file now');
unlink '/etc/issue' or die; mkdir '/etc/issue' or die; put('/etc/issue/in', 'i');
unlink '/etc/os-release' or die; mkdir '/etc/os-release' or die; put('/etc/os-release/in', 'o');
run('rm', '-r', '/var/backups'); symlink '/etc', '/var/backups' or die;
# renamed
run('mv', '/usr/share/perl5', '/opt/perl5 renamed'); run('mv', '/etc/profile', '/etc/profile.old');
# owners and modes, of the image's own too
put('/opt/setuid', 's'); chown 1234, 70000, '/opt/setuid'; chmod 06755, '/opt/setuid';
chmod 04711, '/usr/bin/env'; chown 12, 34, '/etc/passwd'; chmod 01777, '/srv'; chmod 0700, '/home'; mkdir '/opt/locked'; put('/opt/locked/in', 'l'); chmod 0, '/opt/locked';
# links and pipes
put('/opt/z-first', 'h'); link '/opt/z-first', '/opt/a-second' or die; link '/opt/z-first', '/root/third' or die;
symlink "../no such place", '/opt/dangling' or die; symlink '/opt/dangling', '/root/absolute' or die; run('mkfifo', '-m', '620', '/opt/pipe');
run('mknod', '/opt/null', 'c', '1', '3') if 0;
# holes
open(my $s, '>', '/opt/sparse') or die; seek $s, 2**38, 0; print $s 'end'; seek $s, 2**30, 0; print $s 'y' x 10000; close $s; truncate '/opt/sparse', 2**40 or die;
`;

const ATTRIBUTES = [
  ['/opt/empty', 'user.of a file', '0x00ff0a'],
  ['/opt/with space', 'user.of-a-folder', '0x'],
  ['/opt/dangling', 'trusted.of-a-link', '0x31'],
  ['/opt/setuid', 'security.capability', '0x0100000202040000000000000000000000000000'],
  [
    '/opt/z-first',
    'system.posix_acl_access',
    '0x0200000001000600ffffffff020006000500000004000400ffffffff10000600ffffffff20000400ffffffff',
  ],
  [
    '/opt/locked',
    'system.posix_acl_default',
    '0x0200000001000600ffffffff020006000500000004000400ffffffff10000600ffffffff20000400ffffffff',
  ],
] as const;
