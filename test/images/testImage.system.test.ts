import { randomUUID } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { beforeAll, describe, expect, test } from 'vitest';
import { requireEngine, type TestEngine } from '../support/engine.ts';
import { program } from '../support/programs.ts';
import { type TestImageName, testImage } from './testImage.ts';

describe.for(['docker', 'podman'] as const)('%s', (cli) => {
  let engine: TestEngine;
  beforeAll(async () => {
    engine = await requireEngine(cli);
  });
  const run = (...args: string[]) => execa(cli, ['run', '--rm', ...args], { env: engine.env, reject: false });

  test.for<[TestImageName, string]>([
    ['debian', '/usr/local/bin/memory'],
    ['musl', '/usr/local/bin/memory'],
    ['static', '/memory'],
    ['configured', '/usr/local/bin/memory'],
  ])('the reference job says in the image %s what it says outside', async ([name, memory]) => {
    const image = await testImage(engine, name);
    const inside = await run('--entrypoint', memory, image, '1', '70', 'tree', '--pace-ms', '0');
    expect(inside.stderr).toBe('');
    expect(inside.stdout).toBe(await outside('1', '70', 'tree', '--pace-ms', '0'));
  });

  test('an image says how it is to be run', async () => {
    const image = await testImage(engine, 'configured');
    expect((await run(image)).stdout).toBe(await outside('1', '20', 'plain'));
    const said = await run('--entrypoint', '/bin/sh', image, '-c', 'id; pwd; echo $GREETING; cat /srv/data/file');
    expect(said.stdout).toBe(
      'uid=1234(job) gid=4321(crew) groups=4321(crew),4322(extra)\n/srv/job\nhello from the image\nfrom-the-image',
    );
  });

  test('the bare image has no shell, and the musl image no glibc', async () => {
    expect((await run('--entrypoint', '/bin/sh', await testImage(engine, 'static'))).exitCode).toBe(127);
    const maps = await run('--entrypoint', '/bin/sh', await testImage(engine, 'musl'), '-c', 'ls /lib /lib64; id -un');
    expect(maps.stdout).toMatch(/^\/lib:\nld-musl-[^\n]*\.so\.1\nroot$/);
  });

  test('a container gets its limits, capabilities and folders, and its changes can be seen', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'floe-test-'));
    const name = `floe-test-${randomUUID()}`;
    const docker = (...args: string[]) => execa(cli, args, { env: engine.env });
    const script = `
      open my $status, '<', '/proc/self/status'; my ($bounding) = grep /CapBnd/, <$status>;
      open my $limit, '<', -e '/sys/fs/cgroup/memory.max' ? '/sys/fs/cgroup/memory.max' : '/sys/fs/cgroup/memory/memory.limit_in_bytes';
      open my $new, '>', '/etc/new'; unlink '/etc/hostname.not', '/etc/debian_version';
      open my $out, '>', '/workspace/out'; print $out $bounding, <$limit>; close $out; exit 7`;
    await writeFile(join(folder, 'out'), '');
    try {
      const limits = [
        '--memory',
        '64m',
        '--cpus',
        '0.5',
        '--cap-drop',
        'ALL',
        '--cap-add',
        'SYS_ADMIN',
        '--cap-add',
        'SYS_TIME',
      ];
      const started = [
        '--entrypoint',
        'perl',
        '--volume',
        `${folder}:/workspace`,
        '--security-opt',
        'seccomp=unconfined',
      ];
      await docker(
        'run',
        '--detach',
        '--name',
        name,
        ...limits,
        ...started,
        await testImage(engine, 'debian'),
        '-e',
        script,
      );
      expect((await docker('wait', name)).stdout).toBe('7');
      expect(await readFile(join(folder, 'out'), 'utf8')).toBe('CapBnd:\t0000000002200000\n67108864\n');
      const changes = (await docker('diff', name)).stdout.split('\n');
      expect(changes).toEqual(expect.arrayContaining(['C /etc', 'A /etc/new', 'D /etc/debian_version']));
      const [container] = JSON.parse((await docker('inspect', name)).stdout);
      expect(container.State).toMatchObject({ ExitCode: 7, OOMKilled: false, Running: false });
    } finally {
      await docker('rm', '--force', '--volumes', name);
      await rm(folder, { recursive: true, force: true });
    }
  });
});

/** What the reference job says on this machine, without a container. */
async function outside(...args: string[]): Promise<string> {
  const cwd = await mkdtemp(join(tmpdir(), 'floe-test-'));
  try {
    return (await execa(await program('memory'), args, { cwd })).stdout;
  } finally {
    await rm(cwd, { recursive: true, force: true });
  }
}
