import { execFileSync } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { LogFile, openLog } from './logFile.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'floe-log-'));
});
afterEach(() => rm(folder, { recursive: true }));

it('reads a log that its writer has not made yet', async () => {
  const path = join(folder, 'stdout');
  await using log = await LogFile.open(path, new AbortController().signal);
  expect(await log.sizeBytes()).toBe(0);
  await writeFile(path, 'hello');
  expect(String(await log.readAt(0, 100))).toBe('hello');
});

it.each(['link', 'link to nothing', 'pipe', 'folder'])('reads nothing where a %s is in its place', async (kind) => {
  const [path, secret] = [join(folder, 'stdout'), join(folder, 'secret')];
  await writeFile(secret, 'secret');
  if (kind === 'link') await symlink(secret, path);
  else if (kind === 'link to nothing') await symlink(join(folder, 'made'), path);
  else if (kind === 'pipe') execFileSync('mkfifo', [path]);
  else await mkdir(path);
  await expect(openLog(path)).rejects.toMatchObject({ code: 'failed' });
  await expect(readFile(join(folder, 'made'))).rejects.toMatchObject({ code: 'ENOENT' });
});
