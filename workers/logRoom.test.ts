/** Who has to stop first when Redis' memory fills: logs, long before locks. */
import { expect, test } from 'vitest';
import { roomFor } from './logRoom.ts';
import { Pace } from './pace.ts';

const MIB = 2 ** 20;
const info = (usedMib: number, limitMib: number) =>
  `# Memory\r\nused_memory:${usedMib * MIB}\r\nused_memory_human:x\r\nmaxmemory:${limitMib * MIB}\r\nmaxmemory_policy:noeviction\r\n`;

test.each([
  ['no limit', info(900, 0), 256],
  ['a large limit', info(100, 2048), 256],
  ['a small limit', info(100, 400), 100],
  ['nearly no room', info(320, 400), 0],
  ['no room', info(401, 400), 0],
  ['nothing told', '', 256],
])('with %s', (_, text, mib) => {
  expect(roomFor(text, 256 * MIB)).toBe(mib * MIB);
});

test('a pace lets through a burst, and then so much a second, whatever was left unused before', () => {
  const pace = new Pace(100, 10, 0);
  expect(pace.take(100, 1_000_000)).toBe(0);
  expect(pace.take(20, 1_000_000)).toBe(2000);
  expect(pace.take(10, 1_002_000)).toBe(1000);
});
