/** The machine that is measured: what it is, and whether it has what the measurements take. */
import { readFile, statfs } from 'node:fs/promises';
import { cpus, release, tmpdir, totalmem } from 'node:os';
import { execa } from 'execa';
import type { Machine } from './results.ts';

const GIB = 2 ** 30;
/** Beside what grows with the program: the S3 server, the engine, tools. */
const SPARE_BYTES = 3 * GIB;
/** What the S3 server may have on the disk from before. */
const SERVER_BYTES = 5 * GIB;

export async function describeMachine(criuVersion: string): Promise<Machine> {
  return {
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: cpus().length,
    memoryBytes: totalmem(),
    kernel: release(),
    versions: {
      CRIU: criuVersion,
      Node: process.version,
      'AWS CLI': await versionOf('aws'),
      zstd: await versionOf('zstd'),
      tar: await versionOf('tar'),
      bubblewrap: await versionOf('bwrap'),
      'S3 server': 'Ceph RGW on this machine, one disk in a file',
    },
  };
}

/** Throws `Error` that says which programs are missing and how they are had. */
export async function requirePrograms(needsAws: boolean): Promise<void> {
  const programs = ['bwrap', 'nsenter', 'zstd', 'tar', 'cc', ...(needsAws ? ['aws'] : [])];
  const missing: string[] = [];
  for (const program of programs) {
    if ((await versionOf(program)) === 'missing') missing.push(program);
  }
  if (missing.length === 0) return;
  const aws = missing.includes('aws') ? ' The AWS CLI (aws) is what the simple ways to S3 are made of.' : '';
  throw new Error(
    `These programs are missing: ${missing.join(', ')}.${aws} Install the packages that have them (bubblewrap, util-linux, ` +
      'zstd, tar, gcc, awscli), or leave S3 out with --stores file.',
  );
}

/**
 * Throws `Error` where a program of this size cannot be measured: it and its dump are in memory at a time, and on the disk at most a
 * dump and what two ways have stored of it.
 */
export async function requireRoom(sizeBytes: number): Promise<void> {
  requireBytes('memory', await memoryBytes('MemAvailable'), 2 * sizeBytes + SPARE_BYTES, sizeBytes);
  requireBytes('/dev/shm', await freeBytes('/dev/shm'), 1.1 * sizeBytes, sizeBytes);
  requireBytes(tmpdir(), await freeBytes(tmpdir()), 4 * sizeBytes + SERVER_BYTES + SPARE_BYTES, sizeBytes);
}

/** By the kernel's account (proc_meminfo(5)); 0 where it does not say. */
export async function memoryBytes(field: 'MemAvailable' | 'MemFree'): Promise<number> {
  const line = new RegExp(`^${field}:\\s*(\\d+) kB$`, 'm').exec(await readFile('/proc/meminfo', 'utf8'));
  return Number(line?.[1] ?? 0) * 1024;
}

function requireBytes(what: string, has: number, needs: number, sizeBytes: number): void {
  if (has >= needs) return;
  const gib = (bytes: number) => `${(bytes / GIB).toFixed(1)} GiB`;
  throw new Error(
    `${what} has ${gib(has)} free; a program of ${gib(sizeBytes)} takes ${gib(needs)}. Choose smaller --sizes.`,
  );
}

async function freeBytes(path: string): Promise<number> {
  const { bavail, bsize } = await statfs(path);
  return bavail * bsize;
}

async function versionOf(program: string): Promise<string> {
  const { failed, stdout } = await execa(program, ['--version'], { reject: false });
  return failed ? 'missing' : (/\d+\.[\d.]*\d/.exec(stdout)?.[0] ?? 'unknown');
}
