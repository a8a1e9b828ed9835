/**
 * Workspace archives that no honest program makes. A submitter who goes around the library, or who writes to the bucket,
 * gives the worker any bytes to unpack; it must not write or change anything outside the workspace, nor run out of anything.
 */
import { randomBytes } from 'node:crypto';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import type { Attack, Ended, Ground } from '../attack.ts';
import { require } from '../breach.ts';
import { archive, bomb, entry, pax, Type } from '../tar.ts';

const GIB = 2 ** 30;

/** The job shows what it got. */
const SHOW = 'ls -lanR . 2>&1 | head -c 20000; head -c 5000 */* * 2> /dev/null; true';

function secretFiles({ stage }: Ground): readonly string[] {
  return stage.parts.canaries.files.paths;
}

function secretFolders(ground: Ground): string[] {
  return secretFiles(ground).map((path) => path.slice(0, path.lastIndexOf('/')));
}

/** The job did not begin: what is no archive is told, once. */
function failedAtOnce(_: unknown, { job }: Ended): void {
  require((job?.runs.length ?? 0) <= 1, `it was tried ${job?.runs.length} times`);
}

export const archives: Attack[] = [
  {
    name: 'archives/files-through-a-link',
    wants: 'To write into a folder of root, through a link that the archive brings.',
    order: (ground) => ({
      script: SHOW,
      archive: archive(
        ...secretFolders(ground).flatMap((folder, at) => [
          { name: `out${at}`, type: Type.symlink, link: folder },
          { name: `out${at}/planted`, content: 'planted' },
          { name: `out${at}/secret`, content: 'replaced' },
        ]),
      ),
    }),
  },
  {
    name: 'archives/files-through-a-link-to-a-link',
    wants: 'The same by links that each lead a step up, and look harmless by themselves.',
    order: (ground) => ({
      script: SHOW,
      archive: archive(
        { name: 'a', type: Type.directory, mode: 0o755 },
        { name: 'a/b', type: Type.directory, mode: 0o755 },
        { name: 'a/b/up', type: Type.symlink, link: '..' },
        { name: 'a/b/upper', type: Type.symlink, link: 'up/..' },
        { name: 'a/b/uppest', type: Type.symlink, link: 'upper/../../../../../../../../../../../..' },
        ...secretFolders(ground).map((folder) => ({ name: `a/b/uppest${folder}/planted`, content: 'planted' })),
      ),
    }),
  },
  {
    name: 'archives/modes-through-a-link',
    wants: 'To open a file of root to everybody: modes are set by name, and the name has become a link.',
    isQuick: true,
    order: (ground) => ({
      script: SHOW,
      archive: archive(
        ...secretFiles(ground).flatMap((file, at) => [
          { name: `f${at}`, content: 'x', mode: 0o4777 },
          { name: `f${at}`, type: Type.symlink, link: file },
          { name: `d${at}`, type: Type.directory, mode: 0o777 },
          { name: `d${at}/secret`, content: 'x', mode: 0o4777 },
          { name: `d${at}`, type: Type.symlink, link: file.replace(/\/secret$/, '') },
        ]),
      ),
    }),
  },
  {
    name: 'archives/hard-links-out',
    wants: 'A second name for a file of root, in the workspace.',
    order: (ground) => ({
      script: SHOW,
      archive: archive(
        ...secretFiles(ground).flatMap((file, at) => [
          { name: `absolute${at}`, type: Type.hardLink, link: file },
          { name: `relative${at}`, type: Type.hardLink, link: `${'../'.repeat(12)}${file.slice(1)}` },
          { name: `link${at}`, type: Type.symlink, link: file },
          { name: `through${at}`, type: Type.hardLink, link: `link${at}` },
          { name: `folder${at}`, type: Type.symlink, link: file.replace(/\/secret$/, '') },
          { name: `in${at}`, type: Type.hardLink, link: `folder${at}/secret` },
        ]),
      ),
    }),
  },
  {
    name: 'archives/names-that-lead-out',
    wants: 'To write where it likes, by names that are absolute or go up.',
    order: (ground) => ({
      script: SHOW,
      archive: archive(
        ...secretFolders(ground).flatMap((folder) => [
          { name: `${folder}/planted`, content: 'planted' },
          { name: `${'../'.repeat(12)}${folder.slice(1)}/planted`, content: 'planted' },
          { name: `x/../../${'../'.repeat(12)}${folder.slice(1)}/planted`, content: 'planted' },
          pax({ path: `${'../'.repeat(12)}${folder.slice(1)}/empty/planted` }),
          { name: 'harmless', content: 'planted' },
        ]),
      ),
    }),
  },
  {
    name: 'archives/names-of-the-run',
    wants: "To replace Floe's own files of the run beside the workspace: logs, control files.",
    order: () => ({
      script: SHOW,
      archive: archive(
        ...['../logs', '../logs/stdout', '../../control/status', '../tmp', '..', '.', ''].flatMap((name) => [
          { name, type: Type.directory, mode: 0o777 },
          { name: `${name}/planted`, content: 'planted' },
        ]),
        { name: 'up', type: Type.symlink, link: '..' },
        { name: 'up/logs', type: Type.directory, mode: 0o777 },
        { name: 'up/logs/stdout', type: Type.symlink, link: '/proc/self/environ' },
        { name: '.', type: Type.symlink, link: '/root' },
      ),
    }),
  },
  {
    name: 'archives/one-name-many-times',
    wants: 'That a check of one entry holds for another of the same name: folder, link, file.',
    order: (ground) => {
      const [folder = '/root'] = secretFolders(ground);
      return {
        script: SHOW,
        archive: archive(
          { name: 'd', type: Type.directory, mode: 0o755 },
          { name: 'd/x', content: 'x' },
          { name: 'd', type: Type.symlink, link: folder },
          { name: 'd/planted', content: 'planted' },
          { name: 'd/', type: Type.directory, mode: 0o777 },
          { name: './d/../d/secret', content: 'replaced' },
          { name: 'D', content: 'x' },
          { name: 'd', content: 'x' },
        ),
      };
    },
  },
  {
    name: 'archives/devices',
    wants: "A device file for the machine's memory in its workspace, and FIFOs.",
    order: () => ({
      script: `for f in *; do [ -c $f ] || [ -b $f ] && echo "device $f"; done; timeout 1 head -c 100 memory disk; true`,
      archive: archive(
        { name: 'memory', type: Type.characterDevice, mode: 0o666 },
        { name: 'disk', type: Type.blockDevice, mode: 0o666 },
        { name: 'pipe', type: Type.fifo, mode: 0o666 },
      ),
    }),
    check: (_, { stdout }) => require(!stdout.includes('device'), `it has ${stdout}`),
  },
  {
    name: 'archives/broken-in-the-middle',
    wants: 'That an archive which ends too soon hangs or ends whoever unpacks it, or counts as whole.',
    order: () => {
      const whole = archive({ name: 'large', content: randomBytes(300_000) }, { name: 'last', content: 'x' });
      return { script: SHOW, archive: whole.subarray(0, whole.length / 2) };
    },
    ends: /^failed [a-zA-Z]+$/,
    check: failedAtOnce,
  },
  {
    name: 'archives/no-archives',
    wants: 'The same with bytes of chance, which begin like an archive.',
    order: () => ({ script: SHOW, archive: Buffer.concat([archive().subarray(0, 6), randomBytes(10_000)]) }),
    ends: /^failed [a-zA-Z]+$/,
    check: failedAtOnce,
  },
  {
    name: 'archives/of-another-kind',
    wants: 'That another compression, or text in the place of headers, is taken for an archive.',
    order: () => ({ script: SHOW, archive: gzipSync(entry({ name: 'x', content: 'x' })) }),
    ends: /^failed [a-zA-Z]+$/,
    check: failedAtOnce,
  },
  {
    name: 'archives/text-for-headers',
    wants: 'That text in the place of headers is taken for an archive.',
    order: () => ({ script: SHOW, archive: zstdCompressSync(Buffer.from('no archive at all\n'.repeat(1000))) }),
    check: failedAtOnce,
  },
  {
    name: 'archives/sizes-that-lie',
    wants: 'That sizes below zero, beyond the end or beyond all disks are believed.',
    order: () => ({
      script: SHOW,
      archive: archive(
        { name: 'negative', sizeBytes: -1, content: 'x' },
        { name: 'unsound', hasChecksum: false, content: 'x' },
        { name: 'huge', sizeBytes: 2 ** 60, content: 'x' },
      ),
    }),
    check: failedAtOnce,
  },
  {
    name: 'archives/headers-that-lie',
    wants:
      'The same by extended headers: sizes, links and names that replace those of the entry, and lengths of their own.',
    order: (ground) => ({
      script: SHOW,
      archive: archive(
        pax({ size: '99999999999999999999', path: 'a' }),
        { name: 'a', content: 'x' },
        pax({ linkpath: secretFiles(ground)[0] ?? '', path: 'b' }),
        { name: 'b', type: Type.hardLink, link: 'a' },
        pax({ path: 'c\0/root/planted', 'SCHILY.xattr.user.x': 'x', mtime: '1e400', uid: '-1' }),
        { name: 'c', content: 'x' },
        { name: 'pax', type: Type.pax, content: '999999 path=x\n' },
        { name: 'd', content: 'x' },
        { name: 'long', type: Type.gnuLongName, sizeBytes: 0 },
        { name: 'e', content: 'x' },
      ),
    }),
  },
  {
    name: 'archives/setuid-of-root',
    wants: 'A program that is root for whoever runs it, in its workspace.',
    order: () => ({
      script: 'ls -ln; ./id 2> /dev/null; true',
      archive: archive({ name: 'id', mode: 0o6755, content: '#!/bin/sh\nid -u\n' }),
    }),
  },
  {
    name: 'archives/paths-a-million-long',
    wants: 'A path that is longer than any buffer for it, by extended headers.',
    order: () => ({
      script: SHOW,
      archive: archive(
        pax({ path: `${'d/'.repeat(500_000)}file` }),
        { name: 'x', content: 'x' },
        pax({ path: 'n'.repeat(100_000) }),
        { name: 'y', content: 'x' },
      ),
    }),
  },
  {
    name: 'archives/a-million-entries',
    wants: "The worker's memory and time, by an archive of three megabytes.",
    // A million is the limit. They take a slot for a minute and more, and nothing else.
    withinMs: 60_000,
    ends: /^(succeeded|failed|cancelled)/,
    order: () => {
      const some = Array.from({ length: 10_000 }, (_, number) => entry({ name: `d${number % 100}/f${number}` }));
      return { script: 'ls | head -3', archive: archive(...Array.from({ length: 100 }, () => Buffer.concat(some))) };
    },
  },
  {
    name: 'archives/bomb-of-zeros',
    wants: "The worker's disk: 64 GiB of zeros, in 2 MiB.",
    isBomb: true,
    order: () => ({
      script: 'ls -l; true',
      archive: bomb(entry({ name: 'zeros', sizeBytes: 64 * GIB }), 64 * GIB),
    }),
    ends: /^failed [a-zA-Z]+$/,
    check: failedAtOnce,
  },
  {
    name: 'archives/bomb-of-headers',
    wants: "The worker's memory: an extended header of 8 GiB.",
    isBomb: true,
    order: () => ({
      script: 'ls -l; true',
      archive: bomb(entry({ name: 'pax', type: Type.pax, sizeBytes: 8 * GIB }), 8 * GIB),
    }),
    ends: /^failed [a-zA-Z]+$/,
  },
  {
    name: 'archives/bomb-of-holes',
    wants: 'A sparse file of many tebibytes, as GNU and POSIX archives can have them.',
    isBomb: true,
    order: () => ({
      script: 'ls -l; true',
      archive: archive(
        pax({
          'GNU.sparse.major': '1',
          'GNU.sparse.minor': '0',
          'GNU.sparse.name': 's',
          'GNU.sparse.realsize': String(2 ** 50),
        }),
        { name: 's', content: `1\n${2 ** 50 - 1}\n1\n`.padEnd(512, '\0').concat('x') },
        { name: 'gnu', type: Type.gnuSparse, content: 'x' },
      ),
    }),
  },
];
