import { type FSWatcher, watch } from 'node:fs';

/**
 * Null when inotify gives none (ENOSPC, EMFILE): the kernel counts by user, and jobs are root as Floe is, so that one job can have all
 * there are. Whoever waits must then look from time to time.
 */
export function watchIfPossible(path: string, onChange: () => void): FSWatcher | null {
  try {
    return watch(path, onChange).on('error', onChange);
  } catch {
    return null;
  }
}
