/**
 * The job inside its container: started or restored once, frozen any number of times, ended once.
 *
 *   idle ──start/restore──► running ◄──resume── stopped
 *                              │                  ▲
 *                              └──────dump────────┘
 *   running ──► ended
 *
 * A dump that fails leaves the job running: CRIU lets go of what it stopped. While the job is stopped CRIU is still
 * there and holds it; should CRIU be killed then, the job would run on unnoticed, so the container ends.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { constants } from 'node:fs';
import { copyFile, open, readdir, readFile } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { hasCredentials, privilegeIn } from '../criu/credentials.ts';
import { explainUndumpable, firstErrors } from '../criu/explain.ts';
import { LARGEST_DELETED_FILE } from '../criu/obstacles.ts';
import { FreezerError } from '../errors.ts';
import type { ProgramEnd } from '../runtime.ts';
import { letGo, toolbox } from '../toolbox.ts';
import { endOf, startCriu } from './criu.ts';
import { HOLD_OPTIONS, prepareHold, release } from './hold.ts';
import { goOnAboveLast, keepLastPid, startAboveOurs } from './lastPid.ts';
import { LAZY_OPTIONS, LazyPages } from './lazyPages.ts';
import { giveOutputsToJob } from './outputs.ts';
import { PageListener } from './pageListener.ts';
import { refuseOpenSecrets, refuseUndumpable } from './preflight.ts';
import { memoryOf, processTree } from './processes.ts';
import { controlFiles, type JobStart, type MemorySize, places } from './protocol.ts';

/** Among the files that move: a job that was frozen while it ended still has it afterwards. */
const STATUS_FILE = join(places.logs, 'status');
/**
 * A frozen job maps its supervisor, and CRIU wants to find the very same file: so it is a copy that moves with the job, and the
 * machine that thaws it may have a newer one.
 */
const SUPERVISOR_FILE = join(places.logs, 'supervisor');
const ROOT = { uid: 0, gid: 0, groups: [] } as const;
const PAGES_SOCKET = join(places.control, controlFiles.pages);

const COMMON_OPTIONS = [
  '--images-dir',
  places.images,
  // Connections do not survive a move: the program sees a reset and reconnects.
  '--tcp-close',
  // Nor do those that the program has not accepted yet.
  '--skip-in-flight',
  '--file-locks',
  '--manage-cgroups=ignore',
  '-v2',
];
const DUMP_OPTIONS = [
  '--log-file',
  'dump.log',
  ...HOLD_OPTIONS,
  // A file that was deleted while open: link it back where it still has a name, else carry it in the image.
  '--link-remap',
  '--ghost-limit',
  LARGEST_DELETED_FILE.option,
  '--timeout',
  '120',
];
/** Its standard input: Node hands over only the first three descriptors in the blocking mode that CRIU needs. */
const STREAM_OPTIONS = ['--page-server', '--ps-socket', '0'];

/** CRIU frees its images as it reads them, so that a program's memory is not there twice in the end. */
const EAGER_OPTIONS = ['--auto-dedup'];

export class Job {
  #rootPid = 0;
  #state: 'idle' | 'running' | 'stopped' | 'ended' = 'idle';
  #pages: PageListener | null = null;
  #dumping: Promise<number | null> = Promise.resolve(0);
  #filled = Promise.resolve();
  readonly #onEnd: (end: ProgramEnd) => void;

  constructor(onEnd: (end: ProgramEnd) => void) {
    this.#onEnd = onEnd;
  }

  async start({ command, env, directory, user }: JobStart): Promise<void> {
    await copyFile(toolbox.supervisor, SUPERVISOR_FILE);
    await startAboveOurs();
    const log = (name: string) => join(places.logs, name);
    const { uid, gid, groups } = user ?? ROOT;
    const ids = [String(uid), String(gid), groups.join(',') || '-'];
    const options = ['run', STATUS_FILE, log('stdout'), log('stderr'), directory, ...ids, ...command];
    const supervisor = spawnSupervisor(options, env);
    await once(supervisor, 'spawn');
    await this.#watch(supervisor.pid ?? 0);
  }

  /** A lazy one starts with little of the job's memory, and the engine, for which `listenForPages` listens, brings the rest. */
  async restore(rootPid: number, isLazy: boolean): Promise<void> {
    await refusePrivileges();
    const lazyPages = isLazy ? await this.#startLazyPages() : null;
    const pids = await goOnAboveLast();
    const options = ['restore', ...COMMON_OPTIONS, '--log-file', 'restore.log', '--restore-detached', ...pids.options];
    const more = lazyPages ? LAZY_OPTIONS : EAGER_OPTIONS;
    const criu = startCriu([...options, ...more], { preload: [letGo], env: pids.env });
    lazyPages?.guard(criu);
    const code = await endOf(criu);
    if (code !== 0) {
      const log = await readLog('restore.log');
      if (code === null || MACHINE_AT_FAULT.test(log)) throw machineFailed(log);
      throw failure('restoreFailed', 'CRIU could not restore the job', log);
    }
    if (lazyPages) this.#filled = lazyPages.filled;
    await giveOutputsToJob(rootPid);
    await this.#watch(rootPid);
  }

  async preflight(): Promise<MemorySize> {
    if (this.#state !== 'running') throw notRunning();
    await refuseUndumpable(this.#rootPid);
    return await memoryOf(await processTree(this.#rootPid));
  }

  /** Also while the job is stopped. */
  async refuseOpenSecrets(): Promise<void> {
    await refuseOpenSecrets(this.#rootPid);
  }

  async listenForPages(): Promise<void> {
    this.#pages = await PageListener.open(PAGES_SOCKET);
  }

  /** The engine will not come: a `dump` that waits for it fails. */
  abandonPages(): void {
    this.#pages?.close();
  }

  dump(isStreamed: boolean): Promise<{ rootPid: number }> {
    return isStreamed ? this.#withPages((pages) => this.#dump(STREAM_OPTIONS, pages)) : this.#dump([]);
  }

  /** When all memory of a job that was restored lazily is there. Until then a dump would have holes. */
  filled(): Promise<void> {
    return this.#filled;
  }

  #startLazyPages(): Promise<LazyPages> {
    return this.#withPages((pages) => LazyPages.start(pages));
  }

  /** Hands over the connection of the engine that `listenForPages` listens for, and lets go of it afterwards. */
  async #withPages<T>(use: (pages: Socket) => Promise<T>): Promise<T> {
    if (!this.#pages) throw new FreezerError('failed', 'listenForPages comes first.', 'This is a defect of Floe.');
    try {
      return await use(await this.#pages.connection);
    } finally {
      this.#pages.close();
      this.#pages = null;
    }
  }

  async #dump(more: readonly string[], pages?: Socket): Promise<{ rootPid: number }> {
    if (this.#state !== 'running') throw notRunning();
    using hold = await prepareHold();
    const options = ['dump', '--tree', String(this.#rootPid), ...COMMON_OPTIONS, ...DUMP_OPTIONS, ...more];
    this.#dumping = endOf(startCriu(options, { pages })).finally(() => {
      if (this.#state === 'stopped') process.exit(1);
    });
    const isHeld = await Promise.race([hold.held.then(() => true), this.#dumping.then(() => false)]);
    if (isHeld) {
      this.#state = 'stopped';
      await keepLastPid();
      return { rootPid: this.#rootPid };
    }
    if (this.#state !== 'running') throw notRunning();
    const log = await readLog('dump.log');
    if (DISK_IS_FULL.test(log)) throw noRoom(log);
    throw failure('dumpFailed', 'CRIU could not dump the job', log);
  }

  async resume(): Promise<void> {
    if (this.#state !== 'stopped') return;
    this.#state = 'running';
    await release();
    await this.#dumping;
  }

  /** Goes to the supervisor's child, the program itself. */
  async signal(signal: number): Promise<void> {
    const [, program] = await processTree(this.#rootPid);
    if (program !== undefined && this.#state !== 'ended') process.kill(program, signal);
  }

  /** A restored supervisor is nobody's child here; the toolbox's own waiter sees its end all the same. */
  async #watch(rootPid: number): Promise<void> {
    this.#rootPid = rootPid;
    this.#state = 'running';
    const waiter = spawn(toolbox.supervisor, ['wait', String(rootPid)], { stdio: 'ignore' });
    await once(waiter, 'spawn');
    waiter.once('exit', () => {
      this.#state = 'ended';
      // Where the filling of its memory has failed, its end means nothing: the worker, which knows, ends the container.
      void this.#filled.then(readStatus).then(this.#onEnd, () => undefined);
    });
  }
}

/** What Node and the kernel say of arguments and an environment that they never take; whatever else fails may go better later. */
const NEVER_TAKEN = ['E2BIG', 'ENAMETOOLONG', 'EINVAL', 'ERR_INVALID_ARG_VALUE'];

function spawnSupervisor(options: readonly string[], env: NodeJS.ProcessEnv): ChildProcess {
  try {
    return spawn(SUPERVISOR_FILE, options, { env, stdio: 'ignore', detached: true });
  } catch (cause) {
    if (!(cause instanceof Error && 'code' in cause && NEVER_TAKEN.includes(String(cause.code)))) throw cause;
    const what = `The program cannot be started: the kernel does not take its arguments and environment (${cause.code}).`;
    const remedy = 'Submit it with fewer and shorter ones; those of its image count, too.';
    throw new FreezerError('unsupported', what, remedy, { cause });
  }
}

/** Before CRIU, which does as its images say. */
async function refusePrivileges(): Promise<void> {
  for (const name of await readdir(places.images)) {
    if (!hasCredentials(name)) continue;
    const why = privilegeIn(name, await readFile(join(places.images, name)));
    if (why === null) continue;
    const remedy = 'Find out who wrote to the store; an encryption key keeps others from making checkpoints.';
    throw new FreezerError('substituted', `The checkpoint is no job's: it ${why}.`, remedy);
  }
}

async function readStatus(): Promise<ProgramEnd> {
  const text = await readFile(STATUS_FILE, 'utf8').catch(() => '');
  const [how, number, ...reason] = text.trim().split(' ');
  const cannotStart = reason.length === 0 ? {} : { cannotStart: reason.join(' ') };
  if (how === 'exited') return { kind: 'exited', code: Number(number), ...cannotStart };
  if (how === 'killed') return { kind: 'killed', signal: Number(number) };
  // What kept the supervisor from its work it has said in the job's log.
  const words = /(?:^|\n)floe: ([^\n]*)\n?$/.exec(await readTail(join(places.logs, 'stderr')))?.[1];
  if (words) return { kind: 'lost', reason: `The job could not be set up: ${words}.` };
  return { kind: 'lost', reason: 'The job was killed from outside, most likely for lack of memory.' };
}

const TAIL_BYTES = 1000;

/** The end of a log, of whatever size the job made it. Empty where it cannot be read. */
async function readTail(path: string): Promise<string> {
  try {
    await using log = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    const { size } = await log.stat();
    const { buffer, bytesRead } = await log.read(
      Buffer.alloc(TAIL_BYTES),
      0,
      TAIL_BYTES,
      Math.max(0, size - TAIL_BYTES),
    );
    return buffer.toString('utf8', 0, bytesRead);
  } catch {
    return ''; // what the job did to its log is not why it ended
  }
}

function readLog(name: string): Promise<string> {
  return readFile(join(places.images, name), 'utf8').catch((error: Error) => `Error (no log): ${error.message}`);
}

function failure(code: 'dumpFailed' | 'restoreFailed', what: string, log: string): FreezerError {
  const reason = explainUndumpable(log);
  if (reason && code === 'dumpFailed') {
    return new FreezerError('cannotFreeze', `The job cannot be frozen: it has ${reason.what}.`, reason.remedy);
  }
  const words = firstErrors(log).join('; ') || 'its log has no error';
  return new FreezerError(
    code,
    `${what}: ${words}.`,
    "CRIU's words name the cause; `floe logs` and the worker's log have the context.",
  );
}

/** The checkpoint is as good as it was: another machine, or this one later, may restore it. */
const MACHINE_AT_FAULT = /No space left on device|Cannot allocate memory|Address already in use/;

function machineFailed(log: string): FreezerError {
  const words = firstErrors(log).join('; ') || 'CRIU was killed';
  const remedy = 'Give the machine more memory or disk; Floe tries again.';
  return new FreezerError('failed', `This machine could not restore the job: ${words}.`, remedy);
}

const DISK_IS_FULL = /No space left on device/;

function noRoom(log: string): FreezerError {
  const words = firstErrors(log).join('; ');
  const remedy = 'Give the machine more memory or disk.';
  return new FreezerError('diskFull', `There is no room for the images of the job: ${words}.`, remedy);
}

function notRunning(): FreezerError {
  return new FreezerError('ended', 'The program has ended.', 'Nothing to do: its result is being kept.');
}
