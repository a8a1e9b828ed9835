/** The command line that makes a job's container. Its main process is the agent; what the job is, the agent is told. */
import { join } from 'node:path';
import { AGENT_ENVIRONMENT } from '../agent/protocol.ts';
import { DEFAULT_PROCESSES } from '../processLimit.ts';
import type { RunFolder } from '../run/folder.ts';
import type { Program } from '../runtime.ts';
import { toolbox, toolCommand } from '../toolbox.ts';
import type { Bundle } from './bundle.ts';
import type { EngineName } from './engine.ts';
import type { Image } from './image.ts';
import { allMounts, FREEZER_IN_CONTAINER, type Mount, mountOptions, newEntrance } from './mounts.ts';

/**
 * What the agent and CRIU need; the job has none of it. Each was left out once, and this is what failed:
 * - SYS_ADMIN: to choose the process ids of a restored job; CRIU's namespaces and seccomp filters
 * - SYS_PTRACE: to look into a job that is not dumpable (PR_SET_DUMPABLE in prctl(2)), or another user's
 * - NET_ADMIN: the routes that keep the job from the clouds' metadata endpoints; sizes of sockets' buffers
 * - SYS_TIME: to set the monotonic clock that a restored job goes on with
 * - SYS_CHROOT: CRIU gives a restored process its root folder
 * - SETPCAP: to empty the job's bounding set
 * - SETUID, SETGID: to become the job's user; SETGID for root, too, whose groups are dropped
 * - CHOWN, FOWNER, FSETID, SETFCAP: to bring back owners, modes, the setuid and setgid bits and file capabilities
 * - DAC_OVERRIDE: Floe's own folders, which are closed to root without it
 * - DAC_READ_SEARCH: to give a name back to an open file that lost the one it was opened by
 * - KILL: to signal another user's job
 */
export const CAPABILITIES = [
  ...['SYS_ADMIN', 'SYS_PTRACE', 'NET_ADMIN', 'SYS_TIME', 'SYS_CHROOT', 'SETPCAP', 'SETUID', 'SETGID'],
  ...['CHOWN', 'DAC_OVERRIDE', 'DAC_READ_SEARCH', 'FOWNER', 'FSETID', 'SETFCAP', 'KILL'],
];

/** CRIU reads and sets the limits of another user's processes. */
export const CAPABILITY_FOR_USERS = 'SYS_RESOURCE';

/**
 * What the container may have beyond the job's own limit of memory, for the agent and CRIU, which are in it. Measured: the
 * agent takes 84 MB at rest, 214 MB while it saves a layer of 100,000 changed files; CRIU 4 MiB at most.
 */
export const ALLOWANCE_BYTES = 256 * 2 ** 20;

/** What it may have beyond the job's own number of processes: the agent has 12 threads, and a restore starts some programs. */
const ALLOWANCE_PROCESSES = 64;

export interface ContainerPlan {
  readonly name: string;
  /** Containers of one worker have it in common, so that the worker finds those that were left. */
  readonly labels: Readonly<Record<string, string>>;
  readonly hostname: string;
  readonly image: Image;
  readonly program: Program;
  readonly folder: RunFolder;
  readonly bundle: Bundle;
  /** Beside the bundle and the folders of Floe's own. */
  readonly mounts: readonly Mount[];
  readonly capabilities: readonly string[];
  /** Security modules of the machine that would keep CRIU from working, as the engine's options name them. */
  readonly securityOptions: readonly string[];
}

/** For `docker` or `podman`. `expected`: what the container's first program is to find mounted. */
export function runArguments(engine: EngineName, plan: ContainerPlan, expected: readonly string[]): string[] {
  const { image, bundle } = plan;
  const entrance = newEntrance();
  return [
    ...['run', '--detach', '--name', plan.name, '--hostname', plan.hostname],
    // Tools of the machine act upon the labels of containers, and an image hands its own on.
    ...image.labels.flatMap((name) => ['--label', `${name}=`]),
    ...Object.entries(plan.labels).flatMap(([key, value]) => ['--label', `${key}=${value}`]),
    ...['--user', '0:0', '--workdir', '/', '--restart', 'no', '--no-healthcheck', '--ipc', 'private'],
    ...['--cap-drop', 'ALL', ...plan.capabilities.flatMap((name) => ['--cap-add', name])],
    // The kernel tells a filtered tracer nothing of filters (PTRACE_SECCOMP_GET_FILTER in ptrace(2)), so CRIU has none; the
    // job has the supervisor's.
    ...['seccomp=unconfined', ...plan.securityOptions].flatMap((option) => ['--security-opt', option]),
    ...limits(engine, plan.program),
    ...logging(engine),
    ...(plan.program.network === 'none' ? ['--network', 'none'] : []),
    // What an image has in its environment also tells the engine's hooks, those for GPUs say, what to do.
    ...Object.keys(image.env).flatMap((name) => (name === '' ? [] : ['--env', `${name}=`])),
    ...mountOptions(allMounts(plan), entrance, bundle),
    ...['--entrypoint', entrance, image.pin],
    ...[
      '--entrance',
      entrance,
      ...Object.entries(ENVIRONMENT).flatMap(([name, value]) => ['--env', `${name}=${value}`]),
    ],
    ...expected,
    ...['--', toolbox.init, ...toolCommand('node'), join(FREEZER_IN_CONTAINER, bundle.agent)],
  ];
}

/** All that the agent's programs have. The image's environment is the job's alone. */
const ENVIRONMENT = {
  ...AGENT_ENVIRONMENT,
  // Else Node would look for its configuration in a folder that an image could have.
  OPENSSL_CONF: '/dev/null',
};

function limits(engine: EngineName, { resources }: Program): string[] {
  const { cpus, memoryBytes, gpus, processes = DEFAULT_PROCESSES } = resources ?? {};
  const memory = memoryBytes === undefined ? undefined : String(memoryBytes + ALLOWANCE_BYTES);
  return [
    ...['--pids-limit', String(processes + ALLOWANCE_PROCESSES)],
    ...(cpus === undefined ? [] : ['--cpus', String(cpus)]),
    // The same for both: no swap, which would let the job go beyond its limit unseen.
    ...(memory === undefined ? [] : ['--memory', memory, '--memory-swap', memory]),
    ...(gpus ? graphics(engine, gpus) : []),
  ];
}

/** Of what the agent prints, which is little. The engine keeps it on the machine's disk, and by default without a bound. */
function logging(engine: EngineName): string[] {
  if (engine === 'podman') return ['--log-driver', 'k8s-file', '--log-opt', 'max-size=1mb'];
  return ['--log-driver', 'json-file', '--log-opt', 'max-size=1m', '--log-opt', 'max-file=1'];
}

/** The first so many. Podman knows `--gpus` and does nothing; its own way are the names of the Container Device Interface. */
function graphics(engine: EngineName, count: number): string[] {
  if (engine === 'docker') return ['--gpus', String(count)];
  return Array.from({ length: count }, (_, number) => ['--device', `nvidia.com/gpu=${number}`]).flat();
}
