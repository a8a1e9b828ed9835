/** The commands that look after the store. What they do is loaded when asked for: it knows the checkpoint engine. */
export { addCheckpoints } from './cli/checkpoints.ts';
export { addGc } from './cli/gc.ts';
export { addDu, addRm } from './cli/space.ts';
export { addVerify } from './cli/verify.ts';
