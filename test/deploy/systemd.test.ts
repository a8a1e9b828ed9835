/** The unit files, read by systemd itself. */
import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { execa } from 'execa';
import { describe, expect, it } from 'vitest';
import { readDeployFile, whyMissing } from './files.ts';
import { unitsOfUserData } from './userData.ts';

const missing = whyMissing('systemd-analyze', 'systemd');
/** What the units refer to, and every system with systemd has. */
const TARGETS = ['basic', 'multi-user', 'network-online', 'shutdown', 'sysinit'].map((name) => `${name}.target`);

const units = new Map([
  ['systemd/floe-worker.service', readDeployFile('systemd/floe-worker.service')],
  ...unitsOfUserData().map(([name, content]) => [`ec2/floe.yaml: ${name}`, content] as const),
]);

/** What systemd has to say about a unit, on a machine that has the programs which it starts. */
async function verify(content: string): Promise<string> {
  const root = await mkdtemp(join(tmpdir(), 'floe-units-'));
  try {
    const folder = join(root, 'etc/systemd/system');
    await mkdir(folder, { recursive: true });
    await writeFile(join(folder, 'under-test.service'), content);
    for (const target of TARGETS) await writeFile(join(folder, target), '[Unit]\n');
    await writeFile(join(folder, 'docker.service'), '[Service]\nExecStart=/usr/bin/docker\n');
    const programs = [...content.matchAll(/^Exec\w+=-?(\/\S+)/gm)].map(([, program = '']) => program);
    for (const program of ['/usr/bin/docker', ...programs]) {
      await mkdir(dirname(join(root, program)), { recursive: true });
      await writeFile(join(root, program), '');
      await chmod(join(root, program), 0o755);
    }
    const { all, exitCode } = await execa('systemd-analyze', ['verify', `--root=${root}`, 'under-test.service'], {
      reject: false,
      all: true,
    });
    return exitCode === 0 ? all : `${all} (exit status ${exitCode})`;
  } finally {
    await rm(root, { recursive: true, force: true });
  }
}

describe.skipIf(missing)(`systemd${missing}`, () => {
  it.each([...units])('has nothing to say against %s', async (_name, content) => {
    expect(await verify(content)).toBe('');
  });

  it('would tell an unknown option', async () => {
    const content = units.get('systemd/floe-worker.service')?.replace('KillMode=', 'KilMode=') ?? '';
    expect(await verify(content)).toContain("Unknown key 'KilMode'");
  });
});

it('signals the worker alone, and leaves it its grace', () => {
  const unit = readDeployFile('systemd/floe-worker.service');
  expect(unit).toMatch(/^KillMode=mixed$/m);
  const graceMs = Number(/^FLOE_GRACE_MS=(\d+)$/m.exec(readDeployFile('systemd/worker.env'))?.[1]);
  expect(graceMs).toBeLessThan(Number(/^TimeoutStopSec=(\d+)$/m.exec(unit)?.[1]) * 1000);
});

/** Options with which systemd puts the unit under a seccomp filter: systemd.exec(5). Nothing under one can be frozen. */
it('is under no seccomp filter', () => {
  const filters =
    /^(SystemCall\w+|NoNewPrivileges|Restrict(Namespaces|Realtime|SUIDSGID|AddressFamilies)|LockPersonality|MemoryDenyWriteExecute|Protect(Clock|Hostname|Kernel\w+)|PrivateDevices)=/m;
  expect(readDeployFile('systemd/floe-worker.service')).not.toMatch(filters);
});
