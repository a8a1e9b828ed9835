/**
 * Starts CRIU, with all its capabilities, beside a job that may write anywhere in its container: so nothing that the job
 * could have put there may tell CRIU what to do or be run by it. No configuration file, no plugin, no program of the image's
 * is used; and what CRIU finds out about the kernel, for which it makes and mounts folders in /tmp, it finds out before there is a
 * job, once for a worker's containers of one kind, and keeps in a folder that the job cannot enter (scripts/setup/toolbox says how).
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { access, chmod, mkdir, readFile } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { FreezerError } from '../errors.ts';
import { CRIU_KERNEL_FOLDER, TOOLBOX_IN_CONTAINER, toolCommand } from '../toolbox.ts';
import { capabilities } from './capabilities.ts';
import { keepCommon, takeCommon } from './common.ts';
import { places } from './protocol.ts';

const TRUSTED_ONLY = ['--no-default-config', '--libdir', join(TOOLBOX_IN_CONTAINER, 'plugins')];
const KNOWLEDGE = join(CRIU_KERNEL_FOLDER, 'k.dat');
/** CRIU would ask a shell whether there is iptables; in this folder there is none. */
const ENVIRONMENT = { PATH: join(TOOLBOX_IN_CONTAINER, 'bin'), FLOE_CONTROL: places.control };

interface CriuExtras {
  /** Becomes its standard input. */
  readonly pages?: Socket | undefined;
  /** Libraries that are loaded first. */
  readonly preload?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

export function startCriu(options: readonly string[], { pages, preload, env = {} }: CriuExtras = {}): ChildProcess {
  const [program, ...prefix] = toolCommand('criu', TOOLBOX_IN_CONTAINER, preload);
  const [action = '', ...rest] = options;
  const args = [...prefix, action, ...TRUSTED_ONLY, ...rest];
  return spawn(program, args, {
    env: { ...ENVIRONMENT, ...env },
    stdio: [pages ?? 'ignore', 'ignore', 'inherit'],
  });
}

/** Its exit code; null when it was killed. */
export async function endOf(child: ChildProcess): Promise<number | null> {
  const [code] = (await once(child, 'exit')) as [number | null];
  return code;
}

/** To be called before the job is in the container. Throws `FreezerError` `cannotRun`. */
export async function learnKernel(): Promise<void> {
  // What it finds depends on its own version and on what it may do.
  const toolboxVersion = await readFile(join(TOOLBOX_IN_CONTAINER, 'complete'), 'utf8');
  const name = `kernel-${toolboxVersion.trim()}-${(await capabilities()).mask}`;
  if (await takeCommon(name, KNOWLEDGE)) return;
  // A bare image may not have it.
  await mkdir('/tmp').then(
    () => chmod('/tmp', 0o1777),
    (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST') throw error;
    },
  );
  // What it says of this kernel does not count: `check` wants more than is needed here.
  await endOf(startCriu(['check']));
  await access(KNOWLEDGE).catch((cause: unknown) => {
    const remedy = 'Use a kernel 5.11 or newer with CONFIG_CHECKPOINT_RESTORE.';
    throw new FreezerError('cannotRun', 'CRIU cannot find out what this kernel can do.', remedy, { cause });
  });
  await keepCommon(name, KNOWLEDGE);
}
