/**
 * Where settings come from, and which source wins.
 *
 * A variable that is empty counts as not set: containers are often given all of them. Not so for what protects something or says
 * where it is (`refusesEmpty`): a secret that could not be read must not turn encryption off, nor a URL that is missing move the store.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse, YAMLParseError } from 'yaml';
import { FloeError } from './errors.ts';
import { showValue, valueAt } from './explain.ts';

export interface Settings {
  /** The winning values, nested as in `floe.yaml`. */
  readonly values: Record<string, unknown>;
  /** Option → its winning value as it was written, as far as it may be shown. */
  readonly given: ReadonlyMap<string, unknown>;
  /** Option → where that value was found, for messages: `FLOE_SLOTS`, `/etc/floe/floe.yaml: worker.slots`. */
  readonly origins: ReadonlyMap<string, string>;
}

/** Throws `FloeError` `invalidOption` for a `floe.yaml` that cannot be read, is not YAML, or has an unknown option. */
export function collectSettings(
  options: readonly { path: string; env: string; refusesEmpty: boolean }[],
  sources: { flags: object; env: NodeJS.ProcessEnv; folders: readonly string[] },
): Settings {
  const file = readSettingsFile(sources.folders);
  if (file) {
    refuseUnknown(
      file,
      options.map((option) => option.path),
    );
  }
  const values: Record<string, unknown> = {};
  const given = new Map<string, unknown>();
  const origins = new Map<string, string>();
  for (const { path, env, refusesEmpty } of options) {
    if (refusesEmpty) refuseEmpty(path, env, sources.env, file);
    const candidates: Candidate[] = [
      [valueAt(sources.flags, path.split('.')), flagName(path)],
      fromEnvironment(sources.env, env),
      [valueAt(file?.settings, path.split('.')), `${file?.path}: ${path}`],
    ];
    const winner = candidates.find(([value]) => value !== undefined && value !== null);
    if (!winner) continue;
    given.set(path, winner[2] ?? winner[0]);
    origins.set(path, winner[1]);
    place(values, path.split('.'), winner[0]);
  }
  return { values, given, origins };
}

/** A value, where it was found, and what messages show in its place where it is a secret. */
type Candidate = [value: unknown, origin: string, shown?: string];

/** The variable, or the content of the file that `<variable>_FILE` names: secrets are handed to containers as files. */
function fromEnvironment(env: NodeJS.ProcessEnv, name: string): Candidate {
  const value = env[name] || undefined;
  const path = env[`${name}_FILE`];
  if (!path) return [value, name];
  if (value !== undefined) {
    throw new FloeError('invalidOption', `Both ${name} and ${name}_FILE are set.`, 'Unset one of them.');
  }
  try {
    return [readFileSync(path, 'utf8').trimEnd(), `${name}_FILE`, `what ${path} holds`];
  } catch (cause) {
    // Not the path: whoever mixes up the two variables has put the secret itself there.
    const reason = cause instanceof Error && 'code' in cause ? String(cause.code) : 'it cannot be read';
    const message = `${name}_FILE: ${reason}: the file that it names cannot be read.`;
    throw new FloeError('invalidOption', message, 'Correct the path or its permissions.');
  }
}

function refuseEmpty(path: string, env: string, variables: NodeJS.ProcessEnv, file: SettingsFile | null): void {
  const inFile = valueAt(file?.settings, path.split('.'));
  const empty = [
    ...[env, `${env}_FILE`].filter((name) => variables[name]?.trim() === ''),
    ...(inFile === null || inFile === '' ? [`${file?.path}: ${path}`] : []),
  ];
  if (empty.length === 0) return;
  throw new FloeError(
    'invalidOption',
    `${empty[0]}: it is there and empty, which could be by mistake.`,
    'Give it a value, or leave it out to have the default.',
  );
}

/** `worker.lockDurationMs` → `--lock-duration-ms`. */
function flagName(path: string): string {
  const last = path.split('.').at(-1) ?? path;
  return `--${last.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

function place(target: Record<string, unknown>, [first = '', second]: string[], value: unknown): void {
  if (second === undefined) target[first] = value;
  else target[first] = { ...(target[first] as object | undefined), [second]: value };
}

interface SettingsFile {
  readonly path: string;
  readonly settings: unknown;
}

function readSettingsFile(folders: readonly string[]): SettingsFile | null {
  for (const folder of folders) {
    const path = join(folder, 'floe.yaml');
    try {
      // Of warnings, which quote the text, a refusal or a wrong value tells as much.
      return { path, settings: parse(readFileSync(path, 'utf8'), { logLevel: 'error' }) ?? {} };
    } catch (cause) {
      if (cause instanceof Error && 'code' in cause && (cause.code === 'ENOENT' || cause.code === 'ENOTDIR')) continue;
      throw new FloeError('invalidOption', `${path}: ${whyUnread(cause)}.`, 'Correct the file or its permissions.');
    }
  }
  return null;
}

/** Without the parser's own words: they quote the line, and a password may be in it. */
function whyUnread(cause: unknown): string {
  if (cause instanceof YAMLParseError) {
    const [start] = cause.linePos ?? [];
    return `it is not YAML${start ? `, line ${start.line}, column ${start.col}` : ''} (${cause.code})`;
  }
  return cause instanceof Error && 'code' in cause ? `it cannot be read (${cause.code})` : 'it is not YAML';
}

function refuseUnknown(file: SettingsFile, known: readonly string[]): void {
  const unknown = leaves(file.settings, known).filter((path) => !known.includes(path));
  if (unknown.length === 0) return;
  throw new FloeError(
    'invalidOption',
    `${file.path}: there is no option ${unknown.map((path) => showValue(path)).join(', ')}.`,
    'Correct it; `floe config` lists every option.',
  );
}

/** The paths of what is set; a value that should be a group of options, but is none, counts as a path itself. */
function leaves(value: unknown, known: readonly string[], prefix = ''): string[] {
  const isGroup = typeof value === 'object' && value !== null && !Array.isArray(value) && !known.includes(prefix);
  if (!isGroup) return prefix === '' ? ['(the whole file)'] : [prefix];
  return Object.entries(value).flatMap(([key, inner]) =>
    leaves(inner, known, prefix === '' ? key : `${prefix}.${key}`),
  );
}
