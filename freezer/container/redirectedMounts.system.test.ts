/**
 * Images, inputs and checkpoints with symbolic links where the engine mounts something. An engine follows them, and so could lead
 * an attacker's folder over Floe's own programs, which have capabilities.
 */
import { link, mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { program } from '../../test/support/programs.ts';
import type { Program, Run } from '../runtime.ts';
import { onStage, output, untilLines } from '../testing/stage.ts';
import type { EngineName } from './engine.ts';
import { type ImageContent, type ImageFile, importedImage } from './testing/importedImage.ts';
import { debian, debianOnPodman } from './testing/kinds.ts';

/** Would run in place of Floe's first programs, and leave word of it in the workspace. */
async function usurpers(): Promise<Record<string, ImageFile>> {
  const intruder = { program: await program('intruder') };
  return {
    '/floe/toolbox/bin/init': intruder,
    '/floe/toolbox/bin/check-mounts': intruder,
    '/floe/toolbox/lib/ld.so': intruder,
  };
}

interface Redirection {
  readonly files: Record<string, ImageFile>;
  /** Volumes that the image declares. */
  readonly declares?: readonly string[];
  /** Volumes that the job names. */
  readonly volumes?: readonly string[];
  /** Links in the job's input. */
  readonly input?: Record<string, string>;
}

const REDIRECTIONS: Record<string, Redirection> = {
  "the image's volume, at a link": { files: { '/a/b/c': { link: '/floe/toolbox' } }, declares: ['/a/b/c'] },
  "the job's volume, at a link": { files: { '/a/b/c': { link: '/floe/toolbox' } }, volumes: ['/a/b/c'] },
  'a volume below a link': { files: { '/a': { link: '/floe' } }, declares: ['/a/toolbox'] },
  'a volume at a relative link': { files: { '/a/b': { link: '../floe/./toolbox' } }, declares: ['/a/b'] },
  'a volume at a link to a link': {
    files: { '/a': { link: '/b' }, '/b': { link: 'floe' } },
    declares: ['/a/toolbox'],
  },
  'a volume at a link in another volume': {
    files: { '/a/b': { link: '/floe/toolbox' } },
    declares: ['/a', '/a/b'],
  },
  'a volume at a link to a file of Floe': { files: { '/a': { link: '/floe/toolbox/bin' } }, declares: ['/a'] },
  'a volume at a link to the root folder': { files: { '/a': { link: '/' } }, declares: ['/a'] },
  "a volume at a link in the job's input": {
    files: {},
    volumes: ['/workspace/data'],
    input: { data: '/floe/toolbox' },
  },
  "the image's volume below a link in the job's input": {
    files: {},
    declares: ['/workspace/data/toolbox'],
    input: { data: '../floe' },
  },
  'the workspace is a link': { files: { '/workspace': { link: '/floe/toolbox' } } },
  'a volume at a link to itself': { files: { '/a': { link: '/a' } }, declares: ['/a'] },
  'a volume where a file is': { files: { '/a': { text: '' } }, declares: ['/a'] },
};

const HARMLESS: Record<string, Redirection> = {
  'volumes in volumes, and in the workspace': {
    files: { '/data/a/b/file': { text: 'kept' }, '/lib': { link: 'usr/lib' } },
    declares: ['/data', '/data/a/b', '/workspace/c'],
  },
  'what is below a place of Floe': { files: { '/x': null, '/floe/toolbox': { link: '/x' } } },
};

/** What the image has, and its own programs in the place of Floe's unless it has something else there. */
async function contentOf({ files, declares = [] }: Redirection): Promise<ImageContent> {
  const says = declares.map((place) => `VOLUME ${place}`);
  return { files: { ...(await usurpers()), '/memory': { program: await program('memory') }, ...files }, says };
}

describe.each([
  ['docker', debian],
  ['podman', debianOnPodman],
] as const)('%s: a container is refused, and nothing of the image has run', (engine, kind) => {
  const stage = onStage({ open: kind.open });

  test.each(Object.entries(REDIRECTIONS))('%s', async (_, redirection) => {
    await refuses(engine, await contentOf(redirection), redirection);
  });

  test.each([
    ["Floe's place is a link", { '/x': null, '/floe': { link: '/x' } }],
    ["Floe's place is a link to nothing", { '/floe': { link: '/x/y' } }],
    ["Floe's place is a file", { '/floe': { text: '' } }],
  ] as const)('%s', async (_, files) => {
    await refuses(engine, { files: { ...files, '/memory': { program: await program('memory') } } }, { files });
  });

  async function refuses(name: EngineName, content: ImageContent, { volumes, input = {} }: Redirection) {
    const image = await importedImage(name, content);
    const evidence = join(stage().directory, 'evidence');
    await writeFile(evidence, '');
    const starting = stage().start(
      ['/memory', '1', '1', 'plain'],
      async (workspace) => {
        await link(evidence, join(workspace, 'intruded'));
        for (const [path, target] of Object.entries(input)) await symlink(target, join(workspace, path));
      },
      { image, ...(volumes ? { volumes } : {}) },
    );
    const [started] = await Promise.allSettled([starting]);
    expect(await readFile(evidence, 'utf8')).toBe('');
    const reason = { code: 'unsupported', remedy: expect.stringContaining('links') };
    expect(started).toMatchObject({ status: 'rejected', reason });
  }

  test.each(Object.entries(HARMLESS))('unless it is harmless: %s', async (_, { files, declares = [] }) => {
    const content = { ...files, '/memory': { program: await program('memory') } };
    const image = await importedImage(engine, { files: content, says: declares.map((place) => `VOLUME ${place}`) });
    const run = await stage().start(['/memory', '1', '20', 'plain'], undefined, { image });
    expect(await run.ended).toEqual({ kind: 'exited', code: 0 });
  });
});

describe('a job that puts a link above a volume of its own', () => {
  const stage = onStage(debian);

  test('is not thawed: the volume would be where the link leads', async () => {
    const more: Partial<Program> = { volumes: ['/workspace/a/toolbox'] };
    const script = 'mkdir a/toolbox/bin; mv a moved && ln -s /floe a; echo ready; exec sleep 1000';
    const run: Run = await stage().start(['sh', '-c', script], (workspace) => mkdir(join(workspace, 'a')), more);
    await untilLines(run, 1);
    expect([await output(run), await readFile(run.logs.stderr, 'utf8')]).toEqual(['ready\n', '']);
    await expect(stage().move(run, 1, more)).rejects.toMatchObject({ code: 'unsupported' });
  });
});
