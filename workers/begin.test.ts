/** Whose fault it is that a job cannot begin: its own, its checkpoint's, or this machine's, which another one may not have. */
import { describe, expect, test } from 'vitest';
import { type CheckpointSummary, FreezerError, type FreezerErrorCode } from '../freezer/index.ts';
import { parseJobSpec } from '../jobs/spec.ts';
import { type Beginning, begin } from './begin.ts';

type Order = Parameters<typeof begin>[0];

/** What becomes of a job when the runtime refuses it so. */
async function beginning(
  code: FreezerErrorCode | ((checkpoint: string | undefined) => FreezerErrorCode),
  more: Partial<Order> & { checkpoints?: string[]; newestKnown?: string | null; missing?: string | null } = {},
): Promise<Beginning> {
  const refuse = async ({ checkpointId }: { checkpointId?: string }) => {
    const one = typeof code === 'string' ? code : code(checkpointId);
    throw new FreezerError(one, `It is ${one}.`, 'Do something.');
  };
  const nothing = async () => undefined;
  const order = {
    context: {
      runtime: { start: refuse, thaw: refuse },
      disk: { refusal: () => null, limitsFor: () => ({ bytes: 1, files: 1 }) },
    },
    queued: { id: 'default-1', epoch: 2 },
    lease: { attach: () => undefined },
    // That a checkpoint is passed over is not told here: a job that has to wait would tell it again each time.
    ledger: { beginning: nothing },
    data: { spec: parseJobSpec({ image: 'debian', checkpoint: { ifUnusable: 'fail' } }), input: null },
    history: {
      missing: more.missing ?? null,
      candidates: (more.checkpoints ?? []).map((id) => ({ id }) as CheckpointSummary),
      newestKnown: more.newestKnown ?? null,
      rolledBack: null,
    },
    isEncrypted: false,
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

test.each([
  'notHere',
  'cannotRun',
  'diskFull',
  'failed',
  'storeFailed',
  'lost',
  'cpuMismatch',
  'wrongKey',
  'otherStore',
] as const)('%s: it waits for a better time or another worker, with its checkpoints as they are', async (code) => {
  const later = { kind: 'later', error: expect.objectContaining({ code }) };
  expect(await beginning(code)).toEqual(later);
  expect(await beginning(code, { checkpoints: ['00000001-000001'] })).toEqual(later);
});

test('an image that an earlier run had is waited for', async () => {
  const later = { kind: 'later', error: expect.objectContaining({ code: 'imageNotFound' }) };
  expect(await beginning('imageNotFound', { pinnedImage: 'debian@sha256:1' })).toEqual(later);
  expect(
    await beginning('imageNotFound', { pinnedImage: 'debian@sha256:1', checkpoints: ['00000001-000001'] }),
  ).toEqual(later);
});

test.each(['corrupt', 'substituted', 'wrongVersion', 'restoreFailed', 'notFound'] as const)(
  '%s is the checkpoint’s fault',
  async (code) => {
    expect(await beginning(code, { checkpoints: ['00000001-000001'] })).toMatchObject({
      kind: 'never',
      code: 'checkpointUnusable',
      passedOver: [{ checkpoint: '00000001-000001', message: expect.stringContaining(`It is ${code}.`) }],
    });
  },
);

describe('with a key, of the newest checkpoint that Redis knows', () => {
  const [older, newest, unknown] = ['00000001-000001', '00000001-000002', '00000001-000003'];
  const triedAfter = async (code: FreezerErrorCode, checkpoints: string[], missing: string | null = null) => {
    const tried: string[] = [];
    const answer = (id = 'afresh') => {
      tried.push(id);
      return id === newest || id === unknown ? code : 'restoreFailed';
    };
    const ended = await beginning(answer, { checkpoints, newestKnown: newest, missing });
    return { tried, ended };
  };

  test.each(['corrupt', 'substituted', 'wrongVersion', 'notFound'] as const)(
    'that is %s, nothing older is thawed',
    async (code) => {
      const { tried, ended } = await triedAfter(code, [newest, older]);
      expect(tried).toEqual([newest]);
      expect(ended).toMatchObject({ kind: 'never', code: 'checkpointRolledBack' });
    },
  );

  test('that is gone, nothing older is thawed', async () => {
    const { tried, ended } = await triedAfter('corrupt', [older], newest);
    expect(tried).toEqual([]);
    expect(ended).toMatchObject({
      code: 'checkpointRolledBack',
      passedOver: [
        { checkpoint: newest, message: expect.stringContaining('gone') },
        { checkpoint: older, message: expect.stringContaining('older') },
      ],
    });
  });

  test('that is authentic and cannot be restored, the one before is taken', async () => {
    const { tried, ended } = await triedAfter('restoreFailed', [newest, older]);
    expect(tried).toEqual([newest, older]);
    expect(ended).toMatchObject({ code: 'checkpointUnusable' });
  });

  test('one that Redis does not know yet may be anything', async () => {
    const { tried } = await triedAfter('substituted', [unknown, newest, older]);
    expect(tried).toEqual([unknown, newest]);
  });
});
