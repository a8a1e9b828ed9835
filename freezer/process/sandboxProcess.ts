/** A run's bubblewrap, and beside it what takes the run's network out. They end together. */
import { execa } from 'execa';
import { openWayOut, type WayOut } from './network.ts';
import type { Sandbox } from './sandbox.ts';

/** How bubblewrap ended, as execa says it. */
export interface SandboxEnd {
  readonly stderr: string;
  readonly exitCode?: number | undefined;
  readonly signal?: NodeJS.Signals | undefined;
  readonly originalMessage?: string | undefined;
  /** A sentence, where it was ended because something else did. */
  readonly reason?: string | undefined;
}

const STDERR_BYTES = 20_000;

export class SandboxProcess {
  readonly #killing = new AbortController();
  #pid = 0;
  #wayOut: WayOut | undefined;
  #reason: string | undefined;

  /** Of bubblewrap itself, whose end tells that the container is gone. */
  get pid(): number {
    return this.#pid;
  }

  /** Resolves when all of it is gone; never rejects. */
  async start({ options, command }: Sandbox): Promise<SandboxEnd> {
    // Detached: a Ctrl-C at the worker's terminal is the worker's to answer.
    const bwrap = execa('bwrap', ['--args', '3', '--', ...command], {
      reject: false,
      detached: true,
      cleanup: false,
      stdio: ['ignore', 'ignore', 'pipe', options],
      maxBuffer: { stderr: STDERR_BYTES },
      cancelSignal: this.#killing.signal,
      forceKillAfterDelay: false,
      killSignal: 'SIGKILL',
    });
    this.#pid = bwrap.pid ?? 0;
    const { stderr, exitCode, signal, originalMessage } = await bwrap;
    const reason = this.#reason;
    await this.#wayOut?.[Symbol.asyncDispose]();
    return { stderr, exitCode, signal, originalMessage, reason };
  }

  /**
   * Takes the network of a process in the container out. Not before its agent runs: bubblewrap sets up the loopback device, and fails
   * where somebody else changes devices meanwhile. Rejects as `openWayOut` does.
   */
  async openWayOut(pid: number): Promise<WayOut> {
    const wayOut = await openWayOut(pid);
    this.#wayOut = wayOut;
    // A job that waits for ever for what nobody brings is worth less than one that goes on elsewhere.
    void wayOut.ended.then((words) => {
      this.#reason = `The job's way out to the network ended. ${words}`.trim();
      this.kill();
    });
    return wayOut;
  }

  kill(): void {
    this.#killing.abort();
  }
}
