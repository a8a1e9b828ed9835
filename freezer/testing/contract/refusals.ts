/** Checkpoints that cannot be thawed. */
import { readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { type Kind, onStage, type Stage, untilLines, withPrograms } from '../stage.ts';

/** Needs nothing of the image. */
export function refusesCheckpoints(kind: Kind): void {
  const stage = onStage(kind);

  describe('a checkpoint that is not what was written is refused, and nothing runs', () => {
    test.each([
      ['a flipped bit in a pack', 'packs', async (path: string) => flipBit(path, 1000)],
      ['a pack that ends early', 'packs', async (path: string) => truncate(path, 1000)],
      ['a pack that is gone', 'packs', async (path: string) => rm(path)],
      ['a flipped bit in the index', 'index', async (path: string) => flipBit(path, 100)],
      ['a manifest that ends early', 'manifests', async (path: string) => truncate(path, 100)],
    ] as const)('%s', async (_, kind, damage) => {
      const run = await stage().start(['./memory', '4', '1000'], withPrograms('memory'));
      await untilLines(run, 5);
      const { checkpoint } = await run.freeze({ place: stage().place, epoch: 1, afterwards: 'stop' });
      await damage(await storedFile(stage(), kind));
      await expect(stage().thaw(checkpoint.id, 2)).rejects.toMatchObject({ code: 'corrupt' });
      expect(await readdir(join(stage().stateDirectory('m2'), 'runs'))).toEqual([]);
    });

    test('a thaw that is cancelled while CRIU restores leaves nothing running', async () => {
      const run = await stage().start(['./memory', '64', '100000'], withPrograms('memory'));
      await untilLines(run, 5);
      const { checkpoint } = await run.freeze({ place: stage().place, epoch: 1, afterwards: 'stop' });
      const cancel = new AbortController();
      const onProgress = ({ step }: { step: string }) => step === 'restoring' && cancel.abort();
      const options = {
        jobId: 'a',
        epoch: 2,
        program: stage().program(['unused']),
        attachLease: stage().attachLease,
        place: stage().place,
      };
      const thawing = stage()
        .machine('m2')
        .thaw({ ...options, checkpointId: checkpoint.id, signal: cancel.signal, onProgress });
      await expect(thawing).rejects.toMatchObject({ code: 'cancelled' });
      expect(await readdir(join(stage().stateDirectory('m2'), 'runs'))).toEqual([]);
    });

    test('a checkpoint that does not exist', async () => {
      await expect(stage().thaw('00000001-000001', 2)).rejects.toMatchObject({ code: 'notFound' });
    });

    test('a checkpoint of a CPU with features that this one lacks', async () => {
      const run = await stage().start(['./memory', '4', '1000'], withPrograms('memory'));
      const { checkpoint } = await run.freeze({ place: stage().place, epoch: 1, afterwards: 'stop' });
      const path = await storedFile(stage(), 'manifests');
      const manifest = JSON.parse(await readFile(path, 'utf8'));
      await writeFile(path, JSON.stringify({ ...manifest, cpuFeatures: ['avx2048'] }));
      await expect(stage().thaw(checkpoint.id, 2)).rejects.toMatchObject({
        code: 'cpuMismatch',
        message: expect.stringContaining('avx2048'),
      });
    });
  });
}

async function flipBit(path: string, at: number): Promise<void> {
  const bytes = await readFile(path);
  bytes.writeUInt8(bytes.readUInt8(at) ^ 1, at);
  await writeFile(path, bytes);
}

/** The one object under the job's prefix whose key begins with this. */
async function storedFile(stage: Stage, kind: 'manifests' | 'index' | 'packs'): Promise<string> {
  const folder = join(stage.directory, 'store', stage.place.prefix, kind);
  const [name] = await readdir(folder);
  return join(folder, name ?? 'none');
}
