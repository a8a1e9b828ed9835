/**
 * Engines that are there before they are wanted: a process takes some tenths of a second to start, which a freeze at an
 * interruption and a thaw do not have. One is kept ready for each worker process, about 100 MB; it ends with that.
 */
import { Engine, type EngineOptions } from './client.ts';
import type { Expected } from './protocol.ts';

let spare: Engine | null = null;
/** The store that was used last: most likely it is the next one, too. */
let lastStoreUrl: string | null = null;

let isReady: Promise<void> = Promise.resolve();

/**
 * Starts one, unless there is one. Resolves when it is ready; nobody need wait for that, and it never rejects.
 * @param expected what it will most likely be for; by default what the last engine taken was for, as far as that can be known
 */
export function keepSpareEngine({ storeUrl = lastStoreUrl, base = null }: Partial<Expected> = {}): Promise<void> {
  if (spare && !spare.isGone) return isReady;
  // What fails here fails again, and is told, when it is wanted; a machine without memory for another process fails at once.
  try {
    spare = new Engine();
  } catch {
    return Promise.resolve();
  }
  isReady = spare.peer.request('warmUp', { storeUrl, base }).catch(() => undefined);
  return isReady;
}

/** The spare one, or another where somebody else has taken that; `keepSpareEngine` makes another one. */
export function takeEngine(storeUrl: string, options: EngineOptions): Engine {
  lastStoreUrl = storeUrl;
  const engine = spare && !spare.isGone ? spare : new Engine();
  if (engine === spare) spare = null;
  engine.assign(options);
  return engine;
}
