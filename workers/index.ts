/** The worker: takes jobs from queues, runs them, and moves them away before their machine goes. */
export { examine } from './doctor.ts';
export { ec2Notices } from './notices/ec2.ts';
export { signalNotices } from './notices/signals.ts';
export type { Notice, NoticeSource } from './notices/source.ts';
export { runWorker } from './run.ts';
export { type RunningWorker, startWorker, type WorkerOptions } from './worker.ts';
