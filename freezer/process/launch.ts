/** A run's container: it is started, its agent connected, and all that works for the job is under the job's limits. */
import { constants } from 'node:os';
import { processTree } from '../agent/processes.ts';
import { readCpuFeatures } from '../cpu.ts';
import { readCriuVersion } from '../criu/version.ts';
import { FreezerError } from '../errors.ts';
import { awaitAgent } from '../run/agentLink.ts';
import type { Container } from '../run/containerRun.ts';
import type { RunFolder } from '../run/folder.ts';
import { orKill } from '../run/orKill.ts';
import type { Program, ProgramEnd } from '../runtime.ts';
import type { RunGroup } from './limits.ts';
import type { MachineAccess } from './machineAccess.ts';
import { forbiddenAddresses, requireWayOut } from './network.ts';
import { describeSandbox } from './sandbox.ts';
import { type SandboxEnd, SandboxProcess } from './sandboxProcess.ts';
import type { Volume } from './volumes.ts';

export const NAME = 'process';
const KILL_AFTER_MS = 2000;
/** The container's exit status when its agent was killed by SIGKILL, as a shell would say it. */
const AGENT_KILLED = 128 + 9;

/** What a job gets: nothing beyond itself, a network of its own with a way out, or the machine's. */
export type JobNetwork = 'none' | MachineAccess['network'];

export interface LaunchPlace {
  readonly stateDirectory: string;
  readonly toolboxDirectory: string;
  readonly access: MachineAccess;
}

export interface Launch {
  readonly folder: RunFolder;
  readonly volumes: readonly Volume[];
  readonly group: RunGroup | null;
  readonly network: JobNetwork;
}

/** Rejects with `FreezerError` `notHere` where the job wants a network, and this machine has none to give. */
export async function networkFor({ network }: Program, access: MachineAccess): Promise<JobNetwork> {
  if (network === 'none') return 'none';
  if (access.network === 'isolated') await requireWayOut();
  return access.network;
}

export async function launch(
  { stateDirectory, toolboxDirectory, access }: LaunchPlace,
  { folder, volumes, group, network }: Launch,
): Promise<{ container: Container; programEnd: Promise<ProgramEnd> }> {
  const [criuVersion, cpuFeatures, description] = await Promise.all([
    readCriuVersion(toolboxDirectory),
    readCpuFeatures(),
    describeSandbox({ folder, volumes, toolboxDirectory, stateDirectory, access, ownNetwork: network !== 'host' }),
  ]);
  const facts = { runtime: NAME, image: null, criuVersion, cpuFeatures };
  const end = Promise.withResolvers<ProgramEnd>();
  const { promise: gone, resolve: resolveGone } = Promise.withResolvers<string>();
  const ended = (programEnd: ProgramEnd) => end.resolve(withReason(withHint(programEnd, access), group));
  const sandbox = new SandboxProcess();
  const agent = await awaitAgent(folder.control, { ended }, () => {
    const words = sandbox.start(description).then(async (result) => {
      const text = lastWords(result);
      if (result.exitCode === AGENT_KILLED || result.signal) {
        ended({ kind: 'lost', reason: result.reason ?? `The container ended. ${text}` });
        // Before `gone`, which ends the run without that reason.
        await end.promise;
      }
      await group?.remove();
      return text;
    });
    void words.then(resolveGone);
    return { failed: words.then((text) => Promise.reject(cannotLaunch(text))) };
  });
  const kill = () => {
    // Ended from inside, the container is known to be empty once it is gone; an agent that does not answer is killed from outside.
    agent.notify('exit', {});
    const timer = setTimeout(() => sandbox.kill(), KILL_AFTER_MS);
    void gone.then(() => clearTimeout(timer));
  };
  const memoryLimitBytes = group?.limits.memoryBytes;
  const container = { facts, folder, toolboxDirectory, agent, gone, kill, memoryLimitBytes };
  await orKill(container, undefined, async () => {
    const pids = await inContainer(sandbox);
    await group?.hold(pids);
    if (network !== 'isolated') return;
    const { pid } = await sandbox.openWayOut(pids[0] ?? 0);
    await group?.hold([pid]);
    await agent.request('isolateNetwork', { addresses: await forbiddenAddresses() });
  });
  return { container, programEnd: end.promise };
}

/** All but bubblewrap, whose end tells that the container is gone: the kernel must not choose it when memory runs out. */
async function inContainer({ pid }: SandboxProcess): Promise<number[]> {
  return (await processTree(pid)).slice(1);
}

/** Empty where it ended as it should. */
function lastWords({ stderr, exitCode, signal, originalMessage }: SandboxEnd): string {
  const words = stderr.trim().slice(-2000);
  if (words !== '' || exitCode === 0) return words;
  if (exitCode === AGENT_KILLED) return 'The agent in it was killed';
  if (signal) return `bwrap was killed by ${signal}`;
  return exitCode === undefined ? (originalMessage ?? '') : `bwrap ended with exit code ${exitCode}`;
}

/**
 * Why the program did not end well, where it came to a limit. One that the kernel killed for its own use of memory has failed by
 * itself, even where its agent died with it.
 */
async function withReason(end: ProgramEnd, group: RunGroup | null): Promise<ProgramEnd> {
  if (end.kind === 'exited' && end.code === 0) return end;
  const tooMuchMemory = await group?.memoryExceeded();
  if (tooMuchMemory && end.kind === 'lost') {
    return { kind: 'killed', signal: constants.signals.SIGKILL, reason: tooMuchMemory };
  }
  const reason = tooMuchMemory ?? (await group?.processesExceeded());
  return reason && end.kind !== 'lost' ? { ...end, reason } : end;
}

/** A program of the machine's may be where its user sees it, and its job does not. */
function withHint(end: ProgramEnd, { readablePaths }: MachineAccess): ProgramEnd {
  if (end.kind !== 'exited' || readablePaths === 'all' || !end.cannotStart?.endsWith('No such file or directory'))
    return end;
  const seen = ['/usr', '/opt', '/workspace', ...readablePaths].join(', ');
  const hint = `a job without an image sees programs in ${seen}, and where else its worker's FLOE_READABLE_PATHS says`;
  return { ...end, cannotStart: `${end.cannotStart} (${hint})` };
}

function cannotLaunch(words: string): FreezerError {
  return new FreezerError(
    'cannotRun',
    `The job's container could not be started: ${words || 'no reason was given'}.`,
    'Run `floe worker` as root with bubblewrap installed.',
  );
}
