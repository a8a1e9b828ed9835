/** The two jobs of the demo, and what an undisturbed run of each makes. */
import { createHash, type Hash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { copyFile, mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { execa } from 'execa';
import type { Floe, JobSpecInput } from '../../producers/index.ts';
import { program } from '../../test/support/programs.ts';

const MIB = 2 ** 20;
/** Where an ordinary system has files of its own that are there on every machine. */
const SOURCES = ['/usr/lib', '/usr/share'];
const XZ_OPTIONS = ['-9', '--threads=1', '--keep'];

export interface Work {
  readonly name: string;
  readonly title: string;
  readonly spec: JobSpecInput;
  readonly workspace: string;
  /** sha256 of what an undisturbed run makes. */
  undisturbed(signal: AbortSignal): Promise<string>;
  /** sha256 of what the finished job made. */
  made(floe: Floe, id: string): Promise<string>;
}

/** `xz -9`, a program that knows nothing of Floe, over a tar of about `sizeMib` MiB of the system's own files. */
export async function compression(directory: string, sizeMib: number): Promise<Work> {
  const workspace = join(directory, 'xz-input');
  await mkdir(workspace);
  await makeTar(join(workspace, 'system.tar'), sizeMib * MIB);
  return {
    name: 'xz',
    title: `xz -9 over ${sizeMib} MiB of this system's own files`,
    spec: { name: 'xz', command: ['xz', ...XZ_OPTIONS, 'system.tar'], outputs: ['system.tar.xz'] },
    workspace,
    undisturbed: async (cancelSignal) => {
      const options = { cwd: workspace, cancelSignal, buffer: false, stderr: 'inherit' } as const;
      const xz = execa('xz', [...XZ_OPTIONS, '--stdout', 'system.tar'], options);
      const [digest] = await Promise.all([digestOf(xz.stdout), xz]);
      return digest;
    },
    made: async (floe, id) => {
      const outputs = await mkdtemp(join(directory, 'outputs-'));
      await floe.fetchOutputs(id, outputs);
      return digestOf(createReadStream(join(outputs, 'system.tar.xz')));
    },
  };
}

/** The self-verifying memory job: four processes that notice every wrong byte; what counts is all that it printed. */
export async function memory(directory: string, sizeMib: number, steps: number): Promise<Work> {
  const workspace = join(directory, 'memory-input');
  await mkdir(workspace);
  await copyFile(await program('memory'), join(workspace, 'memory'));
  const command = ['./memory', String(sizeMib), String(steps), 'tree'];
  return {
    name: 'memory',
    title: `${sizeMib} MiB that four processes verify over and over`,
    spec: { name: 'memory', command: [...command, '--pace-ms', '50'], outputs: ['memory.record'] },
    workspace,
    undisturbed: async (cancelSignal) => {
      const cwd = await mkdtemp(join(directory, 'undisturbed-'));
      await copyFile(join(workspace, 'memory'), join(cwd, 'memory'));
      const [file = '', ...args] = command;
      const { stdout } = await execa(file, [...args, '--pace-ms', '0'], {
        cwd,
        cancelSignal,
        stripFinalNewline: false,
      });
      await rm(cwd, { recursive: true });
      return createHash('sha256').update(stdout).digest('hex');
    },
    made: async (floe, id) => {
      const hash = createHash('sha256');
      for await (const entry of floe.logs(id)) addText(hash, entry);
      return hash.digest('hex');
    },
  };
}

function addText(hash: Hash, entry: { kind: string; stream: string; bytes?: Buffer }): void {
  if (entry.kind === 'text' && entry.stream === 'stdout' && entry.bytes) hash.update(entry.bytes);
}

async function digestOf(stream: Readable): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(stream, hash);
  return hash.digest('hex');
}

/** Files in the order of their names, as many as make up the size. */
async function makeTar(path: string, sizeBytes: number): Promise<void> {
  const { stdout } = await execa('find', [...SOURCES, '-type', 'f', '-readable', '-printf', '%s %p\n'], {
    reject: false,
  });
  const files = stdout.split('\n').flatMap((line) => {
    const space = line.indexOf(' ');
    return space > 0 ? [{ size: Number(line.slice(0, space)), name: line.slice(space + 1) }] : [];
  });
  files.sort((a, b) => (a.name < b.name ? -1 : 1));
  let roomBytes = sizeBytes;
  const chosen = files.filter(({ size }) => {
    // No single file makes up the tar.
    const fits = size <= Math.min(roomBytes, sizeBytes / 4);
    if (fits) roomBytes -= size;
    return fits;
  });
  const input = chosen.map(({ name }) => name).join('\0');
  await execa('tar', ['--create', '--file', path, '--null', '--files-from=-', '--absolute-names'], { input });
}

/** For messages: the first digits of a digest. */
export function short(digest: string): string {
  return digest.slice(0, 16);
}

export async function lastLines(path: string, count: number): Promise<string> {
  const text = await readFile(path, 'utf8').catch((error: Error) => error.message);
  return text.trim().split('\n').slice(-count).join('\n');
}
