/** Every case, by kind. */
import type { Attack } from '../attack.ts';
import { archives } from './archives.ts';
import { dashboard } from './dashboard.ts';
import { disk } from './disk.ts';
import { files } from './files.ts';
import { images } from './images.ts';
import { network } from './network.ts';
import { processes } from './processes.ts';
import { secrets } from './secrets.ts';
import { specs } from './specs.ts';
import { terminal } from './terminal.ts';

export const attacks: readonly Attack[] = [
  ...files,
  ...archives,
  ...images,
  ...processes,
  ...network,
  ...disk,
  ...specs,
  ...secrets,
  ...terminal,
  ...dashboard,
];
