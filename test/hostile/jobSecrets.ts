/**
 * What the operator gives to the jobs of each pool. Any of them may ask for both: only an honest job reads the password, and
 * the other is no secret.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Tokens } from './tokens.ts';

export const PASSWORD = 'password';
export const HARMLESS = 'harmless';
/** The whole of it. */
export const HARMLESS_TEXT = 'known to everybody\n';

/** `folder`: what workers have as FLOE_SECRETS_DIR. It is made. */
export async function plantJobSecrets(folder: string, pools: readonly string[], tokens: Tokens): Promise<void> {
  for (const pool of pools) {
    await mkdir(join(folder, pool), { recursive: true, mode: 0o700 });
    await writeFile(join(folder, pool, PASSWORD), tokens.make(`the password of the pool ${pool}`), { mode: 0o600 });
    await writeFile(join(folder, pool, HARMLESS), HARMLESS_TEXT, { mode: 0o600 });
  }
}
