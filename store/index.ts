/** Object storage: checkpoints, inputs and outputs live here. */
export { getFolder, type PutFolderOptions, type PutFolderResult, putFolder } from './folder.ts';
export { openStore, type StoreOptions } from './open.ts';
export {
  type ByteRange,
  type Cancellable,
  type Store,
  type StoredObject,
  StoreError,
  type StoreErrorCode,
} from './store.ts';
