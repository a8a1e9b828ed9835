import { expect, test } from 'vitest';
import { encodePagemap, pagemapName } from './pagemap.ts';

test('a pagemap is what CRIU itself writes', () => {
  const head = ['19435654', '25400856', '02000000', '0801'];
  // {vaddr: 0x7ffc00001000, compat_nr_pages: 300, flags: 4, nr_pages: 300}
  const range = ['10000000', '0880a08080c0ff1f', '10ac02', '2004', '28ac02'];
  const encoded = encodePagemap(1, [[0x7ffc00001000n, 300, 4]]).toString('hex');
  expect(encoded).toBe([...head, ...range].join(''));
});

test.each([
  [(1000n << 8n) | 1n, 'pagemap-1000.img'],
  [(77n << 8n) | 2n, 'pagemap-shmem-77.img'],
])('object %d is in %s', (object, name) => {
  expect(pagemapName(object)).toBe(name);
});
