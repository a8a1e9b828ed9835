/**
 * The last line: what happens with an error that nobody caught, one in a callback or of a promise that nobody waits for. Node would end the
 * process, and with it every job of this worker, for what is most likely one job's.
 *
 * It is told, counted, and passed over. That is safe here for what the process cannot break by going on: it may write only under a lock that it
 * renews and an epoch that it owns, both of which are checked where it writes, and its containers end by themselves when it does not renew their
 * leases. At worst the job that met the error is never seen to again by this process; its operator finds the line in the log, and draining the
 * worker moves the others away. Errors that are caught, which is nearly all of them, end one stint (stint.ts).
 *
 * What says that the process itself is sick is no such error: V8 ends it when its heap is full, and a signal does what it did.
 */
import type { Logger } from 'pino';
import { handleUncaught } from '../base/uncaught.ts';

/** An error that comes back for ever must not fill the disk with its log. */
const ALWAYS_TOLD = 100;
const THEN_EACH = 1000;

/** From now on until disposed. */
export function passOverUncaught(logger: Logger): Disposable {
  let count = 0;
  return handleUncaught((error, origin) => {
    count += 1;
    if (count > ALWAYS_TOLD && count % THEN_EACH !== 0) return;
    logger.error({ err: error, origin, count }, 'an error that nobody caught: a defect of Floe; the worker goes on');
  });
}
