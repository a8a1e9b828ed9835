/** What a user submits. One schema serves the library, the CLI, `job.yaml` and the HTTP API. */
import { z } from 'zod';
import {
  bounds,
  COMMAND_BYTES,
  commandBytes,
  Duration,
  LimitedPath,
  LONGEST_WORD_BYTES,
  NamedPath,
  SPEC_BYTES,
  Word,
} from './bounds.ts';
import { FloeError } from './errors.ts';
import { explainIssues } from './explain.ts';

const MINUTE_MS = 60_000;
const UNITS: Record<string, number> = { KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30, TiB: 2 ** 40 };

/** A number of bytes, or a string such as `512MiB` or `1.5GiB`. */
export const ByteSize = z.union(
  [
    z.int().positive(),
    z
      .string()
      .regex(/^\d+(\.\d+)?(KiB|MiB|GiB|TiB)$/)
      .max(40)
      .transform((text) => Math.round(Number.parseFloat(text) * (UNITS[text.slice(-3)] ?? 1)))
      .pipe(z.int().positive()),
  ],
  { error: 'must be bytes, or a number with KiB, MiB, GiB or TiB, such as 512MiB' },
);

/** Pools name queues and are part of every job id. */
export const PoolName = z
  .string()
  .regex(/^[a-z][a-z0-9-]{0,39}$/, 'must be 1 to 40 of a-z, 0-9 and "-", beginning with a letter');

/** Where the job has a folder of its own; the system's and Floe's own places stay what they are. */
const VolumePath = NamedPath.refine(
  (path) =>
    path.startsWith('/') &&
    path !== '/' &&
    !path
      .split('/')
      .slice(1)
      .some((part) => ['', '.', '..'].includes(part)),
  'must be an absolute path, without "..", "." or a "/" at its end',
)
  // Engines take a ":" for the end of the path.
  .refine((path) => !/[:\p{Cc}]/u.test(path), 'must not have ":" or control characters')
  .refine(
    (path) => !/^\/(proc|sys|dev|floe|workspace)(\/|$)/.test(path),
    'must not be in /proc, /sys, /dev, /floe or /workspace',
  );

const RelativePath = LimitedPath.min(1).refine(
  (path) => !path.startsWith('/') && !path.split('/').includes('..'),
  'must stay inside the workspace',
);

/** A reference as engines read it. A leading "-" would be read as an option. */
const ImageName = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,511}$/, 'must be an image name');

/** No "/", so that it cannot lead anywhere; `.role` is the end of what operators write (workers/secrets.ts). */
export const SecretName = z
  .string()
  .regex(
    /^[a-z0-9][a-z0-9._-]{0,62}$/,
    'must be 1 to 63 of a-z, 0-9, ".", "_" and "-", beginning with a letter or digit',
  )
  .refine((name) => !name.endsWith('.role'), 'must not end with ".role"');

const VariableName = z.string().regex(/^[A-Za-z_][A-Za-z0-9_]*$/, 'must be a variable name');

/** A name alone, or with the variable that has its value. */
const Secret = z.preprocess(
  (value: string | { name: string; env?: string }) => (typeof value === 'string' ? { name: value } : value),
  z.strictObject({ name: SecretName, env: VariableName.optional() }),
);

export const CheckpointPolicy = z.strictObject({
  /** Time between periodic checkpoints, in ms; 0 for none but those at an interruption. Default 15 minutes. */
  everyMs: Duration.default(15 * MINUTE_MS),
  /** What to do when no checkpoint of the job's can be thawed: start from the beginning, or fail. Default `afresh`. */
  ifUnusable: z.enum(['afresh', 'fail']).default('afresh'),
  /** How long a frozen job waits for a worker whose CPU covers its checkpoint's, in ms. Default 10 minutes. */
  patienceMs: Duration.default(10 * MINUTE_MS),
  /** What to do once that patience is over: keep waiting, or start from the beginning. Default `wait`. */
  ifNoWorkerFits: z.enum(['wait', 'afresh']).default('wait'),
  /** How many checkpoints are kept, the newest; older ones are removed. At least 1. Default 2. */
  keep: z.int().min(1).max(1000).default(2),
  /** Whether they stay when the job has ended, until `floe rm`. Default false. */
  keepAtEnd: z.boolean().default(false),
  /**
   * `lazy`: a thawed program runs at once, and its memory comes from the store as it is touched; `eager`: when all of it is there;
   * `auto`: lazily for large memory that one process has. A checkpoint that an earlier run began from is thawed eagerly in any case:
   * only that verifies all of it before anything runs. Default `auto`.
   */
  thaw: z.enum(['auto', 'eager', 'lazy']).default('auto'),
});

/**
 * - `command`: program and arguments; no shell in between, and no entrypoint of the image's. Without one, an image does what it
 *   says itself (its entrypoint and command).
 * - `name`: for people; default the program's name.
 * - `env`: added to a minimal environment (PATH, HOME, LANG).
 * - `secrets`: names of secrets that the job's pool has. The job gets each as the file `/run/secrets/<name>`, as it is at every
 *   start and thaw; one with `env` as that variable instead, once, when its program starts. Default none.
 * - `image`: container image, for workers with a container runtime; without it the job sees the worker's own system.
 * - `user`: who the program runs as: a name or number, optionally `:group`, as the image knows them. Default the image's user.
 * - `directory`: where it starts. Default `/workspace`; the image's own where the image's own command runs.
 * - `volumes`: folders outside the workspace that are the job's own and move with it, beside those that its image declares.
 *   They begin with what the image has there.
 * - `network`: `none` takes it away. Default `default`: what the worker's engine gives a container.
 * - `pool`: which workers may run it. Default `default`.
 * - `resources`: limits of the job: CPUs (fractions allowed) and bytes of memory. Default none. `processes`: how many processes and
 *   threads it may have at a time. Default 4096. `diskBytes`: what it may have on the worker's disk, of files that it writes and that it
 *   was given, and of logs. Default what the worker says. `gpus` passes that many GPUs through; such a job cannot be frozen. Default 0.
 * - `priority`: 0 to 1000, larger goes first. Default 0.
 * - `attempts`: how often the program may fail by itself before the job fails. Default 1. Interruptions never count.
 * - `backoffMs`: pause before the next attempt. Default 1 s.
 * - `timeoutMs`: how long the program may run in total, frozen time excluded. Default 0: no limit.
 * - `crashBudget`: how many hard crashes of workers the job survives, 100 at most. Default 20.
 * - `outputs`: paths or globs inside the workspace that are kept at the end. Default everything in it.
 *
 * bounds.ts has how long and how many they may be.
 */
const Fields = z.strictObject({
  command: z
    .array(Word)
    .refine((words) => words[0] !== '', 'must name a program')
    .default([]),
  name: Word.min(1).max(200).optional(),
  env: z.record(VariableName, Word).default({}),
  secrets: z.array(Secret).max(50).optional(),
  image: ImageName.optional(),
  user: z
    .string()
    .max(bounds.userLength)
    .regex(/^[A-Za-z0-9_][A-Za-z0-9_.-]*(:[A-Za-z0-9_][A-Za-z0-9_.-]*)?$/, 'must be user or user:group')
    .optional(),
  directory: NamedPath.refine((path) => path.startsWith('/'), 'must be an absolute path').optional(),
  volumes: z.array(VolumePath).max(bounds.volumes).default([]),
  network: z.enum(['default', 'none']).default('default'),
  pool: PoolName.default('default'),
  resources: z
    .strictObject({
      cpus: z.number().min(bounds.cpus.min).max(bounds.cpus.max).optional(),
      memoryBytes: ByteSize.optional(),
      processes: z.int().min(1).max(bounds.processes).optional(),
      diskBytes: ByteSize.refine((bytes) => bytes >= bounds.minDiskBytes, 'must be at least 16MiB').optional(),
      gpus: z.int().min(0).max(64).optional(),
    })
    .default({}),
  priority: z.int().min(0).max(1000).default(0),
  attempts: z.int().min(1).max(bounds.attempts).default(1),
  backoffMs: z.int().min(0).max(bounds.backoffMs).default(1000),
  timeoutMs: Duration.default(0),
  crashBudget: z.int().min(0).max(bounds.crashBudget).default(20),
  checkpoint: CheckpointPolicy.prefault({}),
  outputs: z.array(RelativePath).max(bounds.outputs).default(['.']),
});

type Spec = z.output<typeof Fields>;

function refuseLongCommands(spec: Spec, context: z.RefinementCtx): void {
  const refuse = (field: 'command' | 'env', message: string) =>
    context.addIssue({ code: 'custom', path: [field], input: spec[field], message });
  const { command, env, image } = spec;
  if (command.length === 0 && image === undefined) refuse('command', 'must name a program');
  const tooLong = Object.entries(env).find(([name, value]) => commandBytes([], { [name]: value }) > LONGEST_WORD_BYTES);
  if (tooLong) refuse('env', `${tooLong[0].slice(0, 40)} and its value must have at most ${LONGEST_WORD_BYTES} bytes`);
  if (commandBytes(command, env) > COMMAND_BYTES) {
    const larger = commandBytes(command, {}) > commandBytes([], env) ? 'command' : 'env';
    refuse(larger, `command and environment must have at most ${COMMAND_BYTES} bytes together`);
  }
  if (Buffer.byteLength(JSON.stringify(spec)) > SPEC_BYTES)
    context.addIssue({ code: 'custom', input: spec, message: `must have at most ${SPEC_BYTES} bytes as JSON` });
}

function refuseClashingSecrets(spec: Spec, context: z.RefinementCtx): void {
  const refuse = (path: (string | number)[], input: unknown, message: string) =>
    context.addIssue({ code: 'custom', path, input, message });
  const { secrets = [] } = spec;
  for (const [at, { name, env }] of secrets.entries()) {
    const isTwice = secrets.slice(0, at).some((other) => (env ? other.env === env : !other.env && other.name === name));
    if (isTwice) refuse(['secrets', at], secrets[at], env ? 'must have a variable of its own' : 'is there twice');
    if (env !== undefined && Object.hasOwn(spec.env, env)) refuse(['secrets', at, 'env'], env, 'is in `env`, too');
  }
  if (secrets.length === 0) return;
  for (const [at, path] of spec.volumes.entries()) {
    if (`${path}/`.startsWith('/run/secrets/')) refuse(['volumes', at], path, 'must not be where the secrets are');
  }
}

export const JobSpec = Fields.superRefine((spec, context) => {
  refuseLongCommands(spec, context);
  refuseClashingSecrets(spec, context);
});

/** A complete spec, defaults filled in. */
export type JobSpec = z.output<typeof JobSpec>;
/** What a user writes. */
export type JobSpecInput = z.input<typeof JobSpec>;

/** Parses what a user wrote. Throws `FloeError` `invalidJob`, naming each wrong field and what was given. */
export function parseJobSpec(input: unknown): JobSpec {
  const parsed = JobSpec.safeParse(input);
  if (parsed.success) return parsed.data;
  throw new FloeError(
    'invalidJob',
    `The job is not valid: ${explainIssues(parsed.error, input)}.`,
    'Correct the field and submit again; `floe submit --help` lists them all.',
  );
}
