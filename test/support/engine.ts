/** A container engine for tests: the one that runs on this machine, or else one of our own (`scripts/setup/with-engine`). */
import { spawn } from 'node:child_process';
import { Socket } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';

const WITH_ENGINE = join(import.meta.dirname, '../../scripts/setup/with-engine');

/** The variables by which `docker` and `podman` find their engine, their plugins and their configuration. */
const VARIABLES = ['DOCKER_HOST', 'DOCKER_CONFIG', 'CONTAINERS_CONF', 'CONTAINERS_STORAGE_CONF', 'PATH'];

/** Prints the environment after whatever was said before, and then holds the engine until its standard input ends. */
const HOLD = 'printf "\\0"; env -0; exec cat > /dev/null 2>&1';

export interface TestEngine {
  /** The command. */
  readonly cli: 'docker' | 'podman';
  /** What `cli` needs in its environment, in addition to this process's own. */
  readonly env: Readonly<Record<string, string>>;
}

let held: Promise<Record<string, string>> | undefined;

/**
 * An engine that answers, and stays until this process ends. Its variables are put in `process.env` too, so that code
 * under test finds the engine as it would in production.
 *
 * @throws Error when there is none and none can be started; the message says what to do
 */
export async function requireEngine(cli: TestEngine['cli'] = 'docker'): Promise<TestEngine> {
  held ??= holdEngine();
  const env = await held;
  if (cli === 'podman' && !env.CONTAINERS_CONF) {
    throw new Error('Podman is missing, or this is not root. Run scripts/setup/main test.');
  }
  Object.assign(process.env, env);
  return { cli, env };
}

async function holdEngine(): Promise<Record<string, string>> {
  const holder = spawn(WITH_ENGINE, ['sh', '-c', HOLD], { stdio: ['pipe', 'pipe', 'pipe'] });
  const [output, complaint] = await Promise.all([text(holder.stdout), text(holder.stderr)]);
  const entries = output.split('\0').map((entry) => entry.split(/=(.*)/s));
  const env = Object.fromEntries(entries.filter(([name]) => name !== undefined && VARIABLES.includes(name)));
  if (!env.DOCKER_HOST) throw new Error(`There is no container engine: ${output}${complaint}`);
  // The holder's standard input ends with this process, however that ends, and must not keep it from ending.
  holder.unref();
  if (holder.stdin instanceof Socket) holder.stdin.unref();
  return env;
}
