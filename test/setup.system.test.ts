/** Nobody between this machine and its packages, and no other user of it, has the set-up do his work. */
import { chmod, cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

const ROOT = fileURLToPath(new URL('..', import.meta.url));

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'floe-setup-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

async function program(path: string, ...lines: string[]): Promise<void> {
  await mkdir(dirname(join(folder, path)), { recursive: true });
  await writeFile(join(folder, path), ['#!/bin/sh', ...lines, ''].join('\n'));
  await chmod(join(folder, path), 0o755);
}

describe('the set-up on a machine with an old Node', () => {
  it('refuses a Node that is not the one of the lock, before it starts it', async () => {
    for (const path of ['scripts', 'images/fetch-node', 'package.json', 'package-lock.json', 'freezer/agent/native']) {
      await cp(join(ROOT, path), join(folder, 'floe', path), { recursive: true });
    }
    // What the registry hands out, and the hash that it says this has: npm itself is content.
    await program('package/bin/node', 'touch "$CANARY"');
    await program('package/bin/npm-cli.js', 'touch "$CANARY"');
    await program(
      'bin/npm',
      `[ "$1" = pack ] || exit 0`,
      `tar -czf forged.tgz -C ${folder} package`,
      'echo forged.tgz',
    );
    const versions = `case "$*" in *versions*) echo 18 ;; *) exec ${process.execPath} "$@" ;; esac`;
    await program('bin/node', versions);
    const canary = join(folder, 'canary');
    const env = { PATH: `${folder}/bin:${process.env.PATH}`, FLOE_SETUP_DIR: join(folder, 'setup'), CANARY: canary };
    const { exitCode, all } = await execa(join(folder, 'floe/scripts/setup/main'), ['run'], {
      env,
      all: true,
      reject: false,
    });
    expect(all).toMatch(/node-linux-\w+ [\d.]+ has the hash sha512-.*, not sha512-/);
    expect(exitCode).toBe(1);
    await expect(readFile(canary)).rejects.toThrow('ENOENT');
  });
});

describe('what the set-up takes from Debian', () => {
  it.each([
    ['trixie', false],
    ['forky', true],
  ])('of %s may be old: %s', async (suite, mayBeOld) => {
    await program('bin/apt-get', `echo "$@" > ${folder}/arguments`, 'exit 1');
    const env = { PATH: `${folder}/bin:${process.env.PATH}`, FLOE_DEBIAN_MIRROR: 'http://mirror.invalid/debian' };
    const script = join(ROOT, 'scripts/setup/debian-packages');
    const { exitCode } = await execa(script, [suite, join(folder, 'target'), 'criu'], { env, reject: false });
    expect(exitCode).toBe(1);
    const given = await readFile(join(folder, 'arguments'), 'utf8');
    expect(given.includes('Acquire::Check-Valid-Until=false')).toBe(mayBeOld);
  });
});

describe('making the base image', () => {
  it('follows no link that another user has put where its lock used to be', async () => {
    const victim = join(folder, 'victim');
    await writeFile(victim, 'of root');
    await symlink(victim, join(folder, 'floe-base-image.lock'));
    await program('bin/docker', '[ "$1" = pull ]');
    const env = { PATH: `${folder}/bin:${process.env.PATH}`, TMPDIR: folder };
    await execa(join(ROOT, 'scripts/setup/base-image'), { env });
    expect(await readFile(victim, 'utf8')).toBe('of root');
  });
});
