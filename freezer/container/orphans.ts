/** What a worker that crashed left with the engine. */
import { isOwnerAlive, ownerName } from '../run/owner.ts';
import type { ContainerEngine } from './engine.ts';

const WORKER_LABEL = 'floe.state';
const OWNER_LABEL = 'floe.owner';

/** For everything that this process makes for the state folder. */
export async function labelsFor(stateDirectory: string): Promise<Record<string, string>> {
  return { [WORKER_LABEL]: stateDirectory, [OWNER_LABEL]: await ownerName() };
}

/** Removes the containers and volumes of the state folder's whose owner is dead. */
export async function sweepOrphans(engine: ContainerEngine, stateDirectory: string): Promise<void> {
  const listed = ['--all', '--format', `{{.Names}} {{.Label "${OWNER_LABEL}"}}`];
  for (const name of await orphans(engine, ['ps', ...listed], stateDirectory)) {
    await engine.call(['rm', '--force', '--volumes', name]);
  }
  const volumes = ['volume', 'ls', '--format', `{{.Name}} {{.Label "${OWNER_LABEL}"}}`];
  for (const name of await orphans(engine, volumes, stateDirectory)) {
    await engine.call(['volume', 'rm', '--force', name]);
  }
}

async function orphans(engine: ContainerEngine, list: string[], stateDirectory: string): Promise<string[]> {
  const text = await engine.call([...list, '--filter', `label=${WORKER_LABEL}=${stateDirectory}`]);
  const lines = text.split('\n').filter((line) => line !== '');
  const found = await Promise.all(
    lines.map(async (line) => {
      const [name = '', owner = ''] = line.split(' ');
      return (await isOwnerAlive(owner)) ? [] : [name];
    }),
  );
  return found.flat();
}
