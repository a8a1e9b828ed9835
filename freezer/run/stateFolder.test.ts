import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { holdStateFolder, isAbandoned, sweepStateFolders } from './stateFolder.ts';

let directory: string;
const folder = (name: string) => join(directory, name);

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'floe-state-'));
});

afterEach(() => rm(directory, { recursive: true, force: true }));

/** A process that holds a folder, and is killed without a chance to tidy up. */
async function holdAndDie(name: string): Promise<void> {
  const module = JSON.stringify(join(import.meta.dirname, 'stateFolder.ts'));
  const code = `const { holdStateFolder } = await import(${module}); await holdStateFolder(${JSON.stringify(folder(name))}); process.stdout.write('held'); setInterval(() => {}, 1000);`;
  const holder = spawn(process.execPath, ['--input-type=module', '-e', code], { stdio: ['ignore', 'pipe', 'inherit'] });
  await once(holder.stdout, 'data');
  expect(await isAbandoned(folder(name))).toBe(false);
  holder.kill('SIGKILL');
  await once(holder, 'exit');
}

test('a folder is abandoned once its worker is dead, however that died', async () => {
  await holdAndDie('dead');
  expect(await isAbandoned(folder('dead'))).toBe(true);
  await holdStateFolder(folder('dead'));
  expect(await isAbandoned(folder('dead'))).toBe(false);
});

test('only what is certainly dead is removed', async () => {
  await Promise.all([holdStateFolder(folder('mine')), holdStateFolder(folder('other')), holdAndDie('dead')]);
  await mkdir(folder('never held'));
  await writeFile(join(folder('dead'), 'file'), '');
  await sweepStateFolders(folder('mine'));
  expect((await readdir(directory)).sort()).toEqual(['mine', 'never held', 'other']);
  expect(await isAbandoned(folder('nowhere'))).toBe(false);
});
