import { afterEach, expect, test, vi } from 'vitest';
import { keepSpareEngine, takeEngine } from './spare.ts';

afterEach(() => void vi.unstubAllEnvs());

test('a machine that cannot start another process fails the one who wants an engine, and not the one who keeps a spare', async () => {
  // No process takes so long a variable: starting one fails at once, as it does where there is no memory for it.
  vi.stubEnv('FLOE_TEST_TOO_LONG', 'x'.repeat(2 ** 20));
  await keepSpareEngine();
  // Anything but a FreezerError would end the run, for a freeze that can be tried again.
  const failure = expect.objectContaining({ name: 'FreezerError', code: 'failed' });
  expect(() => takeEngine('file:///nowhere', {})).toThrow(failure);
  vi.unstubAllEnvs();
  await keepSpareEngine();
  await using engine = takeEngine('file:///nowhere', {});
  expect(engine.isGone).toBe(false);
});
