/** What the reference job makes when nobody is in its way. */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { program } from './programs.ts';

/** `words` as for the program; its output does not depend on its pace. `record` is its file `memory.record`. */
export async function undisturbed(words: readonly string[]): Promise<{ stdout: string; record: string }> {
  const folder = await mkdtemp(join(tmpdir(), 'floe-undisturbed-'));
  try {
    const { stdout } = await execa(await program('memory'), [...words, '--pace-ms', '0'], {
      cwd: folder,
      reject: false,
      stripFinalNewline: false,
    });
    return { stdout, record: await readFile(join(folder, 'memory.record'), 'utf8') };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
