/** Which image a checkpoint may choose: its manifest is in a bucket, where others may write. */
import { expect, test } from 'vitest';
import { imageOfThaw } from './imageOf.ts';

const A = `sha256:${'a'.repeat(64)}`;
const B = `sha256:${'b'.repeat(64)}`;
const inImage = (image: string) => ({ command: [], env: {}, image });

test.each([
  [A, 'debian:12', A],
  [`debian@${A}`, 'debian:12', `debian@${A}`],
  // The digest counts: a mirror may have it under another name.
  [`mirror/debian@${A}`, `debian:12@${A}`, `mirror/debian@${A}`],
  [null, 'debian:12', 'debian:12'],
])('a checkpoint of %s is thawed for a job in %s', (recorded, known, image) => {
  expect(imageOfThaw(recorded, inImage(known))).toBe(image);
});

test.each([
  [`debian@${B}`, `debian@${A}`],
  [B, `debian@${A}`],
  ['debian:12', 'debian:12'],
  [`--privileged@${A}`, 'debian:12'],
  [`-v=/:/host@${A}`, `debian@${A}`],
  [`debian ${A}`, 'debian:12'],
  [`debian\n@${A}`, 'debian:12'],
  ['', 'debian:12'],
])('a checkpoint of %j is none of a job in %s', (recorded, known) => {
  expect(() => imageOfThaw(recorded, inImage(known))).toThrow(
    expect.objectContaining({ code: 'corrupt', message: expect.stringContaining('checkpoint') }),
  );
});
