/** The images that tests run jobs in: one folder each, with a Dockerfile that says what is particular about it. */
import { createHash } from 'node:crypto';
import { copyFile, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import type { TestEngine } from '../support/engine.ts';
import { program } from '../support/programs.ts';

/** Each has the reference job `memory`: `static` at `/memory`, the others at `/usr/local/bin/memory`. */
export type TestImageName = 'debian' | 'musl' | 'static' | 'configured';

const IMAGES = import.meta.dirname;
const MEMORY = join(IMAGES, '../programs/memory');

/**
 * The name of an image that the engine has, for example `floe-test/musl:0123456789abcdef`. Built once per version of its
 * sources, by Docker; Podman gets it from Docker. The image of an older version is removed.
 *
 * @throws ExecaError when the image cannot be built
 */
export async function testImage(engine: TestEngine, name: TestImageName): Promise<string> {
  const docker: TestEngine = { ...engine, cli: 'docker' };
  const image = `floe-test/${name}:${await version(name)}`;
  if (await has(engine, image)) return image;
  if (!(await has(docker, image))) await build(docker, name, image);
  if (engine.cli === 'podman') await handOver(engine, image);
  await removeOthers(engine, image);
  return image;
}

/** A hash of everything that the image is made from. */
async function version(name: TestImageName): Promise<string> {
  const hash = createHash('sha256').update(await readFile(import.meta.filename));
  hash.update(await readFile(join(IMAGES, name, 'Dockerfile')));
  for (const source of (await readdir(MEMORY)).sort()) hash.update(await readFile(join(MEMORY, source)));
  return hash.digest('hex').slice(0, 16);
}

async function has({ cli, env }: TestEngine, image: string): Promise<boolean> {
  const { stdout } = await execa(cli, ['image', 'ls', '--quiet', image], { env });
  return stdout !== '';
}

async function build({ cli, env }: TestEngine, name: TestImageName, image: string): Promise<void> {
  const context = await mkdtemp(join(tmpdir(), 'floe-test-image-'));
  try {
    await copyFile(join(IMAGES, name, 'Dockerfile'), join(context, 'Dockerfile'));
    if (name === 'musl') await compileWithMusl(join(context, 'memory-musl'));
    else await copyFile(await program('memory'), join(context, 'memory'));
    await execa(cli, ['build', '--tag', image, context], { env });
  } finally {
    await rm(context, { recursive: true, force: true });
  }
}

async function compileWithMusl(target: string): Promise<void> {
  const sources = (await readdir(MEMORY))
    .filter((source) => source.endsWith('.c'))
    .map((source) => join(MEMORY, source));
  await execa('musl-gcc', ['-O2', '-pthread', '-Wall', '-Wextra', '-Werror', '-o', target, ...sources]);
}

async function handOver({ env }: TestEngine, image: string): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'floe-test-image-'));
  try {
    await execa('docker', ['save', '--output', join(folder, 'image.tar'), image], { env });
    await execa('podman', ['load', '--quiet', '--input', join(folder, 'image.tar')], { env });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Removes the images of older versions, and what building them left without a name. One in use stays for the next time. */
async function removeOthers({ cli, env }: TestEngine, image: string): Promise<void> {
  const format = '{{.Repository}}:{{.Tag}}';
  const [repository = ''] = image.split(':');
  const { stdout } = await execa(cli, ['image', 'ls', '--format', format, repository], { env });
  const others = stdout.split('\n').filter((other) => other.includes(`${repository}:`) && !other.endsWith(image));
  for (const other of others) await execa(cli, ['image', 'rm', other], { env, reject: false });
  await execa(cli, ['image', 'prune', '--force', '--filter', 'label=floe-test'], { env });
}
