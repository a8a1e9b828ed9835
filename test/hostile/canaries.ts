/** Everything that is planted on the machine for hostile jobs to go after. At the end all of it must be unread and unchanged. */
import { randomBytes } from 'node:crypto';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { CanaryFiles } from './canaryFiles.ts';
import { CanaryProcess } from './canaryProcess.ts';
import { CanarySockets } from './canarySockets.ts';
import type { Tokens } from './tokens.ts';

/** Settings of the kernel that belong to the machine and not to any container. */
const SETTINGS = ['core_pattern', 'hostname', 'modprobe', 'panic', 'pid_max'].map((name) => `/proc/sys/kernel/${name}`);

export class Canaries implements AsyncDisposable {
  readonly files: CanaryFiles;
  readonly sockets: CanarySockets;
  readonly process: CanaryProcess;
  /** A file system that is mounted here, with a secret file in it. */
  readonly mount: string;
  readonly #settings: string;
  readonly #mounts: string;
  readonly #stack: AsyncDisposableStack;

  private constructor(parts: Pick<Canaries, 'files' | 'sockets' | 'process' | 'mount'>, more: MoreParts) {
    ({ files: this.files, sockets: this.sockets, process: this.process, mount: this.mount } = parts);
    ({ settings: this.#settings, mounts: this.#mounts, stack: this.#stack } = more);
  }

  /** `folders`: Floe's own, which hold what is no job's business. */
  static async plant(tokens: Tokens, folders: readonly string[]): Promise<Canaries> {
    await using stack = new AsyncDisposableStack();
    const id = randomBytes(4).toString('hex');
    const mount = await mountCanary(id, stack);
    const files = stack.use(await CanaryFiles.plant(tokens, [...folders, mount]));
    const sockets = stack.use(await CanarySockets.open(id, tokens));
    const process = stack.use(await CanaryProcess.start(tokens));
    const more = { settings: await readSettings(), mounts: await mountsAt(mount), stack: stack.move() };
    return new Canaries({ files, sockets, process, mount }, more);
  }

  /** What was reached or changed, in words. */
  async breaches(): Promise<string[]> {
    const [settings, mounts] = [await readSettings(), await mountsAt(this.mount)];
    return [
      ...(await this.files.changes()),
      ...(await this.process.changes()),
      ...this.sockets.connections,
      ...(settings === this.#settings ? [] : [`the kernel's settings were ${this.#settings}, and are ${settings}`]),
      ...(mounts === this.#mounts ? [] : [`the mounts at ${this.mount} were ${this.#mounts}, and are ${mounts}`]),
    ];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }
}

interface MoreParts {
  readonly settings: string;
  readonly mounts: string;
  readonly stack: AsyncDisposableStack;
}

async function mountCanary(id: string, stack: AsyncDisposableStack): Promise<string> {
  const mount = `/mnt/floe-hostile-${id}`;
  await mkdir(mount);
  stack.defer(() => rm(mount, { recursive: true, force: true }));
  await execa('mount', ['-t', 'tmpfs', '-o', 'size=1m,mode=0700', 'floe-hostile', mount]);
  stack.defer(async () => {
    await execa('umount', ['--lazy', mount]);
  });
  await writeFile(join(mount, 'mounted'), '');
  return mount;
}

async function mountsAt(path: string): Promise<string> {
  const mounts = (await readFile('/proc/self/mounts', 'utf8')).split('\n');
  return mounts.filter((line) => line.includes(path)).join('\n');
}

async function readSettings(): Promise<string> {
  const values = await Promise.all(SETTINGS.map((path) => readFile(path, 'utf8').catch(() => 'absent')));
  return JSON.stringify(values.map((value) => value.trim()));
}
