/** Images with files that would take the engine itself along, which reads them when it starts a container. */
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { type PrivateEngine, startPrivateEngine } from '../../test/support/privateEngine.ts';
import { program } from '../../test/support/programs.ts';
import { onStage } from '../testing/stage.ts';
import { type ImageFile, importedImage } from './testing/importedImage.ts';
import { debian, debianOnPodman } from './testing/kinds.ts';

const FIFO = { node: ['p'] };
const ENDLESS = { node: ['c', '1', '5'] };
const HUGE = { zeros: 2 * 2 ** 20 };

const HARMFUL: Record<string, Record<string, ImageFile>> = {
  'a FIFO': { '/etc/passwd': FIFO },
  'an endless device': { '/etc/passwd': ENDLESS },
  'an endless device as its groups': { '/etc/group': ENDLESS, '/etc/passwd': { text: '' } },
  'a huge file': { '/etc/passwd': HUGE },
  'a link to a device': {
    '/deep/er/zero': ENDLESS,
    '/etc/passwd': { link: '../b/./c/../zero' },
    '/b': { link: '/deep/er' },
  },
  'a link to a FIFO, by a folder that is a link': {
    '/real/passwd': { link: '/fifo' },
    '/fifo': FIFO,
    '/seeming': { link: 'real' },
    '/etc/passwd': { link: '/seeming/passwd' },
  },
  'another name of a device': { '/aaa': ENDLESS, '/etc/passwd': { hardLink: '/aaa' } },
  'a volume of the image over it': { '/etc/passwd': FIFO },
};

const HARMLESS: Record<string, Record<string, ImageFile>> = {
  none: {},
  'a link to nothing': { '/etc/passwd': { link: '/proc/nothing' } },
  'links to files': {
    '/nix/passwd': { text: 'root:x:0:0::/:/bin/sh\n' },
    '/etc/passwd': { link: '../nix/passwd' },
    '/etc/group': { link: '/etc/there/../passwd' },
    '/etc/there': null,
  },
};

async function imageWith(
  engine: 'docker' | 'podman',
  files: Record<string, ImageFile>,
  title: string,
): Promise<string> {
  const says = title.startsWith('a volume') ? ['VOLUME /etc', 'VOLUME /workspace'] : [];
  return importedImage(engine, { files: { '/memory': { program: await program('memory') }, ...files }, says });
}

describe('Docker', () => {
  let engine: PrivateEngine;
  beforeAll(async () => {
    engine = await startPrivateEngine({ mostBytes: 2 ** 30 });
    vi.stubEnv('DOCKER_HOST', engine.env.DOCKER_HOST);
  });
  afterAll(async () => {
    vi.unstubAllEnvs();
    await engine[Symbol.asyncDispose]();
  });
  const stage = onStage({ open: debian.open });

  test.each(Object.entries(HARMFUL))(
    'is not given an image whose /etc/passwd or /etc/group is %s',
    async (title, files) => {
      const image = await imageWith('docker', files, title);
      const refused = stage().start(['/memory', '1', '1', 'plain'], undefined, { image });
      await expect(refused).rejects.toMatchObject({
        code: 'unsupported',
        message: expect.stringMatching(/\/etc\/(passwd|group)/),
      });
    },
  );

  test.each(Object.entries(HARMLESS))('starts one with %s', async (title, files) => {
    const image = await imageWith('docker', files, title);
    const run = await stage().start(['/memory', '1', '20', 'plain'], undefined, { image });
    expect(await run.ended).toEqual({ kind: 'exited', code: 0 });
  });
});

describe('Podman', () => {
  const stage = onStage({ open: debianOnPodman.open });

  // Nothing endless: were it not refused, Podman would take the machine's memory.
  test.each(Object.entries(HARMFUL).filter(([, files]) => !Object.values(files).includes(ENDLESS)))(
    'is not given an image whose /etc/passwd is %s',
    async (title, files) => {
      const image = await imageWith('podman', files, title);
      const refused = stage().start(['/memory', '1', '1', 'plain'], undefined, { image });
      await expect(refused).rejects.toMatchObject({
        code: 'unsupported',
        message: expect.stringContaining('/etc/passwd'),
      });
    },
  );

  test('starts one with links to files', async () => {
    const image = await imageWith('podman', HARMLESS['links to files'] ?? {}, '');
    const run = await stage().start(['/memory', '1', '20', 'plain'], undefined, { image });
    expect(await run.ended).toEqual({ kind: 'exited', code: 0 });
  });
});
