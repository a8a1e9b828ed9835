/** The contract between producers, workers and the dashboard. */
export * from './config.ts';
export * from './embeddedRedis.ts';
export * from './errors.ts';
export * from './events.ts';
export * from './explain.ts';
export * from './fleet.ts';
export * from './inspectRedis.ts';
export * from './list.ts';
export * from './log.ts';
export * from './names.ts';
export * from './queue.ts';
export * from './record.ts';
export * from './redis.ts';
export * from './result.ts';
export * from './spec.ts';
export * from './state.ts';
