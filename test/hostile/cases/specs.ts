/** Specs that are wrong, or mean something else to somebody down the line. Each is refused, or runs as what it says, or fails once. */
import type { Attack, Ended } from '../attack.ts';
import { require } from '../breach.ts';
import { BASE_IMAGE } from '../stage.ts';

/** A job that can never start is not tried again and again. */
function failedOnce(_: unknown, { ending, job }: Ended): void {
  if (ending.startsWith('failed')) require((job?.runs.length ?? 0) <= 1, `it was tried ${job?.runs.length} times`);
}

/** Not typed: these are what no type allows. */
function raw(spec: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return spec;
}

const REFUSED = /^refused invalidJob/;
const REFUSED_OR_FAILED = /^(refused|failed)/;

export const specs: Attack[] = [
  {
    name: 'specs/arguments-of-three-megabytes',
    wants: 'A job that the kernel can never start, on every worker in turn.',
    order: () => ({ spec: { command: ['/bin/echo', 'x'.repeat(3_000_000)] } }),
    ends: REFUSED_OR_FAILED,
    check: failedOnce,
  },
  {
    name: 'specs/a-hundred-thousand-arguments',
    wants: 'The same by their number.',
    order: () => ({ spec: { command: ['/bin/true', ...Array.from({ length: 300_000 }, () => 'word')] } }),
    check: failedOnce,
  },
  {
    name: 'specs/environment-of-three-megabytes',
    wants: 'The same by the environment.',
    order: () => ({ spec: { command: ['/bin/true'], env: { BIG: 'x'.repeat(3_000_000) } } }),
    ends: REFUSED_OR_FAILED,
    check: failedOnce,
  },
  {
    name: 'specs/nul-in-arguments',
    wants: 'That one argument becomes two, or a shorter one.',
    isQuick: true,
    order: () => ({ spec: { command: ['/bin/echo', 'a\0b'], env: { A: 'x\0y' } } }),
    ends: REFUSED_OR_FAILED,
    check: failedOnce,
  },
  {
    name: 'specs/half-a-character',
    wants: 'That a text which has no encoding becomes another text.',
    order: () => ({ spec: { command: ['/bin/echo', '\ud800'], env: { A: '\udfff' }, name: '\ud83d' } }),
  },
  {
    name: 'specs/crash-budget-without-end',
    wants: 'To take down workers for ever.',
    order: () => ({ spec: { command: ['true'], crashBudget: 1_000_000_000 } }),
    ends: REFUSED,
  },
  {
    name: 'specs/outputs-outside',
    wants: 'Files outside of the workspace among its outputs.',
    order: () => ({ spec: { command: ['true'], outputs: ['../../..', '/etc', 'a/../../..', '{..,x}/{..,y}/*'] } }),
    ends: REFUSED,
  },
  {
    name: 'specs/outputs-by-braces',
    wants: 'The same, where a check of names does not see it.',
    order: () => ({
      script: 'mkdir a; ls ..',
      spec: { outputs: ['{.,a}./*', 'a/{..,.}/{..,.}/{..,.}/*', '[.][.]/*', '@(..)/*', '.{.,}/*', '**/..{/,}/*'] },
    }),
  },
  {
    name: 'specs/a-glob-that-never-ends',
    wants: "The worker's event loop, by a pattern of exponential cost.",
    order: () => ({
      script: `touch ${'a'.repeat(60)}`,
      spec: { outputs: [`${'{a,b}'.repeat(24)}`, `${'*a'.repeat(28)}b`, `+(${'a*'.repeat(12)})b`, '**/'.repeat(300)] },
    }),
  },
  {
    name: 'specs/places-that-are-not-the-jobs',
    wants: 'A volume at a place of the machine, of the engine or of Floe, with what is there.',
    order: () => ({
      script: 'find /root /etc/ssh /var/lib -type f | head',
      spec: { volumes: ['/root', '/var/lib', '/run'] },
    }),
    ends: /^(succeeded|refused|failed|waits)/,
  },
  {
    name: 'specs/volumes-with-odd-names',
    wants: 'A volume whose name means something else to the engine.',
    order: () => ({
      spec: raw({
        command: ['true'],
        volumes: ['/a/../proc', '/x:/etc', '/floe/toolbox', '//', '/a\n--privileged', '/proc/1'],
      }),
    }),
    ends: REFUSED,
  },
  {
    name: 'specs/volumes-by-other-names',
    wants: "The machine's own places by names that are links to them.",
    order: () => ({
      script: 'ls -la /bin /lib; true',
      spec: { volumes: ['/var/run', '/bin', '/lib', '/usr', '/etc'] },
    }),
    ends: /^(succeeded|refused|failed|waits)/,
  },
  {
    name: 'specs/names-with-orders-to-terminals',
    wants: 'To write on the screens of those who look at the list of jobs.',
    order: () => ({
      spec: { command: ['/bin/sh', '-c', 'true', '\x1b]0;owned\x07'], name: '\x1b[2J\x1b]0;owned\x07\u202e\u009b31m' },
    }),
  },
  {
    name: 'specs/names-of-prototypes',
    wants: 'To change objects of the worker by names that JavaScript keeps for itself.',
    order: () => ({
      spec: raw({
        command: ['/bin/sh', '-c', 'env; true'],
        env: JSON.parse('{"__proto__": "x", "constructor": "y", "prototype": "z", "toString": "t"}'),
        name: '__proto__',
      }),
    }),
  },
  {
    name: 'specs/loader-and-node-variables',
    wants: 'That a variable meant for the job is heeded by the agent or CRIU.',
    order: () => ({
      files: { 'evil.js': 'require("fs").writeFileSync("/floe/control/owned", "x")' },
      script: 'ls /floe/control/owned 2> /dev/null && echo owned; env | sort',
      spec: {
        env: {
          LD_PRELOAD: '/workspace/evil.so',
          LD_LIBRARY_PATH: '/workspace',
          NODE_OPTIONS: '--require /workspace/evil.js',
          CRIU_CONFIG_FILE: '/workspace/criu.conf',
          GCONV_PATH: '/workspace',
        },
      },
    }),
    check: (_, { stdout }) => require(!stdout.includes('owned\n'), 'the agent heeds variables of the job'),
  },
  {
    name: 'specs/programs-that-are-none',
    wants: 'A job that can never start, on every worker in turn.',
    order: () => ({ spec: { command: ['/proc/self/mem'] } }),
    ends: /^failed/,
    check: failedOnce,
  },
  {
    name: 'specs/folders-that-are-none',
    wants: 'The same by the folder that it starts in.',
    order: ({ stage }) => ({
      spec: { command: ['/bin/ls'], directory: stage.parts.canaries.files.paths[0] ?? '/root' },
    }),
    ends: /^(failed|refused)/,
    check: failedOnce,
  },
  {
    name: 'specs/users-that-are-somebody-else',
    wants: "To be a user of the machine's, or one that cannot be.",
    order: () => ({ spec: { command: ['/usr/bin/id'], user: '4294967295:4294967295' } }),
  },
  {
    name: 'specs/users-with-options',
    wants: 'A user whose name is an option, or a path, to somebody down the line.',
    order: () => ({ spec: { command: ['id'], user: 'root --privileged' } }),
    ends: REFUSED,
  },
  {
    name: 'specs/images-with-options',
    wants: 'An image whose name is an option to the engine.',
    order: () => ({ spec: raw({ command: ['id'], image: '--privileged' }) }),
    ends: REFUSED,
  },
  {
    name: 'specs/images-of-no-registry',
    wants: 'That the worker asks an address of the attacker, or waits for it.',
    runtimes: ['docker'],
    order: ({ stage }) => ({
      spec: { command: ['id'], image: `127.0.0.1:${stage.parts.redisPort}/x/y:latest` },
    }),
    ends: /^(failed|waits|cancelled)/,
  },
  {
    name: 'specs/numbers-beyond-all',
    wants: 'That a number is too large for who uses it, and means no limit, or none at all.',
    order: () => ({
      spec: raw({
        command: ['true'],
        timeoutMs: 2 ** 53 - 1,
        backoffMs: 2 ** 53 - 1,
        resources: { cpus: 1e308, memoryBytes: 2 ** 53 - 1 },
        checkpoint: { everyMs: 2 ** 53 - 1, patienceMs: 2 ** 53 - 1 },
      }),
    }),
    ends: /^(succeeded|failed|refused|waits)/,
  },
  {
    name: 'specs/numbers-that-are-tiny',
    wants: 'That a limit is too small to start with, and the worker tries for ever.',
    order: () => ({ spec: { command: ['/bin/true'], resources: { cpus: 1e-9, memoryBytes: 1 } } }),
    ends: /^(succeeded|failed|refused|waits)/,
  },
  {
    name: 'specs/data-that-is-none',
    wants: 'The end of a worker that reads what somebody wrote to the queue around the library.',
    order: () => ({ spec: { command: ['true'] }, rawData: { spec: { command: 'true', outputs: null }, input: 7 } }),
    ends: /^failed/,
  },
  {
    name: 'specs/input-outside-of-the-store',
    wants: 'A file of root as its input, by a key that leads out of the store.',
    order: ({ stage, runtime }) => {
      const image = runtime === 'docker' ? { image: BASE_IMAGE } : {};
      const key = `${'../'.repeat(8)}${stage.parts.canaries.files.paths[0]?.slice(1)}`;
      const spec = { command: ['/bin/sh', '-c', 'cat *'], name: 'thief', ...image };
      return { spec: { command: ['true'] }, rawData: { spec, input: { key, sizeBytes: 1 }, submittedAt: 1 } };
    },
    ends: /^failed/,
  },
];
