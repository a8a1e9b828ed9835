/**
 * What somebody without Floe would have around CRIU: a container of bubblewrap's with namespaces like those of the `process`
 * runtime, the filler in it, and the same CRIU of the toolbox, started there by hand. CRIU has looked at the kernel before, as it
 * has on any machine after its first dump.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { execa } from 'execa';
import { processTree } from '../freezer/agent/processes.ts';
import { wholeMachine } from '../freezer/process/hostFiles.ts';
import { CRIU_KERNEL_FOLDER, TOOLBOX_IN_CONTAINER, toolbox, toolCommand } from '../freezer/toolbox.ts';

/** Above the container's own, so that the program finds its number free when it is restored. */
const PROGRAM_PID = 1000;
const OPTIONS = [
  '--no-default-config',
  '--libdir',
  join(TOOLBOX_IN_CONTAINER, 'plugins'),
  '--manage-cgroups=ignore',
  '-v2',
];

export interface BareFolders {
  readonly toolboxDirectory: string;
  readonly workspace: string;
  /** Folders that are in the container under the same paths: for CRIU's images. */
  readonly shared: readonly string[];
}

export class BareContainer implements AsyncDisposable {
  readonly #sandbox: ChildProcess;
  readonly #gone: Promise<unknown>;
  readonly #pid: number;
  readonly #ended = new AbortController();
  #launcherPid = 0;

  private constructor(sandbox: ChildProcess, pid: number) {
    this.#sandbox = sandbox;
    this.#pid = pid;
    this.#gone = once(sandbox, 'exit');
  }

  /** Throws `Error` when there can be none. */
  static async open(folders: BareFolders): Promise<BareContainer> {
    const args = [
      ...['--unshare-pid', '--unshare-ipc', '--unshare-uts', '--die-with-parent', '--cap-add', 'ALL'],
      ...(await wholeMachine()),
      ...['--proc', '/proc', '--dev', '/dev', '--tmpfs', '/tmp', '--tmpfs', CRIU_KERNEL_FOLDER],
      ...['--ro-bind', folders.toolboxDirectory, TOOLBOX_IN_CONTAINER, '--bind', folders.workspace, '/workspace'],
      ...folders.shared.flatMap((folder) => ['--bind', folder, folder]),
      ...['--info-fd', '3', '--', 'sleep', 'infinity'],
    ];
    const sandbox = spawn('bwrap', args, { stdio: ['ignore', 'ignore', 'inherit', 'pipe'] });
    const info = await text(sandbox.stdio[3] as Readable);
    const pid = /"child-pid":\s*(\d+)/.exec(info)?.[1];
    if (pid === undefined) throw new Error('bubblewrap made no container; its own words are above');
    const container = new BareContainer(sandbox, Number(pid));
    // What it says of this kernel does not count, see freezer/agent/criu.ts.
    await container.#run([...toolCommand('criu'), 'check'], false);
    return container;
  }

  /** Aborts when the program that was started has ended. */
  get ended(): AbortSignal {
    return this.#ended.signal;
  }

  async start(command: readonly string[]): Promise<void> {
    await this.#run([toolbox.lastPid, String(PROGRAM_PID - 1)]);
    const program = spawn('nsenter', this.#inside(command), { stdio: 'ignore', detached: true });
    await once(program, 'spawn');
    this.#launcherPid = program.pid ?? 0;
    program.once('exit', () => this.#ended.abort(new Error('the program has ended')));
  }

  /** The started program as this machine numbers it. */
  async programPid(): Promise<number> {
    const [, pid = 0] = await processTree(this.#launcherPid);
    return pid;
  }

  /** Writes the program's memory into a folder that is made for it; the program runs on. */
  async dump(directory: string): Promise<void> {
    await mkdir(directory);
    await this.#criu('dump', directory, ['--tree', String(PROGRAM_PID), '--leave-running']);
  }

  async restore(directory: string): Promise<void> {
    await this.#criu('restore', directory, ['--restore-detached']);
  }

  async #criu(action: 'dump' | 'restore', directory: string, more: readonly string[]): Promise<void> {
    const log = `${action}.log`;
    const args = [...toolCommand('criu'), action, ...OPTIONS, '--images-dir', directory, '--log-file', log, ...more];
    await this.#run(args).catch(async (cause: unknown) => {
      const lines = (await readFile(join(directory, log), 'utf8').catch(() => '')).split('\n').slice(-10);
      throw new Error(`criu ${action} failed:\n${lines.join('\n')}`, { cause });
    });
  }

  async #run(command: readonly string[], reject = true): Promise<void> {
    await execa('nsenter', this.#inside(command), { stdin: 'ignore', reject });
  }

  #inside(command: readonly string[]): string[] {
    return ['--target', String(this.#pid), '--pid', '--mount', '--ipc', '--uts', '--', ...command];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#sandbox.kill('SIGKILL');
    await this.#gone;
  }
}
