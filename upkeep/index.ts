/**
 * Looking after what jobs keep in the store: listing, verifying and removing. It knows the checkpoint format and the workers'
 * rules of what counts, so it stands above both; nothing imports it but the `floe` command, and that when asked.
 */

export { listJobCheckpoints } from './checkpoints.ts';
export { collectGarbage } from './garbage.ts';
export { knownCheckpoints, requireKnown } from './jobEnd.ts';
export { removeCheckpoints, removeJob } from './remove.ts';
export { usageOf } from './usage.ts';
export { verifyJob } from './verify.ts';
