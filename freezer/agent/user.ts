/**
 * Who a job runs as, by the container's own /etc/passwd and /etc/group, the way Docker reads them (moby/sys, user/user.go,
 * GetExecUser): a name comes before a number that is the same, and numbers need not be in the files, which an image may lack.
 */
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { FreezerError } from '../errors.ts';
import { FLOE_UID } from './protocol.ts';

export interface JobUser {
  readonly uid: number;
  readonly gid: number;
  /** Supplementary groups. */
  readonly groups: readonly number[];
}

/** More than any image has; a job's image may have anything there. */
const LARGEST_FILE_BYTES = 4 * 2 ** 20;
const NOT_THERE = ['ENOENT', 'ENOTDIR'];
/** Ids that Docker takes. */
const LARGEST_ID = 2 ** 31 - 1;
const ANYWHERE = '/';

interface PasswdEntry {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
  readonly home: string;
}

interface GroupEntry {
  readonly name: string;
  readonly gid: number;
  readonly members: readonly string[];
}

/**
 * Throws `FreezerError` `unsupported` for a name that the container's files do not have, for files that are none or too large, and
 * for Floe's own user.
 */
export async function resolveUser(user: string): Promise<JobUser & { readonly home: string }> {
  return findUser(user, await readIfThere('/etc/passwd'), await readIfThere('/etc/group'));
}

/** `user` is `user[:group]`, each a name or a number; empty is root. `passwd` and `group` are the files' texts. */
export function findUser(user: string, passwd: string, group: string): JobUser & { readonly home: string } {
  const [userPart = '', groupPart = ''] = user.split(':');
  const entry = findEntry(passwdEntries(passwd), userPart || '0', ({ uid }) => uid);
  const uid = entry?.uid ?? asId(userPart || '0');
  if (uid === null) throw unknown('user', userPart, '/etc/passwd');
  if (uid === FLOE_UID) {
    const message = `The job would run as the user ${FLOE_UID}, to whom Floe's own folders in its container belong.`;
    throw new FreezerError('unsupported', message, 'Submit it with another user.');
  }
  const groups = groupEntries(group);
  const home = entry?.home || ANYWHERE;
  if (groupPart === '') {
    const gid = entry?.gid ?? 0;
    const others = entry ? groups.filter(({ members }) => members.includes(entry.name)).map((its) => its.gid) : [];
    return { uid, gid, groups: [...new Set([gid, ...others])], home };
  }
  const gid = findEntry(groups, groupPart, (its) => its.gid)?.gid ?? asId(groupPart);
  if (gid === null) throw unknown('group', groupPart, '/etc/group');
  return { uid, gid, groups: [gid], home };
}

function findEntry<T extends { readonly name: string }>(
  entries: readonly T[],
  wanted: string,
  idOf: (entry: T) => number,
): T | undefined {
  return entries.find(({ name }) => name === wanted) ?? entries.find((entry) => idOf(entry) === asId(wanted));
}

/** Lines that are not of the format are passed over. */
function passwdEntries(text: string): PasswdEntry[] {
  return text.split('\n').flatMap((line) => {
    const [name = '', , uidText = '', gidText = '', , home = ''] = line.split(':');
    const [uid, gid] = [asId(uidText), asId(gidText)];
    return name === '' || uid === null || gid === null ? [] : [{ name, uid, gid, home }];
  });
}

function groupEntries(text: string): GroupEntry[] {
  return text.split('\n').flatMap((line) => {
    const [name = '', , gidText = '', members = ''] = line.split(':');
    const gid = asId(gidText);
    return name === '' || gid === null ? [] : [{ name, gid, members: members.split(',') }];
  });
}

function asId(text: string): number | null {
  const id = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  return id <= LARGEST_ID ? id : null;
}

/** Empty where nothing is, as in an image of one static program. */
export async function readIfThere(path: string): Promise<string> {
  // Without O_NONBLOCK a FIFO would be waited for.
  const opening = open(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
  await using file = await opening.catch((error: NodeJS.ErrnoException) => {
    if (NOT_THERE.includes(error.code ?? '')) return null;
    throw unreadable(path, error.message);
  });
  if (file === null) return '';
  const stats = await file.stat();
  if (!stats.isFile()) throw unreadable(path, 'it is no file');
  if (stats.size > LARGEST_FILE_BYTES) throw unreadable(path, 'it is too large');
  return file.readFile('utf8');
}

function unreadable(path: string, why: string): FreezerError {
  const what = `The users of the job's image cannot be read from ${path}: ${why}.`;
  return new FreezerError('unsupported', what, 'Correct that file of the image.');
}

function unknown(what: string, name: string, file: string): FreezerError {
  return new FreezerError(
    'unsupported',
    `The job would run as the ${what} ${JSON.stringify(name)}, which its image does not have in ${file}.`,
    `Submit it with a ${what} that the image knows, or with a number.`,
  );
}
