/**
 * Honest jobs beside the hostile ones. Each verifies its own memory and files all the time, and what it leaves must be
 * what an undisturbed run leaves, wherever it was moved meanwhile. One of them keeps a secret that is nobody else's business.
 */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isFinal, type JobSpecInput } from '../../producers/index.ts';
import { program } from '../support/programs.ts';
import { undisturbed } from '../support/undisturbed.ts';
import { messageOf, require } from './breach.ts';
import { PASSWORD } from './jobSecrets.ts';
import { BASE_IMAGE, type RuntimeName, type Stage } from './stage.ts';

const JOBS = [
  ['8', '300', 'plain', '--seed', '17'],
  ['8', '300', 'tree', '--seed', '18'],
];
/** It has them in its memory, and ends where a move takes the operator's from it. */
const KEEPS_SECRETS = `
  for ("secret", "/run/secrets/${PASSWORD}") { open F, $_ or die "$_: $!"; push @secrets, <F>; close F }
  while (-s "/run/secrets/${PASSWORD}") { sleep 1 }`;
const PACE_MS = '50';
/** Beyond that one is stuck. Hostile jobs may slow it down: they have the same processors. */
const WITHIN_MS = 300_000;

export interface HonestCount {
  readonly succeeded: number;
  /** Of them, those that had been on two workers or more. */
  readonly moved: number;
}

export class HonestWork {
  /** What was wrong, in words. */
  readonly failures: string[] = [];
  /** The job with a secret. */
  secretJob = '';
  #secretIn = '';
  readonly #stage: Stage;
  readonly #runtime: RuntimeName;
  readonly #over = new AbortController();
  #loops: Promise<void>[] = [];
  #succeeded = 0;
  #moved = 0;

  constructor(stage: Stage, runtime: RuntimeName) {
    this.#stage = stage;
    this.#runtime = runtime;
  }

  get count(): HonestCount {
    return { succeeded: this.#succeeded, moved: this.#moved };
  }

  /** From now on there are always some of them, until `finish`. */
  async start(): Promise<void> {
    await this.#startSecretJob();
    this.#loops = JOBS.map((words) => this.#again(words));
  }

  /** Resolves when the last of them have ended. */
  async finish(): Promise<void> {
    this.#over.abort();
    await Promise.all(this.#loops);
    await this.#endSecretJob();
  }

  async #again(words: readonly string[]): Promise<void> {
    const expected = await undisturbed(words);
    do {
      try {
        await this.#one(words, expected);
      } catch (error) {
        if (this.#stage.parts.signal.aborted) return;
        this.failures.push(`an honest job (${words.join(' ')}): ${messageOf(error)}`);
      }
    } while (!this.#over.signal.aborted);
  }

  async #one(words: readonly string[], expected: { stdout: string; record: string }): Promise<void> {
    const { floe, directory } = this.#stage.parts;
    const folder = join(directory, 'honest', crypto.randomUUID());
    const workspace = join(folder, 'workspace');
    await mkdir(workspace, { recursive: true });
    await writeFile(join(workspace, 'memory'), await readFile(await program('memory')), { mode: 0o755 });
    const command = ['./memory', ...words, '--pace-ms', PACE_MS];
    const id = await floe.submit(this.#spec({ command, name: 'honest', outputs: ['memory.record'] }), { workspace });
    const result = await floe.waitUntilFinished(id, { signal: this.#within() });
    require(result.outcome === 'succeeded', `${id} ${result.outcome}: ${JSON.stringify(result.reason ?? result.end)}`);
    await floe.fetchOutputs(id, join(folder, 'outputs'));
    const record = await readFile(join(folder, 'outputs', 'memory.record'), 'utf8');
    require(record === expected.record, `${id} left another file than an undisturbed run`);
    require((await this.#log(id)) === expected.stdout, `${id} wrote something else than an undisturbed run`);
    const { runs, crashes, failures } = await floe.get(id);
    require(crashes === 0 && failures === 0, `${id} had ${crashes} crashes and ${failures} failures`);
    this.#succeeded += 1;
    if (runs.length > 1) this.#moved += 1;
  }

  async #startSecretJob(): Promise<void> {
    const { floe, directory, tokens } = this.#stage.parts;
    const workspace = join(directory, 'honest', 'secret');
    await mkdir(workspace, { recursive: true });
    await writeFile(join(workspace, 'secret'), tokens.make("another job's file"), { mode: 0o600 });
    const env = { SECRET: tokens.make("another job's environment") };
    this.secretJob = await floe.submit(
      this.#spec({ command: ['perl', '-e', KEEPS_SECRETS], env, secrets: [PASSWORD], name: 'secret' }),
      { workspace },
    );
    this.#secretIn = workspace;
  }

  /** It runs until it is told to end: had it ended before, somebody else would have ended it. */
  async #endSecretJob(): Promise<void> {
    const { floe } = this.#stage.parts;
    const { state, crashes } = await floe.get(this.secretJob);
    if (isFinal(state) || crashes > 0) this.failures.push(`the job with a secret is ${state}, with ${crashes} crashes`);
    if (isFinal(state)) return;
    await floe.cancel(this.secretJob);
    await floe.waitUntilFinished(this.secretJob, { signal: this.#within() });
    const secret = await readFile(join(this.#secretIn, 'secret'));
    require(secret.length > 0, 'the folder that the secret came from is not what it was');
  }

  #within(): AbortSignal {
    return AbortSignal.any([this.#stage.parts.signal, AbortSignal.timeout(WITHIN_MS)]);
  }

  #spec(spec: JobSpecInput): JobSpecInput {
    const image = this.#runtime === 'docker' ? { image: BASE_IMAGE } : {};
    return { pool: this.#runtime, priority: 1000, ...image, ...spec };
  }

  async #log(id: string): Promise<string> {
    const pieces: Buffer[] = [];
    for await (const entry of this.#stage.parts.floe.logs(id)) {
      if (entry.kind === 'text' && entry.stream === 'stdout') pieces.push(entry.bytes);
    }
    return String(Buffer.concat(pieces));
  }
}
