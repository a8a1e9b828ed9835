import { cancelled } from '../errors.ts';
import type { Container } from './containerRun.ts';

/** Ends the container when the work fails or is no longer wanted, and rejects once it is gone. */
export async function orKill<T>(
  container: Container,
  signal: AbortSignal | undefined,
  work: () => Promise<T>,
): Promise<T> {
  const kill = () => container.kill();
  signal?.addEventListener('abort', kill, { once: true });
  try {
    signal?.throwIfAborted();
    const result = await work();
    signal?.throwIfAborted();
    return result;
  } catch (error) {
    kill();
    await container.gone;
    throw signal?.aborted ? cancelled(error) : error;
  } finally {
    signal?.removeEventListener('abort', kill);
  }
}
