/** What a case is, and how one is tried: a job is submitted, it ends, and what it left is searched for secrets. */
import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import {
  createRecords,
  displayName,
  type JobData,
  type JobRecord,
  newJobId,
  openQueue,
  parseJobSpec,
  queueOptions,
  readRecord,
  storeKeys,
} from '../../jobs/index.ts';
import { FloeError, isFinal, type JobSpecInput, type JobView } from '../../producers/index.ts';
import { messageOf, require } from './breach.ts';
import { secretsLeftBy } from './evidence.ts';
import { BASE_IMAGE, type RuntimeName, type Stage } from './stage.ts';

/** Once a job should have ended, it is cancelled; then it must end within this time. */
const CANCEL_WITHIN_MS = 30_000;
/** Long: a bomb beside it, and whatever else the machine does, slow a job down. */
const WITHIN_MS = 120_000;
const LOOK_MS = 150;
/** A job that has waited for so long with a problem waits for another machine. */
const WAITING_MS = 8000;

export interface Attack {
  /** `group/what`, unique. */
  readonly name: string;
  /** What the attacker is after, or the unlucky user did. */
  readonly wants: string;
  /** Default: both. */
  readonly runtimes?: readonly RuntimeName[];
  /** Only bounds of the worker's own end it, so it is not for machines where those are missing. */
  readonly isBomb?: boolean;
  /** Part of `npm test`. */
  readonly isQuick?: boolean;
  /** How it may end, see `Ending`. Default: `succeeded`, `failed …` or `refused …`. */
  readonly ends?: RegExp;
  /** Its container may be lost, which counts as a crash. */
  readonly mayCrash?: boolean;
  /** Until it must have ended by itself. Default two minutes: a busy machine is slow. */
  readonly withinMs?: number;
  /** Puts the job together. Null: the engine did not let the attacker prepare it. */
  readonly order: (ground: Ground) => Order | null | Promise<Order | null>;
  /** What must be so besides. Throws `Breach`. */
  readonly check?: (ground: Ground, ended: Ended) => void | Promise<void>;
}

export interface Order {
  /** For /bin/sh; or give a `command` in `spec`. */
  readonly script?: string;
  readonly spec?: Partial<JobSpecInput>;
  /** Files of the workspace, by name. */
  readonly files?: Readonly<Record<string, string | Buffer>>;
  /** A workspace archive, put in the store as it is. */
  readonly archive?: Buffer;
  /** What the queue holds, as somebody writes it who goes around the library. */
  readonly rawData?: unknown;
  /** The image; default the base image. */
  readonly image?: string;
}

/**
 * `succeeded`; `failed exit 3`, `failed signal 9` or `failed CODE` of a reason; `cancelled`; `refused CODE` at submission;
 * `waits`, for another machine; `prevented` by the engine.
 */
export type Ending = string;

export interface Ended {
  readonly ending: Ending;
  readonly id: string | null;
  readonly job: JobView | null;
  /** What it wrote, as users see it; at most the first MiB of each. */
  readonly stdout: string;
  readonly stderr: string;
}

/** What a case has to work with. */
export interface Ground {
  readonly stage: Stage;
  readonly runtime: RuntimeName;
  /** A new folder. */
  readonly folder: string;
}

/** Resolves to how it ended. Throws `Breach`. */
export async function attempt(stage: Stage, runtime: RuntimeName, attack: Attack): Promise<Ending> {
  const folder = await mkdtemp(join(stage.parts.directory, 'case-'));
  const ground = { stage, runtime, folder };
  const order = await attack.order(ground);
  if (order === null) return 'prevented';
  const ended = await carryOut(ground, attack, order);
  const allowed = attack.ends ?? /^(succeeded|failed|refused)/;
  require(allowed.test(ended.ending), `it ended with: ${describe(ended)}`);
  const crashes = ended.job?.crashes ?? 0;
  require(attack.mayCrash === true || crashes === 0, `its container was lost ${crashes} times`);
  const secrets = ended.id === null ? [] : await secretsLeftBy(stage, ended.id);
  require(secrets.length === 0, `it got hold of ${secrets.join(', ')}`);
  await attack.check?.(ground, ended);
  return ended.ending;
}

async function carryOut(ground: Ground, attack: Attack, order: Order): Promise<Ended> {
  const { floe } = ground.stage.parts;
  const nothing = { job: null, stdout: '', stderr: '' };
  let id: string;
  try {
    id = await submit(ground, attack, order);
  } catch (error) {
    if (!(error instanceof FloeError) || error.code === 'internal') throw error;
    return { ...nothing, id: null, ending: `refused ${error.code}` };
  }
  const ending = await untilOver(ground.stage, id, attack.withinMs ?? WITHIN_MS);
  const job = await floe.get(id).catch(() => null); // data that no job has
  return {
    ending,
    id,
    job,
    stdout: await logOf(ground.stage, id, 'stdout'),
    stderr: await logOf(ground.stage, id, 'stderr'),
  };
}

/** Resolves to the job's id. */
async function submit(ground: Ground, attack: Attack, order: Order): Promise<string> {
  const { floe } = ground.stage.parts;
  const spec: JobSpecInput = {
    name: attack.name.replace(/[^a-z-]/g, '-'),
    pool: ground.runtime,
    ...(order.script === undefined ? {} : { command: ['/bin/sh', '-c', order.script] }),
    ...(ground.runtime === 'docker' ? { image: order.image ?? BASE_IMAGE } : {}),
    crashBudget: 2,
    ...order.spec,
    // They stay, to be searched.
    checkpoint: { everyMs: 1500, keepAtEnd: true, ...order.spec?.checkpoint },
  };
  if (order.rawData !== undefined) return enqueue(ground, spec, () => order.rawData);
  if (order.archive !== undefined) return enqueueArchive(ground, spec, order.archive);
  if (order.files === undefined) return floe.submit(spec);
  const workspace = join(ground.folder, 'workspace');
  await mkdir(workspace);
  for (const [name, content] of Object.entries(order.files)) {
    await writeFile(join(workspace, name), content, { mode: 0o755 });
  }
  return floe.submit(spec, { workspace });
}

/** As the library does, but for the archive, which anybody could have made. */
async function enqueueArchive(ground: Ground, spec: JobSpecInput, archive: Buffer): Promise<string> {
  const sha256 = createHash('sha256').update(archive).digest('hex');
  return enqueue(ground, spec, async (id) => {
    const key = storeKeys.input(id);
    await ground.stage.parts.store.create(key, archive);
    return { spec: parseJobSpec(spec), input: { key, sizeBytes: archive.length, sha256 }, submittedAt: Date.now() };
  });
}

async function enqueue(
  ground: Ground,
  spec: JobSpecInput,
  dataOf: (id: string) => unknown | Promise<unknown>,
): Promise<string> {
  const { client } = ground.stage.parts;
  const parsed = parseJobSpec(spec);
  const id = newJobId(parsed.pool);
  const data = (await dataOf(id)) as JobData;
  await createRecords(client, [{ id, name: displayName(parsed), keepsCheckpoints: true }]);
  const queue = openQueue(parsed.pool, client);
  try {
    await queue.add(displayName(parsed), data, queueOptions(id, parsed));
  } finally {
    await queue.close();
  }
  return id;
}

/** One that does not end is cancelled, which must help. */
export async function untilOver(stage: Stage, id: string, withinMs: number): Promise<Ending> {
  const { floe, signal } = stage.parts;
  const until = Date.now() + withinMs;
  let waitsSince: number | null = null;
  while (Date.now() < until) {
    const record = await recordOf(stage, id);
    if (isFinal(record.state)) return endingOf(record);
    waitsSince = record.state === 'queued' && record.problem ? (waitsSince ?? Date.now()) : null;
    if (waitsSince !== null && Date.now() - waitsSince > WAITING_MS) break;
    await delay(LOOK_MS, undefined, { signal });
  }
  const { state, problem } = await recordOf(stage, id);
  await floe.cancel(id).catch((error: unknown) => {
    if (!(error instanceof FloeError) || error.code !== 'conflict') throw error; // it has ended at last
  });
  const cancelledBy = Date.now() + CANCEL_WITHIN_MS;
  while (!isFinal((await recordOf(stage, id)).state)) {
    require(Date.now() < cancelledBy, `it is ${state}, does not end and cannot be cancelled: ${problem}`);
    await delay(LOOK_MS, undefined, { signal });
  }
  return waitsSince === null ? 'cancelled' : `waits: ${problem}`;
}

async function recordOf(stage: Stage, id: string): Promise<JobRecord> {
  const record = await readRecord(stage.parts.client, id);
  require(record !== null, `there is no record of the job ${id} any more`);
  return record;
}

function endingOf({ state, result }: JobRecord): Ending {
  if (state !== 'failed') return state;
  if (result?.reason) return `failed ${result.reason.code}`;
  return result?.end?.signal == null ? `failed exit ${result?.end?.exitCode}` : `failed signal ${result.end.signal}`;
}

function describe({ ending, job, stderr }: Ended): string {
  const message = job?.result?.reason?.message ?? '';
  return [ending, message, stderr.slice(-200)].filter((part) => part !== '').join(' | ');
}

const SHOWN_BYTES = 2 ** 20;

/** What it wrote, as users see it; at most the first MiB, or why there is none. */
export async function logOf(stage: Stage, id: string, stream: 'stdout' | 'stderr'): Promise<string> {
  const pieces: Buffer[] = [];
  let sizeBytes = 0;
  try {
    for await (const entry of stage.parts.floe.logs(id)) {
      if (entry.kind !== 'text' || entry.stream !== stream) continue;
      pieces.push(entry.bytes);
      sizeBytes += entry.bytes.length;
      if (sizeBytes > SHOWN_BYTES) break;
    }
  } catch (error) {
    return `no log: ${messageOf(error)}`;
  }
  return Buffer.concat(pieces).toString('latin1');
}
