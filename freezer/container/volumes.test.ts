/** Which places of an image's and a job's volumes become volumes. */
import { expect, test } from 'vitest';
import { newVolumePlaces, volumePlaces } from './volumes.ts';

test('each place is there once, in its shortest form, whoever names it, and what every job has is none', () => {
  const ofImage = ['/var/lib/data/', '/srv//b', '/srv/x/../b', '/workspace/', '/dev/shm'];
  const volumes = volumePlaces({ volumes: ['/var/lib/data', '/opt/a'] }, { volumes: ofImage });
  expect(volumes).toEqual(['/opt/a', '/srv/b', '/var/lib/data']);
});

test.each([
  '/',
  '//',
  '/srv/..',
  '/proc',
  '/proc/1',
  '/sys/fs',
  '/dev',
  '/dev/shm/mine',
  '/floe/logs/mine',
  '/floe/',
  '/floe/images',
  'data',
])('%s cannot be a volume', (path) => {
  expect(() => volumePlaces({}, { volumes: [path] })).toThrow(
    expect.objectContaining({ code: 'unsupported', message: expect.stringContaining('cannot be one') }),
  );
});

test.each(['/data:ro', '/a\nb', '/a\tb'])('%j has a name that cannot be told to an engine', (path) => {
  expect(() => volumePlaces({ volumes: [path] }, { volumes: [] })).toThrow(
    expect.objectContaining({ code: 'unsupported', message: expect.stringContaining(JSON.stringify(path)) }),
  );
});

test('an image with more volumes than an engine can be asked for in time is refused, and its old checkpoints can be thawed', () => {
  const volumes = Array.from({ length: 101 }, (_, number) => `/v${number}`);
  expect(() => newVolumePlaces({}, { volumes })).toThrow(
    expect.objectContaining({ code: 'unsupported', message: expect.stringContaining('101 volumes') }),
  );
  expect(newVolumePlaces({}, { volumes: volumes.slice(1) })).toHaveLength(100);
  expect(volumePlaces({}, { volumes })).toHaveLength(101);
});
