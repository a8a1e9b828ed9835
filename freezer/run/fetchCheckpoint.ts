import { Engine } from '../engine/client.ts';
import type { Fetched } from '../engine/protocol.ts';
import type { ThawOptions } from '../runtime.ts';
import type { RunFolder } from './folder.ts';

/** Verifies a checkpoint while it fills the run's folder with the job's files and CRIU's images. */
export async function fetchCheckpoint(
  folder: RunFolder,
  thaw: ThawOptions,
  toolboxDirectory: string,
): Promise<Fetched> {
  await using engine = new Engine(thaw);
  try {
    const { place, checkpointId } = thaw;
    return await engine.peer.request('fetch', {
      ...{ place, checkpointId, toolboxDirectory },
      imagesDirectory: folder.images,
      filesDirectory: folder.files,
      digestsDirectory: folder.digests,
    });
  } catch (error) {
    throw engine.explain(error);
  }
}
