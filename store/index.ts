/** Object storage: one contract, a driver for folders, a driver for S3. A folder as one object is in folder.ts. */
export { openStore } from './open.ts';
export { probeStore } from './probe.ts';
export { type Store, StoreError } from './store.ts';
