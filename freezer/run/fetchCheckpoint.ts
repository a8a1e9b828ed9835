import { Engine } from '../engine/client.ts';
import type { Fetched } from '../engine/protocol.ts';
import type { ThawOptions } from '../runtime.ts';
import type { RunFolder } from './folder.ts';

/** Verifies a checkpoint while it fills the run's folder with the job's files and CRIU's images. */
export async function fetchCheckpoint(folder: RunFolder, thaw: ThawOptions): Promise<Fetched> {
  await using engine = new Engine(thaw);
  try {
    const { place, checkpointId } = thaw;
    const { images: imagesDirectory, files: filesDirectory } = folder;
    return await engine.peer.request('fetch', { place, checkpointId, imagesDirectory, filesDirectory });
  } catch (error) {
    throw engine.explain(error);
  }
}
