/** What `bin/floe.ts` needs of the producers. */
export { runAtEdge } from './cli/edge.ts';
export { createProgram } from './cli/program.ts';
export { type CommonOptions, connectionFlags, finishCommand, withFloe } from './cli/shared.ts';
