/** The dashboard, as operators have it: a process of its own, and somebody who is logged in. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { Client } from '../../dashboard/testing/client.ts';
import { Breach, require } from './breach.ts';

const FLOE = join(import.meta.dirname, '../../bin/floe.ts');

export class DashboardProcess implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly #client: Client;

  private constructor(child: ChildProcess, url: string) {
    this.#child = child;
    this.#client = new Client(url);
  }

  /** Resolves when the operator is logged in. `env`: where Redis and the store are. Throws when it does not start. */
  static async start(env: Readonly<Record<string, string>>, password: string): Promise<DashboardProcess> {
    const command = ['--pdeathsig', 'KILL', process.execPath, FLOE, 'dashboard', '--port', '0'];
    const child = spawn('setpriv', command, {
      env: { ...process.env, ...env, FLOE_DASHBOARD_PASSWORD: password },
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    const dashboard = new DashboardProcess(child, await urlOf(child));
    const { status } = await dashboard.#client.login('admin', password);
    if (status !== 303) throw new Error(`the dashboard lets nobody in: it answers ${status}`);
    return dashboard;
  }

  /** The HTML of a page. Throws `Breach` when the dashboard is gone or has a defect. */
  async page(path: string): Promise<string> {
    const response = await this.#client.get(path).catch((error: unknown) => {
      throw new Breach(`the dashboard does not answer: ${error}`);
    });
    require(response.status < 500, `the dashboard answers ${response.status} to ${path}`);
    return response.text();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await ended;
  }
}

/** It says so when it listens. */
async function urlOf(child: ChildProcess): Promise<string> {
  if (!child.stdout) throw new Error('the dashboard has no output');
  for await (const line of createInterface(child.stdout)) {
    const url = /^Dashboard: (\S+)$/.exec(line)?.[1];
    if (url !== undefined) return url;
  }
  throw new Error('the dashboard does not start');
}
