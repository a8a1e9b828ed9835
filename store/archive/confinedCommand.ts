/** How to start a Node program that can reach nothing but what it is given. */
import { accessSync, constants, readFileSync } from 'node:fs';
import { join } from 'node:path';

export interface Confinement {
  /** Where `bin/confine` is; null for none: the program then starts as it is. */
  readonly toolboxDirectory: string | null;
  /** Files and folders that the program may read and execute: its code, addons. */
  readonly execute: readonly string[];
  /** Files and folders that it may read. */
  readonly read?: readonly string[];
  /** Folders in which it may do everything but make pipes, sockets and devices. */
  readonly write?: readonly string[];
  /** What root keeps of its capabilities. */
  readonly capabilities: readonly ('dac_override' | 'dac_read_search' | 'fowner')[];
  /** How many files it may have open. */
  readonly files: number;
  readonly memoryBytes: number;
}

/**
 * The command line that starts this very Node with `args`, confined (native/confine.c says what holds for it). Without a toolbox, or with
 * one that has no `confine`, it is Node alone: the program must be safe without, and this is the second line.
 */
export function confinedCommand(args: readonly string[], confinement: Confinement): [string, ...string[]] {
  const node: [string, ...string[]] = [process.execPath, ...args];
  const confine = confinement.toolboxDirectory === null ? null : join(confinement.toolboxDirectory, 'bin/confine');
  if (confine === null || !isAllowed(confine, constants.X_OK)) return node;
  const paths = (option: string, values: readonly string[] = []) => values.flatMap((path) => [option, path]);
  return [
    confine,
    ...paths('--execute', [...filesOfNode(), ...confinement.execute]),
    ...paths('--read', [...READ_BY_NODE, ...(confinement.read ?? [])]),
    ...paths('--write', confinement.write),
    ...confinement.capabilities.flatMap((name) => ['--capability', name]),
    ...['--files', String(confinement.files), '--memory', String(confinement.memoryBytes), '--'],
    ...node,
  ];
}

/**
 * The environment for such a program: none of the caller's, so no credentials. OpenSSL ends a process that may not read its configuration;
 * one that is not there is passed over.
 */
export const CONFINED_ENVIRONMENT: NodeJS.ProcessEnv = { OPENSSL_CONF: '/floe/none', NODE_OPTIONS: '' };

/** The addon that knows where sparse files have data (native/dataRanges.c); null where there is none. */
export function dataRangesAddon(toolboxDirectory: string | undefined): string | null {
  const addon = toolboxDirectory === undefined ? null : join(toolboxDirectory, 'lib/data-ranges.node');
  return addon !== null && isAllowed(addon, constants.R_OK) ? addon : null;
}

/** Where the loader looks up libraries that are not in the usual folders. */
const READ_BY_NODE = ['/etc/ld.so.cache'];

let ofNode: readonly string[] | null = null;

/** Node, its loader and libraries: what this process, which runs the same Node, executes. */
function filesOfNode(): readonly string[] {
  ofNode ??= [...new Set([process.execPath, ...mappedPrograms(readFileSync('/proc/self/maps', 'utf8'))])];
  return ofNode;
}

/** The files that are mapped for execution (proc_pid_maps(5)). */
function mappedPrograms(maps: string): string[] {
  return maps.split('\n').flatMap((line) => /^\S+ ..x. \S+ \S+ \S+ +(\/.*)$/.exec(line)?.[1] ?? []);
}

function isAllowed(path: string, access: number): boolean {
  try {
    accessSync(path, access);
    return true;
  } catch {
    return false;
  }
}
