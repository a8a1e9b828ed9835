/**
 * The agent: the one process of Floe's inside a container. It starts, freezes and thaws the job for the worker, to
 * which it holds a connection from its first moment. When that connection breaks it ends, and with it the container's main
 * process (native/init.c) and everything in the container. That one also holds the lease on the job, so that neither a worker that
 * hangs nor a job that stops the agent leaves anything behind that still makes progress.
 */
import { writeSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { Peer, socketTransport } from '../rpc.ts';
import { capabilities } from './capabilities.ts';
import { checkMounts } from './checkMounts.ts';
import { keepCode } from './common.ts';
import { learnKernel } from './criu.ts';
import { isolateNetwork } from './isolateNetwork.ts';
import { Job } from './job.ts';
import { applyLayer, saveLayer } from './layer.ts';
import { memoryEvents } from './memoryEvents.ts';
import { type AgentMethods, controlFiles, places, type WorkerMethods } from './protocol.ts';
import { unlinkedBytes } from './unlinkedFiles.ts';
import { resolveUser } from './user.ts';

await learnKernel();
const socket = connect(join(places.control, controlFiles.worker));
const job = new Job((end) => worker.notify('ended', end));
/** To the container's main process. */
const LEASE_PIPE = 3;

const methods: AgentMethods = {
  start: (program) => job.start(program).finally(keepCode),
  restore: ({ rootPid, isLazy }) => job.restore(rootPid, isLazy).finally(keepCode),
  filled: () => job.filled(),
  preflight: () => job.preflight(),
  refuseOpenSecrets: () => job.refuseOpenSecrets(),
  listenForPages: () => job.listenForPages(),
  abandonPages: () => job.abandonPages(),
  dump: ({ isStreamed }) => job.dump(isStreamed),
  saveLayer: ({ changes }) => saveLayer(changes),
  applyLayer: () => applyLayer(),
  resume: () => job.resume(),
  signal: ({ signal }) => job.signal(signal),
  resolveUser: ({ user }) => resolveUser(user),
  isolateNetwork: ({ addresses = [] }) => isolateNetwork(addresses),
  checkMounts: ({ expected }) => checkMounts(expected),
  memoryEvents,
  unlinkedBytes,
  capabilities,
  renewLease: ({ validForMs }) => void writeSync(LEASE_PIPE, `${Math.ceil(validForMs)}\n`),
  exit: () => process.exit(0),
};

const worker = new Peer<WorkerMethods, AgentMethods>(socketTransport(socket), methods, 'worker', 'lost');
void worker.closed.then(() => leave('the worker is gone'));

function leave(why: string): void {
  process.stderr.write(`floe agent: ${why}\n`);
  process.exit(1);
}
