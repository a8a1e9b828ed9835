/** Where images are kept: real tmpfs, real disks, and processes that die. */
import { execFileSync } from 'node:child_process';
import { chmod, mkdir, mkdtemp, readdir, rm, stat, statfs } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { warningsOf } from '../../test/support/warnings.ts';
import { makeRunFolder, removeRunFolder } from './folder.ts';
import { isInMemory, openImagesPlace, openInState, warnOfDisk } from './imagesPlace.ts';
import { promiseRoomForImages, requireRoomForImages, roomForImages } from './roomForImages.ts';

let directory: string;
let memory: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'floe-images-'));
  memory = await mkdtemp('/dev/shm/floe-images-');
});

afterEach(async () => {
  await rm(directory, { recursive: true, force: true });
  await rm(memory, { recursive: true, force: true });
});

describe('images are kept', () => {
  test('in memory, in a folder that only Floe and its agent can enter, and go with their run', async () => {
    const images = await openImagesPlace(memory, directory);
    const folder = await makeRunFolder({ stateDirectory: directory, images }, 'run');
    expect(images.isMemory).toBe(true);
    expect(folder.images.startsWith(`${memory}/`)).toBe(true);
    expect((await stat(folder.images)).mode & 0o7777).toBe(0o700);
    expect(await readdir(folder.root)).not.toContain('images');
    await removeRunFolder(folder);
    expect(await readdir(images.directory)).toEqual(['alive.sock', 'common']);
  });

  test('on a disk where that is asked for, which is said once', async () => {
    const words = await warningsOf(async () => {
      for (let at = 0; at < 3; at++) {
        expect(await openImagesPlace(directory, join(directory, 'state'))).toMatchObject({ isMemory: false });
      }
    });
    expect(words).toEqual([expect.stringContaining(`written to ${directory}, on a disk`)]);
  });

  test('in the state folder where there is no other place, which is said with the reason', async () => {
    const words = await warningsOf(async () => {
      for (let at = 0; at < 3; at++) warnOfDisk(await openInState(directory), 'The engine sees another /dev/shm.');
    });
    expect(words).toEqual([
      expect.stringMatching(/^The engine sees another \/dev\/shm\. CRIU's images.*FLOE_IMAGES_DIR/),
    ]);
    expect(await readdir(directory)).toEqual(['images']);
  });

  test('nowhere that somebody else could have prepared', async () => {
    const shared = join(memory, 'shared');
    await mkdir(shared);
    await chmod(shared, 0o777);
    await expect(openImagesPlace(shared, directory)).rejects.toMatchObject({ code: 'cannotRun' });
    expect(await readdir(shared)).toEqual([]);
  });
});

test('what a dead process left is removed by the next one, and what a live one has stays', async () => {
  const module = join(import.meta.dirname, 'imagesPlace.ts');
  const program = `
    const { openImagesPlace } = await import(${JSON.stringify(module)});
    const { directory } = await openImagesPlace(${JSON.stringify(memory)}, ${JSON.stringify(directory)});
    (await import('node:fs')).writeFileSync(directory + '/pages-1.img', 'secret');
    process.kill(process.pid, 'SIGKILL');`;
  const crash = () => execFileSync(process.execPath, ['--input-type=module', '--eval', program], { stdio: 'ignore' });
  expect(crash).toThrow();
  const [left] = await readdir(memory);
  expect(await readdir(join(memory, left ?? ''))).toContain('pages-1.img');
  const images = await openImagesPlace(memory, directory);
  expect((await readdir(memory)).map((name) => join(memory, name))).toEqual([images.directory]);
  expect(crash).toThrow();
  expect(await readdir(images.directory)).toEqual(['alive.sock', 'common']);
});

describe('room', () => {
  test('is what the place has free, and a job that does not fit is told so', async () => {
    expect(await isInMemory(memory)).toBe(true);
    expect(await isInMemory(directory)).toBe(false);
    for (const place of [memory, directory]) {
      expect(await roomForImages(place, 2 ** 20)).toBe(true);
      expect(await roomForImages(place, 2 ** 50)).toBe(false);
      expect(await promiseRoomForImages(place, 2 ** 50)).toBeNull();
      await requireRoomForImages(place, 2 ** 20);
      await expect(requireRoomForImages(place, 2 ** 50)).rejects.toMatchObject({
        code: 'diskFull',
        message: expect.stringContaining('has room for'),
      });
    }
  });

  test('two that are dumped at once do not count on the same', async () => {
    const { bavail, bsize } = await statfs(memory);
    const most = Math.min(bavail * bsize, process.availableMemory()) * 0.6;
    {
      using first = await promiseRoomForImages(memory, most);
      expect(first).not.toBeNull();
      expect(await promiseRoomForImages(memory, most)).toBeNull();
    }
    using again = await promiseRoomForImages(memory, most);
    expect(again).not.toBeNull();
  });
});
