/** The reference programs under `test/programs`, compiled: what the tests freeze, move and thaw. */
import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, rename } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';

const PROGRAMS = join(import.meta.dirname, '../programs');

/** Each is described at the top of its source. */
export type ProgramName = 'memory' | 'io_uring' | 'undumpable' | 'capabilities' | 'intruder' | 'rearranger';

/**
 * Path of a compiled program: static, so that it runs in any image. Compiled once per version of its source, into a cache in
 * the system's temporary folder; safe to call from several test files at once. Throws `ExecaError` when `cc` fails.
 */
export async function program(name: ProgramName): Promise<string> {
  const sources = await sourcesOf(name);
  const hash = createHash('sha256');
  for (const path of sources) hash.update(await readFile(path));
  const directory = join(tmpdir(), 'floe-programs', hash.digest('hex').slice(0, 16));
  const target = join(directory, name);
  await mkdir(directory, { recursive: true });
  if ((await readdir(directory)).includes(name)) return target;
  const temporary = `${target}.${process.pid}`;
  const code = sources.filter((path) => path.endsWith('.c'));
  await execa('cc', ['-static', '-O2', '-pthread', '-Wall', '-Wextra', '-Werror', '-o', temporary, ...code]);
  await rename(temporary, target);
  return target;
}

/** `NAME.c`, or everything in the folder `NAME`. */
async function sourcesOf(name: ProgramName): Promise<string[]> {
  const entries = await readdir(PROGRAMS, { withFileTypes: true, recursive: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .filter((path) => path === join(PROGRAMS, `${name}.c`) || path.startsWith(join(PROGRAMS, name, '/')))
    .sort();
}
