/** What `bin/` and the commands beside the producers' own need of them. */
export { runAtEdge } from './cli/edge.ts';
export { EXIT, EXIT_CODES_HELP } from './cli/exitCodes.ts';
export { durationFlag } from './cli/flags.ts';
export { formatBytes, formatTable, formatTime, plain } from './cli/format.ts';
export { createProgram } from './cli/program.ts';
export {
  type CommonOptions,
  connectionFlags,
  finishCommand,
  interruptible,
  outputWidth,
  print,
  printJson,
  withConnections,
  withFloe,
} from './cli/shared.ts';
