/** What a job leaves in its folders: types, names, links, counts and sizes that whoever saves and keeps them must bear. */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { lstat, readdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Attack, Ground } from '../attack.ts';
import { require } from '../breach.ts';
import { floe } from '../cli.ts';

/** A checkpoint is taken meanwhile, so each is frozen too. */
const THEN_WAIT = 'echo made; sleep 3';

/** Folders that hold secrets, as words for a shell. */
function secretFolders({ stage }: Ground): string {
  return stage.parts.canaries.files.paths.map(dirname).join(' ');
}

function secretFiles({ stage }: Ground): string {
  return stage.parts.canaries.files.paths.join(' ');
}

/** Fetches the outputs and resolves to the folder that they are in. */
async function fetched({ stage, folder }: Ground, id: string | null): Promise<string> {
  const target = join(folder, 'outputs');
  await floe(stage, 'fetch', id ?? '', target);
  return target;
}

/** Files that appear, grow and vanish for some seconds, beside a FIFO and a name that is not UTF-8. */
const CHANGING = `$| = 1; mkdir $ARGV[0]; chdir $ARGV[0]; system "mkfifo pipe"; open F, ">", "bad\\xff"; print "ready\\n";
  for (1..3000) {
    for (1..20) { open F, ">>", "f$_"; print F "x" x 9999; unlink "f$_" if rand() < .5 }
    select undef, undef, undef, .001;
  }`;

export const files: Attack[] = [
  {
    name: 'files/outputs-through-a-linked-folder',
    wants: 'Files of root among its outputs, through a folder that is a link.',
    isQuick: true,
    order: (ground) => ({
      script: `n=0; for d in ${secretFolders(ground)} /root /etc /var/lib; do ln -s $d results$n; n=$((n+1)); done; ${THEN_WAIT}`,
      spec: { outputs: ['results0/secret', 'results*/*', 'results1/**', 'results2'] },
    }),
  },
  {
    name: 'files/outputs-through-a-swapped-folder',
    wants: 'The same, by a link that takes the place of a folder while outputs are read.',
    order: (ground) => ({
      script: `mkdir real; echo mine > real/secret; ln -s $(echo ${secretFolders(ground)} | cut -d' ' -f1) link
        (setsid perl -e 'while (1) { rename "link", "results"; unlink "results"; symlink "${secretFolders(ground).split(' ')[0]}", "link";
          rename "real", "results"; rename "results", "real" }' > /dev/null 2>&1 &) ; sleep 2`,
      spec: { outputs: ['results/secret', 'results', 'real', 'link/secret'] },
    }),
  },
  {
    name: 'files/links-to-secrets',
    wants: 'What its links point to, in an output archive or a checkpoint.',
    order: (ground) => ({
      script: `n=0; for f in ${secretFiles(ground)} /proc/self/environ /proc/1/environ /etc/shadow; do
        ln -s $f soft$n; ln $f hard$n; n=$((n+1)); done; ${THEN_WAIT}`,
    }),
  },
  {
    name: 'files/fifo-beside-files',
    wants: 'That whoever packs its outputs waits for a writer for ever.',
    isQuick: true,
    order: () => ({ script: `mkfifo pipe sub; echo kept > file; ${THEN_WAIT}` }),
    ends: /^succeeded/,
    check: async (ground, { id }) => {
      const names = await readdir(await fetched(ground, id));
      require(names.includes('file'), `the file beside the FIFO is not among its outputs: ${names}`);
    },
  },
  {
    name: 'files/socket-beside-files',
    wants: 'The same with a socket that is left.',
    order: () => ({
      script: `perl -MSocket -e 'socket S, AF_UNIX, SOCK_STREAM, 0; bind S, sockaddr_un("left"); listen S, 1'; echo kept > file; ${THEN_WAIT}`,
    }),
    ends: /^succeeded/,
    check: async (ground, { id }) => {
      const names = await readdir(await fetched(ground, id));
      require(names.includes('file'), `the file beside the socket is not among its outputs: ${names}`);
    },
  },
  {
    name: 'files/outputs-that-are-no-files',
    wants: 'The same with outputs that name a FIFO, a link to a device, or a link to itself.',
    order: () => ({
      script: 'mkfifo pipe; ln -s /dev/zero zeros; ln -s self self; ln -s . here; sleep 1',
      spec: { outputs: ['pipe', 'zeros', 'self', 'here/here/here', '**/*'] },
    }),
  },
  {
    name: 'files/names-that-are-not-utf-8',
    wants: 'The end of the worker that packs them, and of the next one.',
    isQuick: true,
    order: () => ({
      script: `for n in 1 2 3 4 5 6 7 8; do echo $n > file$n; done; printf x > "$(printf 'bad\\377\\376name')"; mkdir "$(printf 'd\\200')"; printf y > "$(printf 'd\\200/\\303')"; ${THEN_WAIT}`,
    }),
    ends: /^(succeeded|failed [a-zA-Z]+$)/,
  },
  {
    name: 'files/names-with-control-characters',
    wants: 'To break lists, logs and terminals that show names of files.',
    order: () => ({
      script: `printf x > "$(printf 'a\\nb')"; printf x > "$(printf '\\033]0;owned\\007')"; printf x > "$(printf '\\b\\b\\r')"; printf x > ' '; printf x > '\\'; ${THEN_WAIT}`,
    }),
    ends: /^succeeded/,
  },
  {
    name: 'files/names-like-options-and-drives',
    wants: 'That a name is taken for an option, a glob, a drive or a parent.',
    order: () => ({
      script: `for n in -rf --checkpoint=1 '--to-command=sh' C: 'C:\\x' ..x ... '*' '{a,b}' '[z' '@file' '!x' '~' '$HOME' '%s%n' nul CON; do printf x > "./$n"; done; ${THEN_WAIT}`,
    }),
    ends: /^(succeeded|failed [a-zA-Z]+$)/,
  },
  {
    name: 'files/two-hundred-thousand',
    wants: "The worker's memory and time: 200,000 empty files among its outputs.",
    order: () => ({
      script: `perl -e 'for $d (1..200) { mkdir "d$d"; for (1..1000) { open F, ">", "d$d/$_" } }'; echo made`,
      spec: { checkpoint: { everyMs: 0 } },
    }),
  },
  {
    name: 'files/sparse-sixteen-tebibytes',
    wants: 'That a file without content is read for days.',
    isBomb: true,
    order: () => ({ script: `truncate -s 15T huge || truncate -s 1T huge; printf end >> huge; ${THEN_WAIT}` }),
  },
  {
    name: 'files/nested-three-thousand-deep',
    wants: 'A path longer than the kernel takes, or a stack that runs out.',
    order: () => ({
      script: `perl -e 'for (1..3000) { mkdir "deeper-and-deeper"; chdir "deeper-and-deeper" or die } open F, ">", "bottom"'; ${THEN_WAIT}`,
    }),
  },
  {
    name: 'files/forty-thousand-hard-links',
    wants: "The packer's memory, by one file with many names.",
    order: () => ({ script: `echo x > file; perl -e 'link "file", "link$_" for 1..40000'; ${THEN_WAIT}` }),
  },
  {
    name: 'files/come-and-go-while-saved',
    wants: 'That a file which vanishes or grows under the packer ends the worker.',
    order: () => ({
      script: `(setsid perl -e 'while (1) { for (1..50) { open F, ">>", "f$_"; print F "x" x 4096; close F; unlink "f$_" if rand() < .5; mkdir "d$_"; rmdir "d$_" } }' > /dev/null 2>&1 &)
        sleep 4`,
    }),
  },
  {
    name: 'files/setuid-fetched-by-root',
    wants: 'A program with the rights of whoever fetches its outputs.',
    order: () => ({ script: 'cp /bin/sh shell; chmod 6755 shell; mkdir d; chmod 7777 d; ls -l shell' }),
    ends: /^succeeded/,
    check: async (ground, { id }) => {
      const { mode } = await lstat(join(await fetched(ground, id), 'shell'));
      require((mode & 0o6000) === 0, `fetched outputs have setuid bits: ${mode.toString(8)}`);
    },
  },
  {
    name: 'files/closed-to-everybody',
    wants: 'That outputs with no rights cannot be read, and its end is retried for ever.',
    order: () => ({ script: `mkdir d; echo x > d/f; chmod 0 d/f d; touch none; chmod 0 none; ${THEN_WAIT}` }),
  },
  {
    name: 'files/that-nobody-can-remove',
    wants: 'Files that stay on the disk for ever: immutable, or only to be appended to.',
    // FS_IOC_SETFLAGS of ioctl_iflags(2): what chattr(1) calls.
    order: () => ({
      script: `mkdir folder; echo kept > file; perl -e 'for $n ("file", "folder", ".") { for $flag (0x10, 0x20) {
        open F, "<", $n; print "$n has the flag $flag\\n" if ioctl F, 0x40086602, ($flags = pack "L!", $flag) } }'; ${THEN_WAIT}`,
    }),
    ends: /^succeeded/,
    check: (_, { stdout }) => require(stdout === 'made\n', `it could: ${stdout.slice(0, 300)}`),
  },
  {
    name: 'files/times-beyond-all-formats',
    wants: 'That a time before 1970, or far beyond it, is in no field of an archive.',
    order: () => ({
      script: `touch -d '1901-12-14' old; touch -d '2446-01-01' new; touch -d @-99999999 older; touch -d @15032385535 newest; ${THEN_WAIT}`,
    }),
  },
  {
    name: 'files/attributes-in-plenty',
    wants: 'That extended attributes do not fit where they are saved.',
    order: () => ({
      script: `perl -e 'open F, ">", "file"; for (1..200) { $n = "user.a$_"; $v = "x" x 100; syscall(188, "file", $n, $v, 100, 0) }'; ${THEN_WAIT}`,
    }),
  },
  {
    name: 'files/open-without-a-name',
    wants: 'That a large file which has lost its name is forgotten, or cannot be frozen.',
    order: () => ({
      script: `exec 3<> ghost; rm ghost; dd if=/dev/zero bs=1M count=20 >&3 2> /dev/null; sleep 3; exec 3>&-; echo end`,
    }),
  },
  {
    name: 'files/logs-replaced-by-links',
    wants: 'That Floe reads a file of root as its log.',
    order: (ground) => ({
      script: `for log in stdout stderr; do for f in ${secretFiles(ground)}; do
          ln -sf $f /floe/logs/$log; ln -sf /proc/self/environ /floe/logs/$log; mv $log /floe/logs/$log
        done; done 2>&1 | head -c 2000; ls -laR /floe 2>&1 | head -c 4000; cat /floe/control/* 2>&1 | head -c 1000; sleep 2`,
    }),
  },
  {
    name: 'files/submitted-while-they-change',
    wants: 'That a workspace which changes under `floe submit` ends or hangs the submitter.',
    runtimes: ['process'],
    order: async (ground) => {
      const workspace = join(ground.folder, 'changing');
      const changing = spawn('perl', ['-e', CHANGING, workspace], { stdio: ['ignore', 'pipe', 'ignore'] });
      try {
        await once(changing.stdout, 'data');
        await floe(ground.stage, 'submit', '--workspace', workspace, '--pool', ground.runtime, '--', 'true');
      } finally {
        changing.kill('SIGKILL');
      }
      return { script: 'true' };
    },
  },
];
