/**
 * What every container gets mounted: the toolbox and the agent, as a folder that the engine can see. The state folder is at
 * the same place for the worker and the engine, while the worker's own program may be inside an image.
 */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { cp, mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';

export interface Bundle {
  readonly toolbox: string;
  /** The freezer's program files; the agent is among them. */
  readonly freezer: string;
  /** The agent's main file, below `freezer`. */
  readonly agent: string;
}

const FREEZER = fileURLToPath(new URL('..', import.meta.url));
const EXTENSION = extname(fileURLToPath(import.meta.url));
/**
 * Puts this version's bundle into the state folder unless it is there, and removes others. To be called when none of the
 * folder's containers runs.
 */
export async function publishBundle(stateDirectory: string, toolboxDirectory: string): Promise<Bundle> {
  const bundles = join(stateDirectory, 'bundles');
  await mkdir(bundles, { recursive: true });
  const version = await versionOf(toolboxDirectory);
  for (const name of await readdir(bundles)) {
    if (name !== version) await rm(join(bundles, name), { recursive: true, force: true });
  }
  const root = join(bundles, version);
  if (!existsSync(root)) await publish(root, toolboxDirectory);
  return { toolbox: join(root, 'toolbox'), freezer: join(root, 'freezer'), agent: `agent/main${EXTENSION}` };
}

/** Whole or not at all: what a worker left half-way has another name. */
async function publish(root: string, toolboxDirectory: string): Promise<void> {
  const making = `${root}.new`;
  try {
    await fill(making, toolboxDirectory);
    await rename(making, root);
  } catch (error) {
    await rm(making, { recursive: true, force: true });
    throw error;
  }
}

async function fill(making: string, toolboxDirectory: string): Promise<void> {
  await mkdir(join(making, 'freezer'), { recursive: true });
  await copyFolder(toolboxDirectory, join(making, 'toolbox'));
  for (const path of await programFiles()) {
    await mkdir(dirname(join(making, 'freezer', path)), { recursive: true });
    await cp(join(FREEZER, path), join(making, 'freezer', path));
  }
  // It tells Node that the agent's files are modules.
  await writeFile(join(making, 'freezer', 'package.json'), '{ "type": "module" }\n');
}

/** As links where the two are on one file system: the toolbox is never changed, but replaced as a whole. */
async function copyFolder(from: string, to: string): Promise<void> {
  const { failed } = await execa('cp', ['--archive', '--link', '--', from, to], { reject: false });
  if (!failed) return;
  await rm(to, { recursive: true, force: true });
  await execa('cp', ['--archive', '--reflink=auto', '--', from, to]);
}

async function versionOf(toolboxDirectory: string): Promise<string> {
  const hash = createHash('sha256').update(await readFile(join(toolboxDirectory, 'complete')));
  for (const path of await programFiles()) hash.update(path).update(await readFile(join(FREEZER, path)));
  return hash.digest('hex').slice(0, 16);
}

/** More than the agent needs, and still little; of packages it needs none. */
async function programFiles(): Promise<string[]> {
  const all = await readdir(FREEZER, { recursive: true });
  return all.filter((path) => extname(path) === EXTENSION && !/\.(test|d)\.[a-z]+$|testing\//.test(path)).sort();
}
