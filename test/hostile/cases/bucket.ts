/**
 * Somebody who can write to the bucket, where workers have an encryption key. What a job runs, and goes on from, is what was
 * submitted and what it was; anything else is refused by its name. The attacker has the bucket as files.
 */
import { cp, mkdir, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { storeKeys } from '../../../jobs/index.ts';
import { archive, Type } from '../tar.ts';

export interface Bucket {
  /** Of an object. */
  readonly path: (key: string) => string;
  /** Files that no job may write to. */
  readonly secretFiles: readonly string[];
}

/** A job, and what the attacker knows of it. */
export interface Target {
  readonly id: string;
  /** Its checkpoints, oldest first; none of a job that has not begun. */
  readonly checkpoints: readonly string[];
  /** Another job of the same worker, frozen at the same time. */
  readonly otherId: string;
}

export interface BucketAttack {
  readonly name: string;
  readonly wants: string;
  /** When the attacker comes: before the job has begun, while it is frozen, or when it has ended. */
  readonly when: 'queued' | 'frozen' | 'ended';
  readonly act: (bucket: Bucket, target: Target) => Promise<void>;
  /** How it may end, as `Attack.ends`. Whatever it wrote must be what its program writes. */
  readonly ends: RegExp;
}

const OWNED = archive({ name: 'run.sh', mode: 0o755, content: 'echo OWNED\n' });
/** Nothing that was forged is taken for what it was. */
const REFUSED = /^failed (?!exit|signal)/;
/** Or the job goes on from what is authentic. */
const REFUSED_OR_RIGHT = /^(succeeded|failed (?!exit|signal))/;

const manifestKey = ({ id }: Target, checkpoint = '') => `${storeKeys.checkpoints(id)}manifests/${checkpoint}.json`;

async function write(path: string, content: string | Buffer): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, content);
}

async function flipBytes(path: string): Promise<void> {
  const bytes = await readFile(path);
  for (let at = 0; at < bytes.length; at += 997) bytes[at] = (bytes[at] ?? 0) ^ 0x55;
  await writeFile(path, bytes);
}

async function flipAll(folder: string): Promise<void> {
  for (const name of await readdir(folder)) await flipBytes(join(folder, name));
}

async function changeManifest(
  { path }: Bucket,
  target: Target,
  change: (manifest: Record<string, unknown>) => object,
): Promise<void> {
  const file = path(manifestKey(target, target.checkpoints.at(-1)));
  const manifest = JSON.parse(await readFile(file, 'utf8')) as Record<string, unknown>;
  await writeFile(file, JSON.stringify({ ...manifest, ...change(manifest) }));
}

function forgedResult(id: string): string {
  const kept = { key: storeKeys.input(id), sizeBytes: 1 };
  return JSON.stringify({
    ...{ version: 1, jobId: id, outcome: 'succeeded', end: { exitCode: 0, signal: null }, reason: null, epoch: 1 },
    ...{ worker: 'forged', finishedAt: new Date().toISOString(), outputs: null, logs: { stdout: kept, stderr: kept } },
  });
}

export const bucketAttacks: readonly BucketAttack[] = [
  {
    name: 'bucket/newest-checkpoint-removed',
    wants: 'That the job goes back to an older state.',
    when: 'frozen',
    act: ({ path }, target) => rm(path(manifestKey(target, target.checkpoints.at(-1)))),
    ends: REFUSED,
  },
  {
    name: 'bucket/older-checkpoint-as-the-newest',
    wants: 'The same, by an older checkpoint under the name of the newest.',
    when: 'frozen',
    act: async ({ path }, target) => {
      const [older, newest] = target.checkpoints;
      const manifest = JSON.parse(await readFile(path(manifestKey(target, older)), 'utf8')) as object;
      await write(path(manifestKey(target, newest)), JSON.stringify({ ...manifest, id: newest }));
    },
    ends: REFUSED,
  },
  {
    name: 'bucket/all-removed-and-the-input-replaced',
    wants: 'That the job starts afresh, with a program of the attacker.',
    when: 'frozen',
    act: async ({ path }, { id }) => {
      await rm(path(storeKeys.job(id)), { recursive: true });
      await write(path(storeKeys.input(id)), OWNED);
    },
    ends: REFUSED,
  },
  {
    name: 'bucket/manifest-without-encryption',
    wants: 'That a checkpoint of the attacker counts because it says that it is not encrypted.',
    when: 'frozen',
    act: (bucket, target) => changeManifest(bucket, target, () => ({ encryption: null })),
    ends: REFUSED_OR_RIGHT,
  },
  {
    name: 'bucket/manifest-with-other-numbers',
    wants: 'That sizes and names of a manifest are believed.',
    when: 'frozen',
    act: (bucket, target) =>
      changeManifest(bucket, target, () => ({
        rootPid: 1,
        image: 'floe-hostile',
        memoryBytes: 2 ** 50,
        cpuFeatures: [],
      })),
    ends: REFUSED_OR_RIGHT,
  },
  {
    name: 'bucket/manifest-without-end',
    wants: "The worker's memory, by a manifest of many gibibytes.",
    when: 'frozen',
    act: ({ path }, target) => truncate(path(manifestKey(target, target.checkpoints.at(-1))), 6 * 2 ** 30),
    ends: REFUSED_OR_RIGHT,
  },
  {
    name: 'bucket/index-changed',
    wants: 'That other bytes become files and memory of the job.',
    when: 'frozen',
    act: ({ path }, { id }) => flipAll(path(`${storeKeys.checkpoints(id)}index`)),
    ends: REFUSED_OR_RIGHT,
  },
  {
    name: 'bucket/packs-changed',
    wants: 'The same by the packs.',
    when: 'frozen',
    act: ({ path }, { id }) => flipAll(path(`${storeKeys.checkpoints(id)}packs`)),
    ends: REFUSED_OR_RIGHT,
  },
  {
    name: "bucket/another-job's-checkpoint",
    wants: "That another job's memory goes on as this one's.",
    when: 'frozen',
    act: async ({ path }, { id, otherId }) => {
      await rm(path(storeKeys.checkpoints(id)), { recursive: true });
      await cp(path(storeKeys.checkpoints(otherId)), path(storeKeys.checkpoints(id)), { recursive: true });
    },
    ends: REFUSED,
  },
  {
    name: 'bucket/fence-forged',
    wants: 'That a history of the attacker is the newest, or that the job waits for an epoch that never comes.',
    when: 'frozen',
    act: async ({ path }, { id, checkpoints }) => {
      const fence = { version: 1, epoch: 99_999_998, worker: 'forged', thawsFrom: checkpoints[0], at: Date.now() };
      await write(path(storeKeys.fence(id, fence.epoch)), JSON.stringify(fence));
      await write(path(storeKeys.fence(id, 99_999_999)), 'no fence at all');
      for (let epoch = 2; epoch < 12; epoch++) await write(path(storeKeys.fence(id, epoch)), '{}');
    },
    ends: /^(succeeded|cancelled|failed|waits)/,
  },
  {
    name: 'bucket/fences-removed',
    wants: 'That an older history of the job counts again.',
    when: 'frozen',
    act: ({ path }, { id }) => rm(path(storeKeys.fences(id)), { recursive: true }),
    ends: REFUSED_OR_RIGHT,
  },
  {
    name: 'bucket/result-forged-while-frozen',
    wants: 'That a job which has not ended counts as succeeded.',
    when: 'frozen',
    act: ({ path }, { id }) => write(path(storeKeys.result(id)), forgedResult(id)),
    ends: REFUSED_OR_RIGHT,
  },
  {
    name: 'bucket/result-forged-before-the-start',
    wants: 'The same for a job that has not begun.',
    when: 'queued',
    act: ({ path }, { id }) => write(path(storeKeys.result(id)), forgedResult(id)),
    ends: REFUSED_OR_RIGHT,
  },
  {
    name: 'bucket/result-without-end',
    wants: "The worker's memory, by a result of many gibibytes.",
    when: 'queued',
    act: async ({ path }, { id }) => {
      await write(path(storeKeys.result(id)), '{');
      await truncate(path(storeKeys.result(id)), 6 * 2 ** 30);
    },
    ends: /^(succeeded|cancelled|failed|waits)/,
  },
  {
    name: 'bucket/input-replaced',
    wants: 'That a program of the attacker runs, with all that the job is given.',
    when: 'queued',
    act: ({ path }, { id }) => write(path(storeKeys.input(id)), OWNED),
    ends: REFUSED,
  },
  {
    name: 'bucket/input-removed',
    wants: 'That a job without its input runs all the same, or is tried for ever.',
    when: 'queued',
    act: ({ path }, { id }) => rm(path(storeKeys.input(id))),
    ends: /^(failed|waits)/,
  },
  {
    name: 'bucket/outputs-replaced',
    wants: 'To write to files of whoever fetches the outputs, who is root.',
    when: 'ended',
    act: async ({ path, secretFiles }, { id }) => {
      const forged = archive(
        ...secretFiles.flatMap((file, at) => [
          { name: `f${at}`, content: 'x', mode: 0o4777 },
          { name: `f${at}`, type: Type.symlink, link: file },
          { name: `d${at}`, type: Type.symlink, link: dirname(file) },
          { name: `d${at}/planted`, content: 'planted' },
          { name: `h${at}`, type: Type.hardLink, link: file },
        ]),
      );
      const folder = path(`${storeKeys.job(id)}outputs`);
      for (const name of await readdir(folder)) await writeFile(join(folder, name), forged);
    },
    ends: /^succeeded/,
  },
];
