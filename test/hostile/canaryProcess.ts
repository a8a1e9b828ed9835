/** A process of root's with secrets in its environment and its memory, which no job may read, stop or end. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import type { Tokens } from './tokens.ts';

/** Its secret comes by standard input, so that no argument shows it. */
const PROGRAM = '$secret = <STDIN>; print "ready\\n"; sleep 3600 while 1';

export class CanaryProcess implements AsyncDisposable {
  readonly pid: number;
  readonly #child: ChildProcess;
  readonly #startedAt: string;

  private constructor(child: ChildProcess, startedAt: string) {
    this.#child = child;
    this.pid = child.pid ?? 0;
    this.#startedAt = startedAt;
  }

  static async start(tokens: Tokens): Promise<CanaryProcess> {
    const command = ['--pdeathsig', 'KILL', 'perl', '-e', `$| = 1; ${PROGRAM}`];
    const env = { PATH: process.env.PATH, SECRET: tokens.make('the environment of a process') };
    const child = spawn('setpriv', command, { env, stdio: ['pipe', 'pipe', 'ignore'] });
    child.stdin.write(`${tokens.make('the memory of a process')}\n`);
    await once(child.stdout, 'data');
    return new CanaryProcess(child, (await readStat(child.pid ?? 0)).startedAt);
  }

  /** What has become of it, in words; empty when nothing has. */
  async changes(): Promise<string[]> {
    const now = await readStat(this.pid).catch(() => ({ state: 'gone', startedAt: '' }));
    const isAsBefore = now.startedAt === this.#startedAt && ['S', 'R', 'D'].includes(now.state);
    return isAsBefore ? [] : [`the process ${this.pid} is no longer what it was: its state is ${now.state}`];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await ended;
  }
}

/** proc_pid_stat(5): the state is the first field behind the name, the start time the twentieth. */
async function readStat(pid: number): Promise<{ state: string; startedAt: string }> {
  const text = await readFile(`/proc/${pid}/stat`, 'utf8');
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return { state: fields[0] ?? '', startedAt: fields[19] ?? '' };
}
