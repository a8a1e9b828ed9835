/** `floe`, as a user has it, in a process of its own: what it meets must not end this one. */
import { join } from 'node:path';
import { execa } from 'execa';
import { require } from './breach.ts';
import type { Stage } from './stage.ts';

const FLOE = join(import.meta.dirname, '../../bin/floe.ts');
const WITHIN_MS = 60_000;
/** Of Floe's own defects, see producers/cli/exitCodes.ts; Node ends with 1 and its stack where nobody caught an error. */
const DEFECT = 120;

/** Resolves to what it says on both streams. Throws `Breach` when it hangs or has a defect. */
export async function floe(stage: Stage, ...words: readonly string[]): Promise<string> {
  const result = await execa(process.execPath, [FLOE, ...words], {
    env: environment(stage),
    stdin: 'ignore',
    reject: false,
    timeout: WITHIN_MS,
    killSignal: 'SIGKILL',
  });
  const said = `${result.stdout}\n${result.stderr}`;
  const command = `\`floe ${words[0]}\``;
  require(!result.timedOut, `${command} hangs`);
  const isDefect = result.exitCode === DEFECT || said.includes('\nNode.js v');
  require(!isDefect, `${command} ends with a defect: ${said.slice(0, 300)}`);
  return said;
}

/** What the same shows on a terminal. */
export async function floeOnTerminal(stage: Stage, ...words: readonly string[]): Promise<string> {
  const command = [process.execPath, FLOE, ...words].map((word) => `'${word}'`).join(' ');
  const { stdout } = await execa('script', ['--quiet', '--return', '--command', command, '/dev/null'], {
    env: { ...environment(stage), TERM: 'xterm' },
    stdin: 'ignore',
    reject: false,
    timeout: WITHIN_MS,
  });
  return stdout;
}

function environment({ parts: { redisUrl, storeUrl, directory } }: Stage): Record<string, string> {
  return { FLOE_REDIS_URL: redisUrl, FLOE_STORE: storeUrl, FLOE_STATE_DIR: directory };
}
