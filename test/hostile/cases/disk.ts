/** What a job writes: more than its share of the disk, or of the log that everybody's Redis holds. */
import type { Attack } from '../attack.ts';
import { require } from '../breach.ts';

const ESCAPES = '\\033]0;owned\\007\\033[2J\\033[?1049h\\033]52;c;b3duZWQ=\\007\\033P$q\\033\\\\';

export const disk: Attack[] = [
  {
    name: 'disk/fill-the-workspace',
    wants: 'All of the disk, in its workspace.',
    isBomb: true,
    order: () => ({
      script: 'dd if=/dev/zero of=fill bs=1M count=40000 2>&1 | tail -1; sleep 10; echo survived',
      // Else it is frozen most of the time, and fills nothing.
      spec: { outputs: [], checkpoint: { everyMs: 0 } },
    }),
    ends: /^failed/,
  },
  {
    name: 'disk/fill-everything-else',
    wants: 'The same wherever else it can write: temporary folders, shared memory, the layer of its container.',
    isBomb: true,
    order: () => ({
      script:
        'for d in /tmp /var/tmp /dev/shm /root /opt /; do dd if=/dev/zero of=$d/fill bs=1M count=30000 2> /dev/null & done; wait; sleep 10; echo survived',
      spec: { outputs: [] },
    }),
    ends: /^failed/,
  },
  {
    name: 'disk/allocate-at-once',
    wants: 'The same in one call, quicker than anybody looks.',
    isBomb: true,
    order: () => ({
      // Not more than there is: until the next look nothing stops it (docs/security.md).
      script: 'fallocate -l 8G fill; ls -ls; sleep 10; echo survived',
      spec: { outputs: [] },
    }),
    ends: /^failed/,
  },
  {
    name: 'disk/files-without-end',
    wants: 'All inodes of the disk.',
    isBomb: true,
    order: () => ({
      script: `perl -e 'for ($d = 0; ; $d++) { mkdir "d$d" or last; for (1..1000) { open F, ">", "d$d/$_" or die } }'; echo survived`,
      spec: { outputs: [], timeoutMs: 30_000, checkpoint: { everyMs: 0 } },
    }),
    // A drain saves all of them, which does not count as its time.
    withinMs: 180_000,
    ends: /^failed/,
  },
  {
    name: 'disk/flood-of-log',
    wants: 'All of Redis, and of the disk, by what it writes to its output.',
    isBomb: true,
    order: () => ({
      script: `yes "$(printf '%01000d' 7)" | head -c 600000000; echo end`,
      spec: { outputs: [], timeoutMs: 60_000 },
    }),
    check: async ({ stage }) => {
      const used = Number(/used_memory:(\d+)/.exec(await stage.parts.client.info('memory'))?.[1] ?? 0);
      require(used < 256 * 2 ** 20, `Redis has ${Math.round(used / 2 ** 20)} MiB`);
    },
  },
  {
    name: 'disk/a-line-of-ten-megabytes',
    wants: 'That somebody waits for the end of a line.',
    order: () => ({ script: `head -c 10000000 /dev/zero | tr '\\0' x; echo; echo end >&2`, spec: { outputs: [] } }),
    ends: /^succeeded/,
    check: (_, { stderr }) => require(stderr.includes('end\n'), `the log ends with ${stderr.slice(-100)}`),
  },
  {
    name: 'disk/log-that-is-no-text',
    wants: 'That bytes which are no text, or orders to a terminal, break whoever shows the log.',
    order: () => ({
      script: `head -c 300000 /dev/urandom; printf '${ESCAPES}'; printf '\\377\\376'; echo end`,
      spec: { outputs: [] },
    }),
    ends: /^succeeded/,
  },
  {
    name: 'disk/a-million-short-writes',
    wants: "Redis' time, by a message for each byte.",
    order: () => ({
      script: `perl -e 'syswrite STDOUT, "x" for 1..1_000_000'; echo end`,
      spec: { outputs: [], timeoutMs: 50_000 },
    }),
  },
  {
    name: 'disk/log-made-sixteen-tebibytes-long',
    wants: 'That a log without content is sent to the store for days.',
    order: () => ({
      script: `for f in /dev/stdout /proc/self/fd/1 /proc/$PPID/fd/1 /proc/1/fd/1 /floe/logs/stdout; do truncate -s 15T $f; perl -e 'open F, "+<", shift and seek(F, 15 << 40, 0) and syswrite F, "x"' $f; done 2> /dev/null; echo end`,
      spec: { outputs: [] },
    }),
    ends: /^succeeded/,
    check: (_, { stdout }) => require(stdout.includes('end\n'), `its log is ${JSON.stringify(stdout.slice(0, 100))}`),
  },
  {
    name: 'disk/closed-outputs',
    wants: 'That nobody sees its end when it has closed what is watched.',
    order: () => ({ script: 'exec > /dev/null 2>&1 < /dev/null; sleep 2; exit 3' }),
    ends: /^failed exit 3/,
  },
];
