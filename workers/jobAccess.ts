/** What a worker's configuration lets its `process` jobs have of the machine. */
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { MachineAccess } from '../freezer/index.ts';
import type { Config } from '../jobs/index.ts';

/** @param env where `FLOE_X_FILE` names files with secrets */
export function jobAccess(config: Config, env: NodeJS.ProcessEnv = process.env): MachineAccess {
  const { readablePaths, volumeRoots, processNetwork, nameservers } = config.worker;
  return { readablePaths, volumeRoots, network: processNetwork, nameservers, hiddenPaths: floesOwn(config, env) };
}

/** What Floe keeps or is told here, wherever that is. */
function floesOwn({ stateDir, store, redisUrl, worker }: Config, env: NodeJS.ProcessEnv): string[] {
  const secrets = Object.entries(env).flatMap(([name, path]) => (/^FLOE_\w+_FILE$/.test(name) && path ? [path] : []));
  return [
    stateDir,
    ...(env.FLOE_SETUP_DIR ? [env.FLOE_SETUP_DIR] : []),
    ...[worker.imagesDir, worker.secretsDir].filter((path) => path !== null),
    ...(store.startsWith('file:') ? [fileURLToPath(store)] : []),
    ...(redisUrl?.startsWith('unix://') ? [redisUrl.slice('unix://'.length)] : []),
    ...['floe.yaml', '.env', 'worker.env', ...secrets].map((path) => resolve(path)),
  ];
}
