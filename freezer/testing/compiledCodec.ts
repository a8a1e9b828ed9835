/** A toolbox that has nothing but the codec: for tests that need no more of it. */
import { createHash } from 'node:crypto';
import { mkdir, readFile, rename } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { execa } from 'execa';

const SOURCE = join(import.meta.dirname, '../checkpoint/native/codec.c');

/** Compiled each time, as set-up does it, in a folder by its content: several test files may be at it. Throws `ExecaError` when `cc` fails. */
export async function compiledCodec(): Promise<string> {
  const hash = createHash('sha256')
    .update(await readFile(SOURCE))
    .update(process.version);
  const directory = join(tmpdir(), 'floe-codec', hash.digest('hex').slice(0, 16));
  const target = join(directory, 'lib/codec.node');
  await mkdir(dirname(target), { recursive: true });
  const temporary = `${target}.${process.pid}`;
  const include = join(dirname(process.execPath), '../include/node');
  const options = ['-shared', '-fPIC', '-O2', '-Wall', '-Wextra', '-Werror', '-Wl,-z,now'];
  await execa('cc', [...options, '-I', include, '-o', temporary, SOURCE]);
  await rename(temporary, target);
  return directory;
}
