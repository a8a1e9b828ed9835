/** Native modules of the toolbox. They stand on what Node exports, so a Node may be unable to load them: then it is done without. */
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { z } from 'zod';

const require = createRequire(import.meta.url);
/** It is not there, or wants what this Node does not export. */
const CANNOT_LOAD = z.object({ code: z.enum(['MODULE_NOT_FOUND', 'ERR_DLOPEN_FAILED']) });

/** `Addon`: what the source in checkpoint/native says that it exports. Null where there is none that this Node can load. */
export function loadAddon<Addon>(toolboxDirectory: string, name: 'codec' | 'extended-attributes'): Addon | null {
  try {
    return require(join(toolboxDirectory, `lib/${name}.node`));
  } catch (error) {
    if (CANNOT_LOAD.safeParse(error).success) return null;
    throw error;
  }
}
