/** What workers that crashed left with the engine. */
import { isOwnerAlive, ownerName } from '../run/owner.ts';
import { isAbandoned } from '../run/stateFolder.ts';
import type { ContainerEngine } from './engine.ts';

const STATE_LABEL = 'floe.state';
const OWNER_LABEL = 'floe.owner';

/** For everything that this process makes for the state folder. */
export async function labelsFor(stateDirectory: string): Promise<Record<string, string>> {
  return { [STATE_LABEL]: stateDirectory, [OWNER_LABEL]: await ownerName() };
}

/**
 * Removes the containers and volumes whose worker is dead: one that had this state folder before, or any other whose folder
 * this machine knows to be abandoned. With workers that are named anew at each start, nobody else would.
 */
export async function sweepOrphans(engine: ContainerEngine, stateDirectory: string): Promise<void> {
  for (const name of await orphans(engine, ['ps', '--all'], 'Names', stateDirectory)) {
    await engine.call(['rm', '--force', '--volumes', name]).catch(ignoreGone);
  }
  for (const name of await orphans(engine, ['volume', 'ls'], 'Name', stateDirectory)) {
    await engine.call(['volume', 'rm', '--force', name]).catch(ignoreGone);
  }
}

async function orphans(
  engine: ContainerEngine,
  list: string[],
  nameField: string,
  stateDirectory: string,
): Promise<string[]> {
  const format = `{{.${nameField}}}\t{{.Label "${OWNER_LABEL}"}}\t{{.Label "${STATE_LABEL}"}}`;
  const text = await engine.call([...list, '--filter', `label=${STATE_LABEL}`, '--format', format]);
  const lines = text.split('\n').filter((line) => line !== '');
  const found = await Promise.all(
    lines.map(async (line) => {
      const [name = '', owner = '', state = ''] = line.split('\t');
      const isOrphan = state === stateDirectory ? !(await isOwnerAlive(owner)) : await isAbandoned(state);
      return isOrphan ? [name] : [];
    }),
  );
  return found.flat();
}

/** Another worker that starts at the same time may be quicker. */
function ignoreGone(error: unknown): void {
  if (!(error instanceof Error) || !/no such (container|volume)/i.test(error.message)) throw error;
}
