/** Claims of docs/security.md name their tests: each file must be there, and have the words of each title. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';

const ROOT = join(import.meta.dirname, '..');
const PAGE = readFileSync(join(ROOT, 'docs/security.md'), 'utf8').replace(/\s+/g, ' ');

/** `file` alone, or with titles in double quotes after a colon. A section's page stands for titles without a file. */
const CLAIMS = Array.from(
  PAGE.matchAll(/`([\w./-]+\.ts)`(?:: ((?:"[^"]+"(?:, )?)+))?/g),
  ([, file = '', titles = '']) => ({
    file,
    titles: Array.from(titles.matchAll(/"([^"]+)"/g), ([, title = '']) => title),
  }),
);

describe('the tests that docs/security.md names', () => {
  test('are many', () => expect(CLAIMS.length).toBeGreaterThan(30));

  test.each(CLAIMS)('$file has $titles', ({ file, titles }) => {
    const source = readFileSync(join(ROOT, file), 'utf8').replace(/\\?'|’/g, "'");
    // A title that is put together in the test stands with "…" in the place of what differs.
    for (const part of titles.flatMap((title) => title.split('…'))) expect(source).toContain(part.trim());
  });
});
