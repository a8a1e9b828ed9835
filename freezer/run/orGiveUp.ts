import { FreezerError } from '../errors.ts';

/** For what cancelled work has to put right. */
const GRACE_MS = 5000;

/** As `work`, or `cancelled` some seconds after the signal aborted: an agent whose container was paused answers nobody. */
export async function orGiveUp<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  const givenUp = Promise.withResolvers<never>();
  let timer: NodeJS.Timeout | undefined;
  const onAbort = () => {
    const error = new FreezerError('cancelled', 'It was cancelled, and the container does not answer.', 'Unpause it.');
    timer = setTimeout(() => givenUp.reject(error), GRACE_MS);
  };
  signal?.addEventListener('abort', onAbort, { once: true });
  if (signal?.aborted) onAbort();
  try {
    return await Promise.race([work, givenUp.promise]);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', onAbort);
  }
}
