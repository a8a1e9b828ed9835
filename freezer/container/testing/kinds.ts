/** The container runtime with each kind of image that jobs come in, for the contract of runtimes. */

import { type TestImageName, testImage } from '../../../test/images/testImage.ts';
import { requireEngine } from '../../../test/support/engine.ts';
import { defaultToolbox } from '../../../test/support/toolbox.ts';
import type { Kind } from '../../testing/stage.ts';
import type { EngineName } from '../engine.ts';
import { openContainerRuntime } from '../runtime.ts';

function kind(engine: EngineName, image: TestImageName, more: Partial<Kind> = {}): Kind {
  return {
    prepare: async () => ({ image: await testImage(await requireEngine(engine), image) }),
    open: (stateDirectory) => openContainerRuntime({ engine, stateDirectory, toolboxDirectory: defaultToolbox() }),
    ...more,
  };
}

export const debian = kind('docker', 'debian');
// Every way of using memory is moved in one kind of image; of the others, what may depend on the image or the engine.

/** Another libc, and busybox for everything else. */
export const musl = kind('docker', 'musl', { memory: '/usr/local/bin/memory', modes: ['random', 'threads'] });
/** One program, and nothing else at all. */
export const bare = kind('docker', 'static', { memory: '/memory', modes: ['plain', 'tree'] });
/** User, folder, environment, volume, entrypoint and command of its own. */
export const configured = kind('docker', 'configured');
export const debianOnPodman = kind('podman', 'debian', { modes: ['tree', 'shared'] });
export const configuredOnPodman = kind('podman', 'configured');
