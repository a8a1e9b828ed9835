/** Which of the capabilities that freezing needs this process has. */
import { readFile } from 'node:fs/promises';
import { bad, type MachineFinding, ok } from './finding.ts';

interface Capability {
  /** As capabilities(7) numbers them. */
  readonly bit: number;
  readonly name: string;
  /** What it is for. */
  readonly use: string;
}

const CHECK = 'capabilities';

const NEEDED: readonly Capability[] = [
  { bit: 0, name: 'CHOWN', use: "owners of the job's files" },
  { bit: 1, name: 'DAC_OVERRIDE', use: "reading the job's files" },
  { bit: 2, name: 'DAC_READ_SEARCH', use: 'open files that lost their name' },
  { bit: 3, name: 'FOWNER', use: "modes of the job's files" },
  { bit: 4, name: 'FSETID', use: 'setuid and setgid bits' },
  { bit: 5, name: 'KILL', use: "signals for another user's job" },
  { bit: 6, name: 'SETGID', use: "the job's groups" },
  { bit: 7, name: 'SETUID', use: "the job's user" },
  { bit: 8, name: 'SETPCAP', use: 'taking all capabilities from the job' },
  { bit: 12, name: 'NET_ADMIN', use: "sizes of sockets' buffers" },
  { bit: 18, name: 'SYS_CHROOT', use: "the job's root folder" },
  { bit: 19, name: 'SYS_PTRACE', use: 'looking into the job' },
  { bit: 21, name: 'SYS_ADMIN', use: 'namespaces and process ids' },
  { bit: 25, name: 'SYS_TIME', use: 'the clock of a thawed job' },
  { bit: 31, name: 'SETFCAP', use: 'file capabilities' },
];
const FOR_USERS: Capability = { bit: 24, name: 'SYS_RESOURCE', use: 'jobs of other users than root' };

/** Those of `wanted` that are not in a mask of /proc/PID/status, hexadecimal digits. */
export function missingFrom(mask: string, wanted: readonly Capability[]): Capability[] {
  const bits = BigInt(`0x${mask}`);
  return wanted.filter(({ bit }) => ((bits >> BigInt(bit)) & 1n) === 0n);
}

export async function checkCapabilities(): Promise<MachineFinding[]> {
  const status = await readFile('/proc/self/status', 'utf8');
  return judgeCapabilities(/^CapEff:\s*([0-9a-f]+)$/m.exec(status)?.[1] ?? '0');
}

/** One finding for all that are there, and one for each that is not. */
export function judgeCapabilities(mask: string): MachineFinding[] {
  const missing = missingFrom(mask, NEEDED).map(({ name, use }) =>
    bad('fail', CHECK, `no CAP_${name}; for ${use}`, `Run the worker as root, in a container with cap_add ${name}.`),
  );
  const forUsers = missingFrom(mask, [FOR_USERS]).map(({ name, use }) =>
    bad(
      'warn',
      CHECK,
      `no CAP_${name}; for ${use}`,
      `Give it where there are such jobs; they wait for a worker that has it.`,
    ),
  );
  const present = NEEDED.length - missing.length;
  return [
    ...(present > 0 ? [ok(CHECK, `${present} of ${NEEDED.length} that CRIU and the agent need`)] : []),
    ...missing,
    ...forUsers,
  ];
}
