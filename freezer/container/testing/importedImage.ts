/** Images that say and hold what no Dockerfile would, made from a list of files. */
import { chmod, copyFile, link, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { execa } from 'execa';
import { onTestFinished } from 'vitest';
import { requireEngine } from '../../../test/support/engine.ts';
import type { EngineName } from '../engine.ts';

/**
 * Where a symbolic link leads, of which file it is another name, which program of this machine is there, what a file says, how long a
 * file of zeros is, or what `mknod` makes; null is a folder.
 */
export type ImageFile =
  | { readonly link: string }
  | { readonly hardLink: string }
  | { readonly program: string }
  | { readonly text: string }
  | { readonly zeros: number }
  | { readonly node: readonly string[] }
  | null;

export interface ImageContent {
  /** By absolute path; the folders above are made. */
  readonly files: Readonly<Record<string, ImageFile>>;
  /** What a Dockerfile would say, for example `VOLUME /data`. */
  readonly says?: readonly string[];
}

/** Its id. It is removed when the test is over. */
export async function importedImage(engine: EngineName, { files, says = [] }: ImageContent): Promise<string> {
  await requireEngine(engine);
  const root = await mkdtemp(join(tmpdir(), 'floe-test-image-'));
  try {
    for (const [path, file] of Object.entries(files)) await make(root, path, file);
    const archive = await execa('tar', ['-C', root, '-c', '.'], { encoding: 'buffer' });
    const changes = says.flatMap((line) => ['--change', line]);
    const { stdout } = await execa(engine, ['import', ...changes, '-'], { input: archive.stdout });
    const id =
      stdout
        .trim()
        .split('\n')
        .at(-1)
        ?.replace(/^(sha256:)?/, 'sha256:') ?? '';
    onTestFinished(async () => void (await execa(engine, ['image', 'rm', '--force', id], { reject: false })));
    return id;
  } finally {
    await rm(root, { recursive: true, force: true });
  }
}

async function make(root: string, place: string, file: ImageFile): Promise<void> {
  const path = join(root, place);
  await mkdir(dirname(path), { recursive: true });
  if (file === null) await mkdir(path, { recursive: true });
  else if ('link' in file) await symlink(file.link, path);
  else if ('hardLink' in file) await link(join(root, file.hardLink), path);
  else if ('text' in file) await writeFile(path, file.text);
  else if ('zeros' in file) await execa('truncate', ['--size', String(file.zeros), path]);
  else if ('node' in file) await execa('mknod', [path, ...file.node]);
  else {
    await copyFile(file.program, path);
    await chmod(path, 0o755);
  }
}
