/** Files of root that no job may read or change: each in a closed folder of its own, in the places where secrets are. */
import { lstat, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { messageOf } from './breach.ts';
import type { Tokens } from './tokens.ts';

const PLACES = ['/root', '/etc', '/var/lib', '/run', '/opt', '/srv'];

interface Look {
  readonly content: string;
  readonly names: readonly string[];
  readonly attributes: readonly unknown[];
}

export class CanaryFiles implements AsyncDisposable {
  /** Of the files, for attackers, who know where secrets are. */
  readonly paths: string[] = [];
  readonly #folders: string[] = [];
  readonly #before = new Map<string, Look>();

  /** `folders`: more places, which are there already. */
  static async plant(tokens: Tokens, folders: readonly string[]): Promise<CanaryFiles> {
    const files = new CanaryFiles();
    try {
      for (const place of [...PLACES, ...folders]) await files.#plant(place, tokens);
      return files;
    } catch (error) {
      await files[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** What has become of them, in words; empty when nothing has. */
  async changes(): Promise<string[]> {
    const changes: string[] = [];
    for (const [path, before] of this.#before) {
      const now = await look(path).catch(messageOf);
      if (!isDeepStrictEqual(now, before)) changes.push(`${path} is no longer what it was: ${JSON.stringify(now)}`);
    }
    return changes;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const folder of this.#folders) await rm(folder, { recursive: true, force: true });
  }

  async #plant(place: string, tokens: Tokens): Promise<void> {
    const folder = await mkdtemp(join(place, 'floe-hostile-'));
    this.#folders.push(folder);
    await mkdir(join(folder, 'empty'), { mode: 0o700 });
    const path = join(folder, 'secret');
    await writeFile(path, `${tokens.make(`the file ${path}`)}\n`, { mode: 0o600 });
    this.paths.push(path);
    this.#before.set(path, await look(path));
  }
}

/** Everything that an attacker could change; not the time of the last reading, which backups change too. */
async function look(path: string): Promise<Look> {
  const folder = join(path, '..');
  const stats = await Promise.all([path, folder, join(folder, 'empty')].map((each) => lstat(each)));
  return {
    content: await readFile(path, 'utf8'),
    names: [...(await readdir(folder)).sort(), ...(await readdir(join(folder, 'empty')))],
    attributes: stats.map(({ mode, uid, gid, ino, nlink, mtimeMs }) => [mode, uid, gid, ino, nlink, mtimeMs]),
  };
}
