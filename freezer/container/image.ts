/** A job's image: found on this machine or pulled, and pinned, so that every later run has the very same. */
import { z } from 'zod';
import { FreezerError } from '../errors.ts';
import { ANY_TIME, type ContainerEngine, EngineRefusal } from './engine.ts';

export interface Image {
  /** `name@sha256:…` when it came from a registry, else the image's own id, which is a digest, too. */
  readonly pin: string;
  readonly env: Readonly<Record<string, string>>;
  /** Their names. */
  readonly labels: readonly string[];
  /** What it does when nothing else is asked: its entrypoint and command. */
  readonly command: readonly string[];
  readonly user: string;
  readonly directory: string;
  readonly volumes: readonly string[];
}

const strings = z
  .array(z.string())
  .nullish()
  .transform((list) => list ?? []);

/** What an image may be called, as `floe submit` has it: nothing that an engine could take for an option. */
const NAME = /^[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,511}$/;

/** The digest by which a name is pinned; null for one that may mean another image tomorrow, and for what is no name. */
export function digestOf(name: string): string | null {
  return NAME.test(name) ? (/(?:^|@)(sha256:[0-9a-f]{64})$/.exec(name)?.[1] ?? null) : null;
}

/** What `image inspect` says; the format is Docker's, and Podman keeps to it, but for `--format`, where its answer is a list all the same. */
const Inspected = z.object({
  Id: z.string(),
  RepoDigests: strings,
  Config: z.object({
    Env: strings,
    Labels: z.record(z.string(), z.unknown()).nullish(),
    Entrypoint: strings,
    Cmd: strings,
    User: z.string().default(''),
    WorkingDir: z.string().default(''),
    Volumes: z.record(z.string(), z.unknown()).nullish(),
  }),
});

/**
 * What the machine has under that name counts; only what it does not have is pulled. Throws `FreezerError`: `imageNotFound` when
 * nobody has it, `unsupported` when that is no name, `cannotRun` when the registry or the engine cannot be reached or the worker is not logged in, `diskFull`.
 */
export async function resolveImage(engine: ContainerEngine, name: string, signal?: AbortSignal): Promise<Image> {
  if (!NAME.test(name)) {
    const what = `${JSON.stringify(name)} is not the name of an image.`;
    throw new FreezerError('unsupported', what, 'Submit the job with the name of an image.');
  }
  const local = await inspect(engine, name, signal);
  if (local) return local;
  await pull(engine, name, signal);
  const pulled = await inspect(engine, name, signal);
  if (pulled) return pulled;
  throw notFound(name, 'it is gone again');
}

async function inspect(engine: ContainerEngine, name: string, signal: AbortSignal | undefined): Promise<Image | null> {
  try {
    const [image] = await engine.ask(z.tuple([Inspected]), ['image', 'inspect', name], { signal });
    return describe(image, name);
  } catch (error) {
    if (!(error instanceof EngineRefusal) || error.isDown) throw error;
    return null;
  }
}

function describe({ Id, RepoDigests, Config }: z.output<typeof Inspected>, name: string): Image {
  const repository = name.replace(/@.*$/, '').replace(/:[^:/]*$/, '');
  // Podman has such for images that were never in a registry, too.
  const digests = RepoDigests.filter((digest) => !digest.startsWith('localhost/'));
  const isOfName = (digest: string) => digest.startsWith(`${repository}@`);
  const id = Id.startsWith('sha256:') ? Id : `sha256:${Id}`;
  return {
    // What was pinned stays the same pin: a checkpoint's is compared with it.
    pin: [...digests, id].find((digest) => digest === name) ?? digests.find(isOfName) ?? digests[0] ?? id,
    labels: Object.keys(Config.Labels ?? {}),
    env: Object.fromEntries(Config.Env.map(splitPair)),
    command: [...Config.Entrypoint, ...Config.Cmd],
    user: Config.User,
    directory: Config.WorkingDir || '/',
    volumes: Object.keys(Config.Volumes ?? {}).sort(),
  };
}

function splitPair(text: string): [string, string] {
  const at = text.indexOf('=');
  return at < 0 ? [text, ''] : [text.slice(0, at), text.slice(at + 1)];
}

/**
 * In the words of registries and of both engines. What is not among them may pass: the network, the registry's own trouble, a login
 * that ran out. Access that is "denied" is what Docker Hub says of names that it does not have.
 */
const NOT_THERE =
  /manifest unknown|not found: manifest|repository .*not found|pull access denied|requested access .* denied|does not exist|invalid reference|no matching manifest|name unknown|no such image/i;
const NOT_LOGGED_IN = /unauthorized|no basic auth credentials|authentication required|incorrect username/i;

async function pull(engine: ContainerEngine, name: string, signal: AbortSignal | undefined): Promise<void> {
  // An id is no name: no registry could know it.
  if (/^sha256:/.test(name)) throw notFound(name, 'it was made on another machine and is in no registry');
  try {
    await engine.call(['pull', '--quiet', name], { signal, withinMs: ANY_TIME });
  } catch (error) {
    if (!(error instanceof EngineRefusal) || error.isDown) throw error;
    if (NOT_THERE.test(error.words)) throw notFound(name, error.words);
    throw cannotPull(name, error);
  }
}

function notFound(name: string, why: string): FreezerError {
  const remedy = 'Push the image to a registry that every worker can pull from, and log the workers in there.';
  return new FreezerError('imageNotFound', `The image ${name} cannot be had: ${why}.`, remedy);
}

function cannotPull(name: string, cause: EngineRefusal): FreezerError {
  const what = `The image ${name} could not be pulled: ${cause.words}`;
  if (cause.code === 'diskFull') return new FreezerError(cause.code, what, cause.remedy, { cause });
  const remedy = NOT_LOGGED_IN.test(cause.words)
    ? 'Log the workers in at the registry'
    : 'Let the worker reach the registry';
  return new FreezerError('cannotRun', what, `${remedy}; Floe tries again.`, { cause });
}
