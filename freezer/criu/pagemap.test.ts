import { expect, test } from 'vitest';
import { decodePagemap, encodePagemap, pagemapName, pagemapObject } from './pagemap.ts';

test('a pagemap is what CRIU itself writes', () => {
  const head = ['19435654', '25400856', '02000000', '0801'];
  // {vaddr: 0x7ffc00001000, compat_nr_pages: 300, flags: 4, nr_pages: 300}
  const range = ['10000000', '0880a08080c0ff1f', '10ac02', '2004', '28ac02'];
  const encoded = encodePagemap(1, [[0x7ffc00001000n, 300, 4]]).toString('hex');
  expect(encoded).toBe([...head, ...range].join(''));
});

test('a pagemap of a version that knows no 64-bit counts and no flags is read', () => {
  // {vaddr: 0x1000, nr_pages: 300} and {vaddr: 0x2000, nr_pages: 1, in_parent: true}
  const bytes = Buffer.from(
    ['19435654', '25400856', '02000000', '0801', '06000000', '08802010ac02', '07000000', '08804010011801'].join(''),
    'hex',
  );
  expect(decodePagemap(bytes)).toEqual({
    pagesId: 1,
    ranges: [
      [0x1000n, 300, 4],
      [0x2000n, 1, 1],
    ],
  });
});

test.each([
  [(1000n << 8n) | 1n, 'pagemap-1000.img'],
  [(77n << 8n) | 2n, 'pagemap-shmem-77.img'],
])('object %d is in %s', (object, name) => {
  expect(pagemapName(object)).toBe(name);
  expect(pagemapObject(name)).toBe(object);
});

test.each(['pages-1.img', 'pagemap-.img', 'pagemap-1.img.old', 'core-1.img'])('%s is no pagemap', (name) => {
  expect(pagemapObject(name)).toBeNull();
});
