/** What operators give to jobs, in the hands of others: of another pool, of another job, or in files that move with a job. */
import { readFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { Attack, Ended, Ground } from '../attack.ts';
import { require } from '../breach.ts';
import { HARMLESS, HARMLESS_TEXT, PASSWORD } from '../jobSecrets.ts';
import { BASE_IMAGE } from '../stage.ts';

/** A file of root in the workers' folder of secrets: for the workers, the secret of a pool that is not theirs. */
function ofAnotherPool({ stage }: Ground): { pool: string; name: string } {
  const { secretsDirectory, canaries } = stage.parts;
  const path = canaries.files.paths.find((each) => each.startsWith(`${secretsDirectory}/`)) ?? '';
  return { pool: basename(dirname(path)), name: basename(path) };
}

/** It has a secret, does not read it, and is frozen meanwhile: what is found in its files was put there by Floe. */
const HAS_PASSWORD = 'ls -la /run /run/secrets; sleep 4';

function hasItsOwn(_: unknown, { stdout }: Ended): void {
  require(stdout.includes(HARMLESS_TEXT), `it does not find the secret of its own: ${stdout.slice(0, 300)}`);
}

export const secrets: Attack[] = [
  {
    name: 'secrets/of-another-pool',
    wants: 'A secret that its pool has not, by its name.',
    isQuick: true,
    order: (ground) => ({
      script: 'cat /run/secrets/*',
      spec: { secrets: [ofAnotherPool(ground).name, HARMLESS] },
    }),
    ends: /^waits/,
  },
  {
    name: 'secrets/by-a-path',
    wants: 'The same by a name that leads to the folder of the other pool.',
    order: (ground) => {
      const { pool, name } = ofAnotherPool(ground);
      return { script: 'cat /run/secrets/*', spec: { secrets: [`../${pool}/${name}`] } };
    },
    ends: /^refused invalidJob/,
  },
  {
    name: 'secrets/of-another-job',
    wants: 'The password of an honest job of its pool, wherever that lies while both run.',
    isQuick: true,
    order: ({ stage }) => ({
      script: `find /run /dev/shm /tmp /floe ${stage.parts.directory} ${stage.parts.secretsDirectory} /proc/[0-9]*/root/run /proc/[0-9]*/root/dev/shm \\
          -type f -size -100k -exec head -c 300 {} + 2> /dev/null | head -c 3000000; cat /proc/[0-9]*/environ 2> /dev/null; true`,
      spec: { secrets: [HARMLESS] },
    }),
    ends: /^succeeded/,
    check: hasItsOwn,
  },
  {
    name: 'secrets/written-through',
    wants: 'To change what the operator has, or what other jobs are given, through its own files.',
    order: () => ({
      script: `cd /run/secrets; cat ${HARMLESS}; (echo owned > ${HARMLESS}; echo owned >> ${HARMLESS}; rm -f ${HARMLESS}; mv ${HARMLESS} x; chmod 777 . ${HARMLESS};
        ln -sf /etc/passwd ${HARMLESS}; touch owned; truncate -s 0 ${HARMLESS}; mount -o remount,rw /run/secrets; umount /run/secrets) 2> /dev/null; ls`,
      spec: { secrets: [HARMLESS] },
    }),
    ends: /^succeeded/,
    check: async (ground, ended) => {
      hasItsOwn(ground, ended);
      require(ended.stdout === `${HARMLESS_TEXT}${HARMLESS}\n`, `the folder has ${ended.stdout.slice(0, 300)}`);
      const file = join(ground.stage.parts.secretsDirectory, ground.runtime, HARMLESS);
      require((await readFile(file, 'utf8')) === HARMLESS_TEXT, "the operator's file is not what it was");
    },
  },
  {
    name: 'secrets/open-when-frozen',
    wants: 'That a secret which a program has open goes with its checkpoints.',
    order: () => ({ script: `exec 3< /run/secrets/${PASSWORD}; sleep 5`, spec: { secrets: [PASSWORD] } }),
    ends: /^succeeded/,
  },
  {
    name: 'secrets/in-a-volume',
    wants: 'That secrets are laid into a volume of the job, which moves with it.',
    order: () => ({ script: HAS_PASSWORD, spec: { secrets: [PASSWORD], volumes: ['/run'] } }),
    ends: /^(succeeded|failed|refused|waits)/,
  },
  {
    name: 'secrets/where-the-image-leads',
    wants: 'The same by an image whose place for secrets is a link to the workspace.',
    runtimes: ['docker'],
    order: async ({ stage }) => {
      const lines = [`FROM ${BASE_IMAGE}`, 'RUN mkdir -p /run && rm -rf /run/secrets && ln -s /workspace /run/secrets'];
      const image = await stage.parts.images.build(lines.join('\n'));
      return { image, script: HAS_PASSWORD, spec: { secrets: [PASSWORD] } };
    },
    ends: /^(succeeded|failed|refused|waits)/,
  },
];
