/** What `bin/` needs of the producers. */
export { runAtEdge } from './cli/edge.ts';
export { EXIT } from './cli/exitCodes.ts';
export { formatTable, plain } from './cli/format.ts';
export { createProgram } from './cli/program.ts';
export {
  type CommonOptions,
  connectionFlags,
  finishCommand,
  outputWidth,
  print,
  printJson,
  withFloe,
} from './cli/shared.ts';
