/**
 * Brings the program to life: thawed from the best checkpoint that can be, or started from the beginning.
 *
 *   - there is no checkpoint, or `--afresh`: it starts from the beginning;
 *   - a checkpoint is at fault (corrupt, of another version, CRIU refuses it), or wants another CPU: it is passed over with a word,
 *     the one before is tried; after the last one nothing runs, for nobody gives up work silently;
 *   - this machine or the store is at fault (full disk, no answer): nothing runs, and the checkpoints stand.
 */
import { randomUUID } from 'node:crypto';
import { stat } from 'node:fs/promises';
import { hostname } from 'node:os';
import { execa } from 'execa';
import type { Store } from '../../store/store.ts';
import { checkpointIds, requireManifest, summarize } from '../checkpoint/catalogue.ts';
import { epochOf } from '../checkpoint/retention.ts';
import { FreezerError, type FreezerErrorCode } from '../errors.ts';
import type { CheckpointPlace, CheckpointSummary, Program, RenewLease, Run, Runtime, ThawMode } from '../runtime.ts';
import { candidates, PREFIX } from './checkpoints.ts';
import { type Claim, createClaim, newestClaim } from './claims.ts';
import { CommandError } from './commandError.ts';
import { describeStep, formatTime, quoted, sizeOf } from './format.ts';
import { say } from './output.ts';

export interface Beginning {
  readonly store: Store;
  readonly place: CheckpointPlace;
  readonly runtime: Runtime;
  readonly program: Program;
  /** Folder that the workspace begins with a copy of; null for an empty workspace. */
  readonly workspace: string | null;
  readonly afresh: boolean;
  readonly thaw: ThawMode;
  readonly attachLease: (renewLease: RenewLease) => void;
  readonly signal: AbortSignal;
  readonly onStep: (step: string) => void;
}

export interface Begun {
  readonly run: Run;
  readonly claim: Claim;
  /** Checkpoints before its own that it could go back to, the one that it was thawed from first. */
  readonly continues: readonly string[];
  /** Null when it began from the beginning. */
  readonly thawedFrom: CheckpointSummary | null;
}

/** Names of what the 2016 docker-freezer leaves in a folder or bucket. */
const OLD_DUMP = ['frozen', 'uploaded'];

const PASSED_OVER: FreezerErrorCode[] = [
  'notFound',
  'corrupt',
  'wrongVersion',
  'substituted',
  'restoreFailed',
  'cpuMismatch',
];

export async function begin(beginning: Beginning): Promise<Begun> {
  const { store, afresh, program } = beginning;
  const newest = await newestClaim(store);
  const found = await candidates(store, newest);
  if (!afresh) await refuseToForget(store, newest);
  const continues = afresh ? [] : found;
  if (continues.length === 0 && program.command.length === 0) {
    throw new CommandError('usage', 'No checkpoint found, and no command to start.', 'Name one: freezer start COMMAND');
  }
  const claim = await claimNext(store, newest, continues);
  if (continues.length > 0) {
    const { run, thawedFrom } = await thawOne(beginning, claim);
    return { run, thawedFrom, claim, continues: continues.slice(continues.indexOf(thawedFrom.id)) };
  }
  const passed = found.length === 0 ? 'No checkpoint found' : `Passing over ${found.length} checkpoint(s)`;
  say(`${passed}, starting ${quoted(program.command)}`);
  return { run: await startAnew(beginning, claim), thawedFrom: null, claim, continues: [] };
}

/** Throws for work in the store that this version does not know how to continue. */
async function refuseToForget(store: Store, newest: Claim | null): Promise<void> {
  const remedy = 'Use --afresh to start from the beginning all the same, or another --store.';
  for (const name of OLD_DUMP) {
    for await (const { key } of store.list(name)) {
      if (key !== name) continue;
      const what = `${store.url} has a dump of the docker-freezer of 2016, which cannot be thawed any more.`;
      throw new FreezerError('wrongVersion', what, remedy);
    }
  }
  if (newest !== null) return;
  const ids = await checkpointIds(store, PREFIX);
  if (ids.length === 0) return;
  const what = `${store.url} has ${ids.length} checkpoint(s), but no record of the starts that took them.`;
  throw new FreezerError('corrupt', what, remedy);
}

async function claimNext(store: Store, newest: Claim | null, continues: string[]): Promise<Claim> {
  const ids = await checkpointIds(store, PREFIX);
  const epoch = Math.max(newest?.epoch ?? 0, ...ids.map(epochOf)) + 1;
  const claim = makeClaim(epoch, 'start', continues);
  if (await createClaim(store, claim)) return claim;
  const remedy = 'Start the program in one place at a time.';
  throw new CommandError('conflict', `Another \`freezer start\` on ${store.url} was a moment faster.`, remedy);
}

export function makeClaim(epoch: number, kind: Claim['kind'], continues: string[]): Claim {
  return { version: 1, epoch, kind, nonce: randomUUID(), host: hostname(), at: Date.now(), continues };
}

async function thawOne(beginning: Beginning, claim: Claim): Promise<{ run: Run; thawedFrom: CheckpointSummary }> {
  const failures: FreezerError[] = [];
  for (const id of claim.continues) {
    try {
      const checkpoint = summarize(await requireManifest(beginning.store, PREFIX, id));
      say(`Found a checkpoint of ${formatTime(checkpoint.frozenAt)}, ${sizeOf(checkpoint)}, thawing`);
      return { run: await thaw(beginning, claim, id), thawedFrom: checkpoint };
    } catch (error) {
      if (!(error instanceof FreezerError && PASSED_OVER.includes(error.code))) throw error;
      say(`It cannot be thawed: ${error.message}`);
      failures.push(error);
    }
  }
  const last = failures.at(-1);
  const what = `None of the ${failures.length} checkpoint(s) in ${beginning.store.url} can be thawed (see above).`;
  const remedy =
    last?.code === 'cpuMismatch'
      ? last.remedy
      : 'Start from the beginning with --afresh; that gives up the work so far.';
  throw new FreezerError(last?.code ?? 'notFound', what, remedy, { cause: last });
}

async function thaw(beginning: Beginning, claim: Claim, checkpointId: string): Promise<Run> {
  return beginning.runtime.thaw({
    ...commonOptions(beginning, claim),
    place: beginning.place,
    checkpointId,
    mode: beginning.thaw,
    onProgress: (progress) => beginning.onStep(describeStep(progress)),
  });
}

async function startAnew(beginning: Beginning, claim: Claim): Promise<Run> {
  const { workspace } = beginning;
  return beginning.runtime.start({
    ...commonOptions(beginning, claim),
    prepareWorkspace: async (directory) => {
      if (workspace === null) return;
      if (!(await stat(workspace)).isDirectory()) {
        throw new CommandError('usage', `--workspace: ${workspace} is no folder.`, 'Name a folder.');
      }
      await execa('cp', ['--archive', '--no-target-directory', '--', workspace, directory]);
    },
  });
}

function commonOptions({ program, attachLease, signal }: Beginning, { epoch }: Claim) {
  return { jobId: 'freezer', epoch, program, attachLease, signal };
}
