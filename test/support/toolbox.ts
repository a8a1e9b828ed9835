/** The toolbox that the set-up step built. */
import { join } from 'node:path';

export function defaultToolbox(): string {
  return process.env.FLOE_TOOLBOX ?? join(process.env.FLOE_SETUP_DIR ?? '/var/lib/floe/setup', 'toolbox');
}
