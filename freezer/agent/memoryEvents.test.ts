import { expect, test } from 'vitest';
import { hasKilled } from './memoryEvents.ts';

test.each([
  ['version 2', 'low 0\nhigh 0\nmax 12\noom 1\noom_kill 1\noom_group_kill 0\n', true],
  ['version 2, nothing killed', 'low 0\nhigh 0\nmax 12\noom 0\noom_kill 0\n', false],
  ['version 1', 'oom_kill_disable 0\nunder_oom 0\noom_kill 3\n', true],
  ['nothing to be seen', '', false],
])('%s', (_, events, killed) => {
  expect(hasKilled(events)).toBe(killed);
});
