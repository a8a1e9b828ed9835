/** `intrude`, compiled: what hostile jobs bring along for what no shell can do. Its source says what it tries. */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';

const SOURCE = join(import.meta.dirname, 'programs/intrude.c');
let compiled: Promise<Buffer> | undefined;

/** The program, static, so that it runs in any image. */
export function intrude(): Promise<Buffer> {
  compiled ??= compile();
  return compiled;
}

async function compile(): Promise<Buffer> {
  const folder = await mkdtemp(join(tmpdir(), 'floe-hostile-program-'));
  try {
    const target = join(folder, 'intrude');
    await execa('cc', ['-static', '-O2', '-pthread', '-Wall', '-Wextra', '-Werror', '-o', target, SOURCE]);
    return await readFile(target);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
