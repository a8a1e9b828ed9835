/** The checkpoint engine: freezes programs into a store and thaws them from there. Knows no queue. */
export { listCheckpoints } from './checkpoint/catalogue.ts';
export type { Finding } from './doctor/finding.ts';
export { examineMachine } from './doctor/machine.ts';
export { keepSpareEngine } from './engine/spare.ts';
export * from './errors.ts';
export { FULL_ACCESS, LEAST_ACCESS, type MachineAccess } from './process/machineAccess.ts';
export { openProcessRuntime } from './process/runtime.ts';
export { DEFAULT_PROCESSES } from './processLimit.ts';
export { type DiskUse, diskUse } from './run/diskUse.ts';
export { chooseImagesDirectory } from './run/imagesPlace.ts';
export { LogFile, openLog } from './run/logFile.ts';
export { holdStateFolder, sweepStateFolders } from './run/stateFolder.ts';
export * from './runtime.ts';
export { openRuntimes } from './runtimes.ts';
