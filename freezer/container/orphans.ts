/** What workers that crashed left with the engine. */
import { z } from 'zod';
import { isOwnerAlive, ownerName } from '../run/owner.ts';
import { isAbandoned } from '../run/stateFolder.ts';
import { removal } from './container.ts';
import { type ContainerEngine, EngineRefusal } from './engine.ts';

const STATE_LABEL = 'floe.state';
const OWNER_LABEL = 'floe.owner';
/** What engines say of what another removes or has removed. */
const GONE = /no such (container|volume)|already in progress|volume is in use/i;

/** For everything that this process makes for the state folder. */
export async function labelsFor(stateDirectory: string): Promise<Record<string, string>> {
  return { [STATE_LABEL]: stateDirectory, [OWNER_LABEL]: await ownerName() };
}

/**
 * Removes the containers and volumes whose worker is dead: one that had this state folder before, or any other whose folder
 * this machine knows to be abandoned. With workers that are named anew at each start, nobody else would.
 */
export async function sweepOrphans(engine: ContainerEngine, stateDirectory: string): Promise<void> {
  const inspectContainer = ['inspect', '--type', 'container', '--format', '{{json .Config.Labels}}'];
  for (const id of await orphans(engine, ['ps', '--all'], inspectContainer, stateDirectory)) {
    await unlessGone(engine.call(removal(engine, id)));
  }
  const inspectVolume = ['volume', 'inspect', '--format', '{{json .Labels}}'];
  for (const name of await orphans(engine, ['volume', 'ls'], inspectVolume, stateDirectory)) {
    await unlessGone(engine.call(['volume', 'rm', '--force', name]));
  }
}

const Labels = z.object({ [STATE_LABEL]: z.string(), [OWNER_LABEL]: z.string().default('') });

/** Each is asked for its labels by itself: lists with labels have another format with each engine. */
async function orphans(
  engine: ContainerEngine,
  list: string[],
  inspect: string[],
  stateDirectory: string,
): Promise<string[]> {
  const text = await engine.call([...list, '--quiet', '--filter', `label=${STATE_LABEL}`]);
  const names = text.split('\n').filter((name) => name !== '');
  const found = await Promise.all(
    names.map(async (name) => {
      const labels = await unlessGone(engine.ask(Labels, [...inspect, name]));
      return labels && (await isOrphan(labels, stateDirectory)) ? [name] : [];
    }),
  );
  return found.flat();
}

async function isOrphan(labels: z.output<typeof Labels>, stateDirectory: string): Promise<boolean> {
  const state = labels[STATE_LABEL];
  return state === stateDirectory ? !(await isOwnerAlive(labels[OWNER_LABEL])) : await isAbandoned(state);
}

/** Another worker that starts at the same time may be quicker, or in the middle of it: its container still holds the volume then. */
async function unlessGone<T>(asked: Promise<T>): Promise<T | undefined> {
  try {
    return await asked;
  } catch (error) {
    if (error instanceof EngineRefusal && GONE.test(error.message)) return undefined;
    throw error;
  }
}
