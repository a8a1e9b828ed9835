/**
 * Extended attributes (xattr(7)) of a tree: Node has no calls for them. They are read by an addon of the toolbox's, or by its `getfattr`
 * where Node does not load that, and set by its `setfattr`.
 *
 * What moves is what a program can have meant: `user.*`, access control lists, file capabilities, and `trusted.*`. Labels of
 * the machine's own (`security.selinux` and the like) stay behind: they name a policy that the next machine may not have.
 *
 * The tools' format, in both directions: `# file: <path>` and then `<name>=0x<hex>` lines, a blank line after each file, bytes
 * of paths and names that would be mistaken as `\` and three octal digits.
 */
import { join } from 'node:path';
import { execa } from 'execa';
import { loadAddon } from '../addon.ts';
import { FreezerError } from '../errors.ts';
import { toolCommand } from '../toolbox.ts';
import type { FileEntry } from './format.ts';
import { pathTooLong } from './longPaths.ts';

/** Name and value, the value in base64. */
export type ExtendedAttributes = [name: string, value: string][];

/** Which attributes move, as zod and the reader of getfattr's answer check it. */
export const MOVING_ATTRIBUTE =
  /^(user\..+|trusted\.(?!overlay\.).+|security\.capability|system\.posix_acl_(access|default))$/s;
/** The same for getfattr, roughly. */
const WANTED = '^(user\\.|trusted\\.|security\\.capability$|system\\.posix_acl_)';
const MOST_OUTPUT_BYTES = 2 ** 30;
const FILE_LINE = '# file: ';

/** By native/extendedAttributes.c: names and values. */
interface Addon {
  readonly read: (path: string) => [Buffer, Buffer][];
}

/** Gives the attributes of what is at a path below `root`. Throws as `readExtendedAttributes` does, and what the file system says. */
export type AttributeReader = (path: string) => ExtendedAttributes;

/** Without a program where the toolbox has the addon: none is to be started while a job stands still. */
export async function attributeReader(root: string, toolboxDirectory: string): Promise<AttributeReader> {
  const addon = loadAddon<Addon>(toolboxDirectory, 'extended-attributes');
  if (addon) {
    return (path) =>
      addon.read(join(root, path)).flatMap(([name, value]) => moving(asText(name.toString('latin1')), value));
  }
  const attributes = await readExtendedAttributes(root, toolboxDirectory);
  return (path) => attributes.get(path) ?? [];
}

/** None for one that stays behind. */
function moving(name: string, value: Buffer): ExtendedAttributes {
  return MOVING_ATTRIBUTE.test(name) ? [[name, value.toString('base64')]] : [];
}

/**
 * The attributes of everything below `root` that has any, by path. Symbolic links are not followed, and have their own.
 * Throws `FreezerError` `cannotFreeze` for an attribute whose name is not UTF-8, and where a path is too long for getfattr.
 */
export async function readExtendedAttributes(
  root: string,
  toolboxDirectory: string,
): Promise<Map<string, ExtendedAttributes>> {
  const [program, ...prefix] = toolCommand('getfattr', toolboxDirectory);
  const options = ['-R', '-P', '-h', '-d', '-m', WANTED, '-e', 'hex', '--', '.'];
  const found = await execa(program, [...prefix, ...options], {
    cwd: root,
    env: { LC_ALL: 'C' },
    encoding: 'buffer',
    maxBuffer: MOST_OUTPUT_BYTES,
    reject: false,
  });
  if (!found.failed) return parse(Buffer.from(found.stdout));
  const words = Buffer.from(found.stderr ?? '').toString('latin1');
  const tooLong = /^getfattr: \.\/(.*): File name too long$/m.exec(words)?.[1];
  throw tooLong === undefined ? found : pathTooLong(tooLong);
}

/** Strict: a line that is not understood is an error, and no attribute is lost silently. */
function parse(output: Buffer): Map<string, ExtendedAttributes> {
  const byPath = new Map<string, ExtendedAttributes>();
  let attributes: ExtendedAttributes | undefined;
  for (const line of linesOf(output)) {
    if (line === '') attributes = undefined;
    else if (attributes === undefined) attributes = beginFile(line, byPath);
    else addAttribute(line, attributes);
  }
  return byPath;
}

/** As latin1: one character a byte. A line ends at `\n` only. */
function* linesOf(output: Buffer): Generator<string> {
  let at = 0;
  while (at < output.length) {
    const newline = output.indexOf(0x0a, at);
    const end = newline < 0 ? output.length : newline;
    yield output.toString('latin1', at, end);
    at = end + 1;
  }
}

function beginFile(line: string, byPath: Map<string, ExtendedAttributes>): ExtendedAttributes {
  if (!line.startsWith(FILE_LINE)) throw new Error(`getfattr answered ${JSON.stringify(line)}.`);
  const attributes: ExtendedAttributes = [];
  byPath.set(unquote(line.slice(FILE_LINE.length)), attributes);
  return attributes;
}

function addAttribute(line: string, attributes: ExtendedAttributes): void {
  const match = /^([^=]+)=0x((?:[0-9a-f]{2})*)$/s.exec(line);
  if (!match) throw new Error(`getfattr answered ${JSON.stringify(line)}.`);
  attributes.push(...moving(unquote(match[1] ?? ''), Buffer.from(match[2] ?? '', 'hex')));
}

function unquote(latin1: string): string {
  return asText(latin1.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8))));
}

/** `bytes`: one character each. Throws `FreezerError` `cannotFreeze` where they are not UTF-8. */
function asText(bytes: string): string {
  const text = Buffer.from(bytes, 'latin1').toString('utf8');
  if (Buffer.from(text).toString('latin1') === bytes) return text;
  const what = `The job cannot be frozen: the name of a file or of an extended attribute is not UTF-8: ${text}.`;
  throw new FreezerError('cannotFreeze', what, 'Let the program use UTF-8 in names.');
}

/** Reasons of the file system's, as setfattr words them in the C locale: not the checkpoint's fault. */
const REFUSAL = /Operation not supported|Operation not permitted|No space left|quota exceeded|Argument list too long/;

/**
 * Sets what the entries have. To be called after their owners are set, which takes file capabilities away.
 *
 * A file system that refuses an attribute makes this throw `FreezerError` `cannotRun`: a program that has set one reads it again,
 * so the job waits for a machine that can hold it, instead of going on without. `corrupt` for an attribute that none takes.
 */
export async function setExtendedAttributes(
  root: string,
  entries: readonly FileEntry[],
  toolboxDirectory: string,
): Promise<void> {
  const input = entries.map(describe).join('');
  if (input === '') return;
  const [program, ...prefix] = toolCommand('setfattr', toolboxDirectory);
  // Without following a link: every path is one that was made here, in a folder that was made here.
  const { failed, stderr, shortMessage } = await execa(program, [...prefix, '-h', '--restore=-'], {
    cwd: root,
    env: { LC_ALL: 'C' },
    input,
    reject: false,
    maxBuffer: { stderr: 20_000 },
  });
  if (!failed) return;
  const words = stderr.split('\n')[0] || shortMessage;
  if (!REFUSAL.test(stderr)) {
    const what = `The checkpoint is corrupt: its extended attributes cannot be set: ${words}.`;
    throw new FreezerError('corrupt', what, 'Floe falls back to the checkpoint before it.');
  }
  const what = `The state folder's file system does not take an extended attribute of the job's files: ${words}.`;
  throw new FreezerError('cannotRun', what, 'Put the state folder on the kind of disk that the job came from.');
}

function describe(entry: FileEntry): string {
  if (entry.type === 'link' || !entry.xattrs?.length) return '';
  const lines = entry.xattrs.map(
    ([name, value]) => `${quote(name)}=0x${Buffer.from(value, 'base64').toString('hex')}\n`,
  );
  return `${FILE_LINE}${quote(entry.path)}\n${lines.join('')}\n`;
}

/** Whatever is not plainly printable, and the two bytes that have a meaning. */
function quote(text: string): string {
  const octal = (byte: string) => `\\${byte.charCodeAt(0).toString(8).padStart(3, '0')}`;
  return Buffer.from(text)
    .toString('latin1')
    .replace(/[^!-~]|[\\=]/g, octal);
}
