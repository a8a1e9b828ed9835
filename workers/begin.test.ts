/** Whose fault it is that a job cannot begin: its own, its checkpoint's, or this machine's, which another one may not have. */
import { expect, test } from 'vitest';
import { type CheckpointSummary, FreezerError, type FreezerErrorCode } from '../freezer/index.ts';
import { parseJobSpec } from '../jobs/spec.ts';
import { type Beginning, begin } from './begin.ts';

type Order = Parameters<typeof begin>[0];

/** What becomes of a job when the runtime refuses it so. */
async function beginning(
  code: FreezerErrorCode,
  more: Partial<Order> & { checkpoints?: string[] } = {},
): Promise<Beginning> {
  const refuse = async () => Promise.reject(new FreezerError(code, `It is ${code}.`, 'Do something.'));
  const nothing = async () => undefined;
  const order = {
    context: { runtime: { start: refuse, thaw: refuse } },
    queued: { id: 'default-1', epoch: 2 },
    lease: { attach: () => undefined },
    // That a checkpoint is passed over is not told here: a job that has to wait would tell it again each time.
    ledger: { beginning: nothing },
    data: { spec: parseJobSpec({ image: 'debian', checkpoint: { ifUnusable: 'fail' } }), input: null },
    history: { missing: null, candidates: (more.checkpoints ?? []).map((id) => ({ id }) as CheckpointSummary) },
    pinnedImage: null,
    signal: new AbortController().signal,
    ...more,
  };
  return begin(order as unknown as Order);
}

test.each(['unsupported', 'imageNotFound', 'notFound'] as const)(
  '%s: the job fails, and is told what to do',
  async (code) => {
    expect(await beginning(code)).toEqual({
      kind: 'never',
      code,
      message: `It is ${code}. Do something.`,
      passedOver: [],
    });
  },
);

test.each(['notHere', 'cannotRun', 'diskFull', 'failed', 'storeFailed', 'lost', 'cpuMismatch', 'wrongKey'] as const)(
  '%s: it waits for a better time or another worker, with its checkpoints as they are',
  async (code) => {
    const later = { kind: 'later', error: expect.objectContaining({ code }) };
    expect(await beginning(code)).toEqual(later);
    expect(await beginning(code, { checkpoints: ['00000001-000001'] })).toEqual(later);
  },
);

test('an image that an earlier run had is waited for', async () => {
  const later = { kind: 'later', error: expect.objectContaining({ code: 'imageNotFound' }) };
  expect(await beginning('imageNotFound', { pinnedImage: 'debian@sha256:1' })).toEqual(later);
  expect(
    await beginning('imageNotFound', { pinnedImage: 'debian@sha256:1', checkpoints: ['00000001-000001'] }),
  ).toEqual(later);
});

test.each(['corrupt', 'wrongVersion', 'restoreFailed', 'notFound'] as const)(
  '%s is the checkpoint’s fault',
  async (code) => {
    expect(await beginning(code, { checkpoints: ['00000001-000001'] })).toMatchObject({
      kind: 'never',
      code: 'checkpointUnusable',
      passedOver: [{ checkpoint: '00000001-000001', message: expect.stringContaining(`It is ${code}.`) }],
    });
  },
);
