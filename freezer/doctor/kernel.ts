/** What the kernel was built with, as far as CRIU or Floe needs it. */
import { access, readFile } from 'node:fs/promises';
import { release } from 'node:os';
import { promisify } from 'node:util';
import { gunzip } from 'node:zlib';
import { bad, type MachineFinding, ok } from './finding.ts';

interface KernelOption {
  /** Without `CONFIG_`. */
  readonly name: string;
  readonly use: string;
  /** `fail`: nothing is frozen without it. `warn`: something does not work. `ok`: nothing is lost. */
  readonly without: 'fail' | 'warn' | 'ok';
  /** A file that is there exactly when the option is, for kernels whose configuration cannot be read. */
  readonly trace?: string;
}

const OPTIONS: readonly KernelOption[] = [
  { name: 'CHECKPOINT_RESTORE', use: 'CRIU', without: 'fail', trace: '/proc/sys/kernel/ns_last_pid' },
  { name: 'PID_NS', use: 'process ids of their own', without: 'fail', trace: '/proc/self/ns/pid' },
  { name: 'TIME_NS', use: 'clocks that go on after a move', without: 'fail', trace: '/proc/self/ns/time' },
  {
    name: 'SECCOMP_FILTER',
    use: 'what jobs are refused',
    without: 'fail',
    trace: '/proc/sys/kernel/seccomp/actions_avail',
  },
  { name: 'UNIX_DIAG', use: 'jobs with UNIX sockets', without: 'fail' },
  { name: 'INET_DIAG', use: 'jobs with TCP sockets', without: 'fail' },
  { name: 'INET_UDP_DIAG', use: 'jobs with UDP sockets', without: 'warn' },
  { name: 'PACKET_DIAG', use: 'jobs with packet sockets', without: 'warn' },
  { name: 'NETLINK_DIAG', use: 'jobs with netlink sockets', without: 'warn' },
  { name: 'USERFAULTFD', use: 'lazy thaw', without: 'warn', trace: '/proc/sys/vm/unprivileged_userfaultfd' },
  { name: 'MEM_SOFT_DIRTY', use: 'increments, which come from content here', without: 'ok' },
];

/** `CONFIG_` options that are built in or a module. */
export function parseKernelConfig(text: string): Set<string> {
  return new Set(Array.from(text.matchAll(/^CONFIG_(\w+)=[ym]$/gm), ([, name = '']) => name));
}

export async function checkKernel(): Promise<MachineFinding[]> {
  const config = await readKernelConfig();
  const findings = await Promise.all(OPTIONS.map((option) => checkOption(option, config)));
  return config === null ? [withoutConfig(), ...findings.flat()] : findings.flat();
}

async function checkOption(option: KernelOption, config: Set<string> | null): Promise<MachineFinding[]> {
  const has = config?.has(option.name) ?? (await hasTrace(option));
  return has === null ? [] : [judgeOption(option, has)];
}

function judgeOption({ name, use, without }: KernelOption, has: boolean): MachineFinding {
  const check = `kernel ${name}`;
  if (has) return ok(check, `there; for ${use}`);
  if (without === 'ok') return ok(check, `not there, and not needed for ${use}`);
  return bad(without, check, `not there; for ${use}`, `Use a kernel with CONFIG_${name}, as distributions' own have.`);
}

/** Null when nothing tells. */
async function hasTrace({ trace }: KernelOption): Promise<boolean | null> {
  if (trace === undefined) return null;
  return await access(trace).then(
    () => true,
    () => false,
  );
}

function withoutConfig(): MachineFinding {
  return ok(
    'kernel configuration',
    'not readable: what shows in /proc counts, and the sockets are left to `criu check`',
  );
}

/** From the places where kernels and distributions keep it; null when it is in none. */
async function readKernelConfig(): Promise<Set<string> | null> {
  const packed = await readFile('/proc/config.gz').catch(() => null);
  if (packed !== null) return parseKernelConfig((await promisify(gunzip)(packed)).toString());
  for (const path of [`/boot/config-${release()}`, `/lib/modules/${release()}/config`]) {
    const text = await readFile(path, 'utf8').catch(() => null);
    if (text !== null) return parseKernelConfig(text);
  }
  return null;
}
