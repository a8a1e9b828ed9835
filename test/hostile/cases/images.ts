/** Images that lead the engine, the agent or CRIU astray: links where Floe mounts its own, programs that run by themselves, odd settings. */
import { execa } from 'execa';
import type { Attack, Ended, Ground, Order } from '../attack.ts';
import { require } from '../breach.ts';
import { BASE_IMAGE } from '../stage.ts';

/**
 * Stands in for programs of Floe's. Where it runs with capabilities, as the job never does, it says so.
 */
const STAND_IN = `#!/bin/sh
while read -r line; do case $line in CapEff*[1-9a-f]*) echo "OWNED $line"; echo "OWNED $line" > /workspace/owned ;; esac; done < /proc/self/status
exec /bin/sleep 5
`;

/** The job says whether it has more than it should. */
const SHOW = `grep -E '^Cap(Eff|Prm|Bnd):' /proc/self/status | grep -v ':.0000000000000000'; ls /owned* /workspace/owned* 2> /dev/null; cat /owned* 2> /dev/null; true`;

function hasNothing(_: unknown, { ending, stdout, stderr }: Ended): void {
  require(!`${ending}${stderr}`.includes(
    'OWNED',
  ), `a program of the image ran as one of Floe's: ${ending.slice(0, 300)}`);
  require(stdout.trim() === '', `it has ${stdout.slice(0, 300)}`);
}

/** Null when the engine refuses to build it. */
async function inImage({ stage }: Ground, lines: readonly string[], order: Order): Promise<Order | null> {
  const dockerfile = [`FROM ${BASE_IMAGE}`, 'COPY stand-in /stand-in', 'RUN chmod 755 /stand-in', ...lines].join('\n');
  try {
    return { ...order, image: await stage.parts.images.build(dockerfile, { 'stand-in': STAND_IN }) };
  } catch {
    return null;
  }
}

function image(
  name: string,
  wants: string,
  lines: readonly string[],
  more: Partial<Attack> & { spec?: Order['spec'] } = {},
): Attack {
  const { spec = {}, ...attack } = more;
  return {
    name: `images/${name}`,
    wants,
    runtimes: ['docker'],
    order: (ground) => inImage(ground, lines, { script: `${SHOW}; sleep 2`, spec }),
    ends: /^(succeeded|failed|refused|waits)/,
    check: hasNothing,
    ...attack,
  };
}

/** A tree that looks like Floe's own, whose programs are all the stand-in. */
function toolboxAt(folder: string): string {
  const programs = ['init', 'supervisor', 'node', 'criu', 'ld.so', 'isolate-network', 'hold', 'last-pid', 'let-go'];
  const places = programs.flatMap((name) => [`${folder}/bin/${name}`, `${folder}/${name}`]);
  return `RUN mkdir -p ${folder}/bin ${folder}/lib && for f in ${places.join(' ')}; do cp /stand-in $f; done`;
}

export const images: Attack[] = [
  image(
    'linked-volume',
    "That Floe's toolbox is mounted elsewhere, and a program of the image's own is the first of the container.",
    [toolboxAt('/floe/toolbox'), 'RUN mkdir -p /a/b && ln -s /floe/toolbox /a/b/c', 'VOLUME /a/b/c'],
    { isQuick: true },
  ),
  image(
    'linked-volume-of-the-job',
    'The same, by a volume that the job asks for.',
    [toolboxAt('/floe/toolbox'), 'RUN mkdir -p /a/b && ln -s /floe/toolbox /a/b/c'],
    { spec: { volumes: ['/a/b/c'] } },
  ),
  image('linked-parent-of-a-volume', 'The same, by a link in the middle of the path.', [
    toolboxAt('/floe/toolbox'),
    'RUN ln -s /floe /way',
    'VOLUME /way/toolbox',
    'VOLUME /way/freezer',
  ]),
  image(
    'floe-is-a-link',
    "That the job can replace what the agent runs at the next checkpoint: /floe is a link to a place of the job's.",
    [toolboxAt('/x/toolbox'), 'RUN ln -s /x /floe'],
    {
      order: (ground) =>
        inImage(ground, [toolboxAt('/x/toolbox'), 'RUN ln -s /x /floe'], {
          script: `for f in $(find /x /floe/ -type f 2> /dev/null | head -100); do cp /stand-in $f; done 2> /dev/null; sleep 4; ${SHOW}`,
        }),
    },
  ),
  image('workspace-is-a-link', "That the workspace is mounted over a place of Floe's or of the system.", [
    'RUN rm -rf /workspace && ln -s /floe/control /workspace',
  ]),
  image('shared-memory-is-a-link', 'The same for /dev/shm and its parent.', [
    'RUN rm -rf /dev/shm /dev && ln -s /floe /dev || true',
    'RUN mkdir -p /floe && ln -s /floe/logs /floe/layer || true',
  ]),
  image('proc-is-a-link', 'The same for what the engine mounts by itself.', [
    'RUN rmdir /proc || true',
    'RUN ln -sfn /etc /sys || true',
  ]),
  image('health-check', 'A program that the engine runs by itself, with what the container may and the job may not.', [
    'HEALTHCHECK --interval=1s CMD cat /proc/self/status > /owned-by-health-check',
  ]),
  image('entrypoint', 'That its entrypoint runs in the place of the init.', [
    'ENTRYPOINT ["/stand-in"]',
    'CMD ["x"]',
    'STOPSIGNAL SIGKILL',
  ]),
  image('preloaded-libraries', 'That the agent loads a library of the image.', [
    'ENV LD_PRELOAD=/stand-in LD_LIBRARY_PATH=/ LD_AUDIT=/stand-in GCONV_PATH=/ LOCPATH=/',
    'RUN echo /stand-in > /etc/ld.so.preload; cp /stand-in /lib/libc.so.6.evil',
  ]),
  image('options-of-node', 'That the agent, which is Node, runs a file of the image.', [
    `RUN echo 'require("fs").writeFileSync("/owned-by-node", "x")' > /evil.js && cp /evil.js /evil.cjs && printf 'nodejs_conf = x\\n' > /openssl.cnf`,
    'ENV NODE_OPTIONS="--require /evil.js" NODE_PATH=/ OPENSSL_CONF=/openssl.cnf SSL_CERT_FILE=/evil.js NODE_EXTRA_CA_CERTS=/evil.js',
  ]),
  image('options-of-criu', 'That CRIU reads a configuration of the image, with a program to run.', [
    `RUN mkdir -p /etc/criu /root/.criu && echo 'action-script /stand-in' | tee /etc/criu/default.conf /root/.criu/default.conf /etc/criu/runc.conf`,
    'ENV CRIU_CONFIG_FILE=/etc/criu/default.conf CRIU_LIBS_DIR=/',
  ]),
  image(
    'odd-user',
    'A user that is root by another name, or that nobody can look up: /etc/passwd is a FIFO.',
    ['RUN rm -f /etc/passwd /etc/group && mkfifo /etc/passwd /etc/group', 'USER somebody:something'],
    { isBomb: true },
  ),
  image(
    'passwd-is-a-link',
    "Lines of Floe's own files, by a list of users that is a link.",
    [
      'RUN rm -f /etc/passwd && ln -s /proc/self/environ /etc/passwd && rm -f /etc/group && ln -s /dev/zero /etc/group',
      'USER nobody-knows',
    ],
    { isBomb: true },
  ),
  image(
    'endless-passwd',
    'That the list of users is read until memory ends.',
    ['RUN truncate -s 300M /etc/passwd && echo "late:x:0:0::/:/bin/sh" >> /etc/passwd', 'USER late'],
    { isBomb: true },
  ),
  image('odd-volumes', "Volumes at the engine's, the kernel's and Floe's own places.", [
    'VOLUME ["/proc/1", "/floe/toolbox", "/sys/fs", "/dev", "/etc/../floe", "//floe//control/"]',
  ]),
  image('thousand-volumes', 'More volumes than anybody can mount.', [
    `VOLUME [${Array.from({ length: 1000 }, (_, number) => `"/v${number}"`).join(', ')}]`,
  ]),
  image(
    'working-folder-that-is-a-link',
    'That its program starts in a folder of Floe’s.',
    ['RUN ln -s /floe/control /here', 'WORKDIR /here'],
    {
      spec: { directory: '/here' },
    },
  ),
  image('large-environment', 'That the engine is started with an environment that no program can have.', [
    ...Array.from({ length: 40 }, (_, number) => `ENV V${number}=${'x'.repeat(60_000)}`),
  ]),
  {
    name: 'images/replaced-under-its-name',
    wants: 'That a job whose image was pinned goes on in another image of the same name.',
    runtimes: ['docker'],
    order: async (ground) => {
      const order = await inImage(ground, ['RUN echo first > /which'], {
        script: 'cat /which; sleep 4; cat /which',
      });
      if (order?.image === undefined) return null;
      const other = await inImage(ground, ['RUN echo second > /which; echo OWNED > /owned'], {});
      // While it runs: the next run of the job, if there is one, would find the other.
      if (other?.image !== undefined)
        setTimeout(() => void execa('docker', ['tag', other.image ?? '', order.image ?? '']), 3000);
      return order;
    },
    ends: /^succeeded/,
    check: (_, { stdout }) => require(!stdout.includes('second'), 'it went on in another image'),
  },
];
