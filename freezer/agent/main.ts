/**
 * The agent: the one process of Floe's inside a container. It starts, freezes and thaws the job for the worker, to
 * which it holds a connection from its first moment. When that connection breaks, or the lease on the job runs out, it
 * exits: it is the container's main process, so everything in the container dies with it, and a worker that hangs or was
 * killed leaves nothing behind that still makes progress.
 */
import { connect } from 'node:net';
import { join } from 'node:path';
import { Peer, socketTransport } from '../rpc.ts';
import { toolbox } from '../toolbox.ts';
import { capabilities } from './capabilities.ts';
import { Job } from './job.ts';
import { applyLayer, saveLayer } from './layer.ts';
import { memoryEvents } from './memoryEvents.ts';
import { runProgram } from './program.ts';
import { type AgentMethods, controlFiles, places, type WorkerMethods } from './protocol.ts';
import { resolveUser } from './user.ts';

const socket = connect(join(places.control, controlFiles.worker));
const job = new Job((end) => worker.notify('ended', end));
let lease: NodeJS.Timeout | undefined;

const methods: AgentMethods = {
  start: (program) => job.start(program),
  restore: ({ rootPid }) => job.restore(rootPid),
  preflight: () => job.preflight(),
  listenForPages: () => job.listenForPages(),
  abandonPages: () => job.abandonPages(),
  dump: () => job.dump(),
  saveLayer: ({ changes }) => saveLayer(changes),
  applyLayer: () => applyLayer(),
  resume: () => job.resume(),
  signal: ({ signal }) => job.signal(signal),
  resolveUser: ({ user }) => resolveUser(user),
  isolateNetwork: () => runProgram(toolbox.isolateNetwork),
  memoryEvents,
  capabilities,
  renewLease: ({ validForMs }) => {
    clearTimeout(lease);
    lease = setTimeout(() => leave('the lease on the job ran out'), validForMs);
  },
  exit: () => process.exit(0),
};

const worker = new Peer<WorkerMethods, AgentMethods>(socketTransport(socket), methods, 'worker', 'lost');
void worker.closed.then(() => leave('the worker is gone'));

function leave(why: string): void {
  process.stderr.write(`floe agent: ${why}\n`);
  process.exit(1);
}
