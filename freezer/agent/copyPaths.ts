/**
 * Copies single paths from one folder to another with all that they are: mode, owner, times, extended attributes, access
 * control lists, hard links among them, holes. Through the toolbox's tar: Node cannot, and the image may have no program at all.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';
import { FreezerError } from '../errors.ts';
import { toolCommand } from '../toolbox.ts';

const ATTRIBUTES = ['--numeric-owner', '--acls', '--xattrs', '--xattrs-include=*'];
/** The machine's own labels, and what an overlay keeps for itself. */
const LEFT_OUT = ['security.selinux', 'security.ima', 'security.evm', 'trusted.overlay.*'];
const ATTRIBUTE_OPTIONS = [...ATTRIBUTES, ...LEFT_OUT.map((name) => `--xattrs-exclude=${name}`)];
// Names are taken as they are, and a folder stands for itself alone.
const LIST_OPTIONS = ['--null', '--no-unquote', '--verbatim-files-from', '--no-recursion', '--files-from=-'];

/**
 * `paths` are relative, folders before what is in them, and `.` is the folder itself. What is in the place of a file must have
 * been removed; a folder that is there keeps its content and gets the attributes.
 * Throws `FreezerError` `diskFull`, or `failed` with tar's words: also when only an attribute was not taken.
 */
export async function copyPaths(
  from: string,
  to: string,
  paths: readonly string[],
  toolboxDirectory: string,
): Promise<void> {
  const start = (options: readonly string[]) => {
    const [program, ...prefix] = toolCommand('tar', toolboxDirectory);
    return spawn(program, [...prefix, '--warning=no-timestamp', ...options], { env: { LC_ALL: 'C' } });
  };
  const reader = start(['-C', from, '--create', '--format=posix', '--sparse', ...ATTRIBUTE_OPTIONS, ...LIST_OPTIONS]);
  const writer = start([
    '-C',
    to,
    '--extract',
    '--delay-directory-restore',
    '--same-owner',
    '--same-permissions',
    ...ATTRIBUTE_OPTIONS,
  ]);
  const ends = Promise.all([endOf(reader), endOf(writer)]);
  const list = pipeline(async function* () {
    for (const path of paths) yield `${path === '.' ? '' : './'}${path}\0`;
  }, reader.stdin);
  // Where one of them ends early, its own words tell why, and the others end with it.
  await Promise.allSettled([ends, list, pipeline(reader.stdout, writer.stdin)]);
  const [readerWords, writerWords] = await ends;
  const words = writerWords || readerWords;
  if (words !== '') throw failure(words);
}

/** Its words, also when it only warns: nothing of what a program sees may be lost silently. Empty when all went well. */
async function endOf(tar: ChildProcess): Promise<string> {
  const [words, [exitCode]] = await Promise.all([text(tar.stderr as Readable), once(tar, 'close')]);
  return words.trim() || (exitCode === 0 ? '' : `tar ended with ${exitCode}`);
}

/** A write that is cut short has met the end of the disk. */
const FULL = /No space left on device|Disk quota exceeded|Wrote only/;

function failure(words: string): FreezerError {
  const lines = words.split('\n').map((line) => line.replace(/^\S*\/tar: /, ''));
  const first = lines.slice(0, 3).join('; ');
  if (FULL.test(words))
    return new FreezerError('diskFull', `The disk is full: ${first}`, 'Free space in the state folder.');
  const what = `The files that the job changed in its container could not be copied: ${first}.`;
  return new FreezerError('failed', what, 'Keep the state folder on a file system like that of the container engine.');
}
