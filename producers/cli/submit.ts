/** `floe submit`: a spec from a file, from flags, or from both; flags win. */
import { readFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import type { Command } from 'commander';
import { isCollection, isMap, parseDocument, visit } from 'yaml';
import { z } from 'zod';
import { plain } from '../../base/terminal.ts';
import { FloeError } from '../../jobs/errors.ts';
import type { JobSpecInput } from '../../jobs/spec.ts';
import type { Exceptions } from '../../store/folder.ts';
import type { Floe } from '../floe.ts';
import { JOB_EXIT_CODES_HELP } from './exitCodes.ts';
import { collect, collectPairs, collectSecrets, durationFlag, integerFlag, numberFlag } from './flags.ts';
import { describeExceptions, formatBytes } from './format.ts';
import { type CommonOptions, finishCommand, interruptible, print, printJson, withFloe } from './shared.ts';
import { reportEnd } from './wait.ts';

interface SubmitFlags extends CommonOptions {
  readonly file?: string;
  readonly workspace?: string;
  readonly name?: string;
  readonly env?: Record<string, string>;
  readonly secret?: { name: string; env?: string }[];
  readonly image?: string;
  readonly user?: string;
  readonly directory?: string;
  readonly volume?: string[];
  readonly network?: string;
  readonly gpus?: number;
  readonly pool?: string;
  readonly priority?: number;
  readonly attempts?: number;
  readonly backoff?: number;
  readonly timeout?: number;
  readonly checkpointEvery?: number;
  readonly keepCheckpoints?: number;
  readonly keepAtEnd?: boolean;
  /** Parsed with the rest of the spec. */
  readonly thaw?: string;
  readonly crashBudget?: number;
  readonly cpus?: number;
  readonly memory?: string;
  readonly disk?: string;
  readonly processes?: number;
  readonly output?: string[];
  readonly wait?: boolean;
}

export function addSubmit(program: Command): void {
  const command = program
    .command('submit')
    .description('Submit a job and print its id.')
    .argument('[command...]', "program and arguments of the job, after -- (default: the image's)")
    .passThroughOptions()
    .option('-f, --file <job.yaml>', 'read the job from YAML or JSON; flags win over it')
    .option('-w, --workspace <folder>', 'upload this folder; the job finds it in /workspace')
    .option('--name <name>', "name for people (default: the program's)")
    .option('-e, --env <NAME=VALUE>', 'environment of the job; may be repeated', collectPairs('--env'))
    .option(
      '--secret <name[:VARIABLE]>',
      "a secret of its pool's, as the file /run/secrets/<name> or a variable; may be repeated",
      collectSecrets,
    )
    .option('--image <image>', "container image (default: the worker's own system)")
    .option('--user <user[:group]>', "who it runs as in its image (default: the image's user)")
    .option('--directory <path>', 'where it starts (default: /workspace)')
    .option('--volume <path>', "a folder of the image's that moves with the job; may be repeated", collect)
    .option('--network <network>', 'none for a job without network (default: default)')
    .option('--pool <pool>', 'which workers may run it (default: default)')
    .option('--priority <number>', '0 to 1000, larger goes first (default: 0)', integerFlag('--priority'))
    .option('--attempts <number>', 'how often the program may fail (default: 1)', integerFlag('--attempts'))
    .option('--backoff <duration>', 'pause before the next attempt (default: 1s)', durationFlag('--backoff'))
    .option(
      '--timeout <duration>',
      'longest running time, frozen time excluded (default: none)',
      durationFlag('--timeout'),
    )
    .option(
      '--checkpoint-every <duration>',
      'time between periodic checkpoints, 0 for none (default: 15m)',
      durationFlag('--checkpoint-every'),
    )
    .option(
      '--keep-checkpoints <number>',
      'how many of its checkpoints are kept, the newest (default: 2)',
      integerFlag('--keep-checkpoints'),
    )
    .option('--keep-at-end', 'keep them when the job has ended, until `floe rm`')
    .option('--thaw <mode>', 'lazy runs before its memory is there, eager after: auto, eager or lazy (default: auto)')
    .option(
      '--crash-budget <number>',
      'how many crashes of workers it survives (default: 20)',
      integerFlag('--crash-budget'),
    )
    .option('--cpus <number>', 'limit of CPUs, fractions allowed (default: none)', numberFlag('--cpus'))
    .option('--memory <size>', 'limit of memory, such as 512MiB (default: none)')
    .option('--disk <size>', "limit of what it may have on the worker's disk (default: the worker's)")
    .option(
      '--processes <number>',
      'limit of processes and threads at a time (default: 4096)',
      integerFlag('--processes'),
    )
    .option('--gpus <number>', 'GPUs; such a job cannot be frozen (default: 0)', integerFlag('--gpus'))
    .option('-o, --output <glob>', 'what to keep of the workspace; may be repeated (default: all)', collect)
    .option('--wait', "wait for the end, and exit with the job's exit code")
    .action(submit);
  finishCommand(
    command,
    [
      'floe submit -- xz -9 big.tar',
      'floe submit --workspace ./data --output "*.xz" --timeout 6h --wait -- xz -9 big.tar',
      'floe submit --image python:3.14-slim --workspace . -- python train.py',
      'floe submit --file job.yaml --priority 10',
    ],
    JOB_EXIT_CODES_HELP,
  );
}

async function submit(words: string[], flags: SubmitFlags): Promise<void> {
  const { spec, workspace } = await readSubmission(words, flags);
  await withFloe(flags, async (floe) => {
    const id = await interruptible('interrupted; no job was submitted.', (signal) =>
      upload(floe, spec, workspace, signal),
    );
    if (!flags.wait) return flags.json ? printJson({ id }) : print(`${id}\n`);
    if (!flags.json) await print(`${id}\n`);
    await reportEnd(floe, id, flags.json ?? false);
  });
}

async function upload(
  floe: Floe,
  spec: JobSpecInput,
  workspace: string | undefined,
  signal: AbortSignal,
): Promise<string> {
  const shown = process.stderr.isTTY && workspace !== undefined;
  const onProgress = (doneBytes: number) => process.stderr.write(`\ruploading ${formatBytes(doneBytes)}   `);
  try {
    return await floe.submit(spec, { workspace, signal, onExceptions: warn, ...(shown ? { onProgress } : {}) });
  } finally {
    if (shown) process.stderr.write('\r\u001b[K');
  }
}

function warn(workspace: string, exceptions: Exceptions): void {
  process.stderr.write(`floe: of ${plain(workspace)}, ${describeExceptions(exceptions)}.\n`);
}

const JobFile = z.looseObject({ workspace: z.string().optional() });

/** Exported for its test: the spec is checked by `Floe.submit`. */
export async function readSubmission(
  words: readonly string[],
  flags: SubmitFlags,
): Promise<{ spec: JobSpecInput; workspace: string | undefined }> {
  const { workspace: fromFile, ...file } = flags.file === undefined ? {} : await readJobFile(flags.file);
  const given = withoutUndefined({
    name: flags.name,
    secrets: flags.secret,
    image: flags.image,
    user: flags.user,
    directory: flags.directory,
    volumes: flags.volume,
    network: flags.network,
    pool: flags.pool,
    priority: flags.priority,
    attempts: flags.attempts,
    backoffMs: flags.backoff,
    timeoutMs: flags.timeout,
    crashBudget: flags.crashBudget,
    outputs: flags.output,
    command: words.length > 0 ? words : undefined,
    env: merged(file.env, flags.env),
    checkpoint: merged(
      file.checkpoint,
      withoutUndefined({
        everyMs: flags.checkpointEvery,
        keep: flags.keepCheckpoints,
        keepAtEnd: flags.keepAtEnd,
        thaw: flags.thaw,
      }),
    ),
    resources: merged(
      file.resources,
      withoutUndefined({
        cpus: flags.cpus,
        memoryBytes: flags.memory,
        diskBytes: flags.disk,
        processes: flags.processes,
        gpus: flags.gpus,
      }),
    ),
  });
  // The schema at the border, in `Floe.submit`, decides whether this is a spec.
  const spec = { ...file, ...given } as unknown as JobSpecInput;
  return { spec, workspace: flags.workspace ?? fromFile };
}

async function readJobFile(path: string): Promise<Record<string, unknown> & { workspace?: string | undefined }> {
  try {
    const { workspace, ...rest } = JobFile.parse(parseJobFile(await readFile(path, 'utf8')));
    return { ...rest, workspace: workspace === undefined ? undefined : resolve(dirname(path), workspace) };
  } catch (cause) {
    const reason = cause instanceof z.ZodError ? 'it is not a mapping of fields' : String(cause).split('\n')[0];
    throw new FloeError('invalidJob', `${path}: ${reason}.`, 'See `floe submit --help`.', { cause });
  }
}

/** Arguments and environment are text as it is written: `[xz, -9]` and `{VERSION: 1.0}` hold no numbers. */
function parseJobFile(text: string): unknown {
  const document = parseDocument(text);
  if (document.errors[0]) throw document.errors[0];
  for (const field of ['command', 'env']) {
    const node = isMap(document.contents) ? document.get(field, true) : undefined;
    if (!isCollection(node)) continue;
    visit(node, {
      Scalar(key, scalar) {
        if (key !== 'key' && scalar.source !== undefined) scalar.value = scalar.source;
      },
    });
  }
  return document.toJS();
}

/** Something that is no object stays as it is: the schema will say so. */
function merged(file: unknown, flags: object | undefined): unknown {
  if (flags === undefined || Object.keys(flags).length === 0) return undefined;
  return typeof file === 'object' && file !== null ? { ...file, ...flags } : flags;
}

function withoutUndefined(object: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined));
}
