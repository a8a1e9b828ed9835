/** What a container's writable layer holds, as the engine tells it, whatever storage it uses. */
import { z } from 'zod';
import type { LayerChange } from '../agent/protocol.ts';
import { pathTooLong } from '../checkpoint/longPaths.ts';
import { FreezerError } from '../errors.ts';
import { type ContainerEngine, EngineRefusal } from './engine.ts';

const KINDS: Record<string, LayerChange['kind']> = { A: 'added', C: 'changed', D: 'deleted' };

const paths = z.array(z.string()).nullish();
const PodmanDiff = z.object({ added: paths, changed: paths, deleted: paths });

/** The worker's loop handles them, and the agent gets them in one message. */
const MOST_CHANGES = 250_000;

/**
 * Throws `FreezerError`: `cannotFreeze` for a name with a line break, which Docker's answer cannot hold, for a path that is too
 * long for the engine, and for more than 250,000 changes; `cannotRun` when the engine does not answer.
 */
export async function layerChanges(
  engine: ContainerEngine,
  container: string,
  signal?: AbortSignal,
): Promise<LayerChange[]> {
  try {
    const changes = await askForChanges(engine, container, signal);
    if (changes.length > MOST_CHANGES) throw tooManyChanges();
    return changes;
  } catch (error) {
    if (!(error instanceof EngineRefusal) || !/file name too long/i.test(error.words)) throw error;
    throw pathTooLong(/\/merged(\/.*?):/.exec(error.words)?.[1] ?? error.words);
  }
}

function tooManyChanges(): FreezerError {
  const what = `The job cannot be frozen: it changed more than ${MOST_CHANGES} files outside its workspace and volumes.`;
  return new FreezerError('cannotFreeze', what, 'Keep such files in /workspace or in a volume.');
}

async function askForChanges(
  engine: ContainerEngine,
  container: string,
  signal: AbortSignal | undefined,
): Promise<LayerChange[]> {
  if (engine.name === 'podman') {
    const diff = await engine.ask(PodmanDiff, ['diff', '--format', 'json', container], { signal });
    const of = (kind: LayerChange['kind']) => (diff[kind] ?? []).map((path) => ({ kind, path }));
    return [...of('deleted'), ...of('added'), ...of('changed')];
  }
  return parseDockerDiff(await engine.call(['diff', container], { signal }));
}

const Sized = z.object({ SizeRw: z.number().nonnegative() });

/** How much the container has written to its own layer. Rejects with `EngineRefusal`. */
export async function layerSizeBytes(
  engine: ContainerEngine,
  container: string,
  signal?: AbortSignal,
): Promise<number> {
  const inspect = ['container', 'inspect', '--size', container];
  const [{ SizeRw }] = await engine.ask(z.tuple([Sized]), inspect, { signal });
  return SizeRw;
}

/** One line each: a letter, a blank, the path. */
export function parseDockerDiff(text: string): LayerChange[] {
  const lines = text === '' ? [] : text.split('\n');
  return lines.map((line) => {
    const kind = KINDS[line[0] ?? ''];
    if (kind !== undefined && line.startsWith(' /', 1)) return { kind, path: line.slice(2) };
    const what = `The job cannot be frozen: a file outside its workspace has a line break in its name (…${line}).`;
    throw new FreezerError('cannotFreeze', what, 'Keep such files in /workspace or in a volume.');
  });
}
