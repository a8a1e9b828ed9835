/** What of the contract of runtimes may depend on the image or the engine, kept with other images and with Podman. */
import { describe } from 'vitest';
import { confinesTheJob } from '../testing/contract/confinement.ts';
import { keepsFiles } from '../testing/contract/files.ts';
import { movesExactly, movesLazily } from '../testing/contract/moves.ts';
import { bare, debianOnPodman, musl } from './testing/kinds.ts';

describe('Docker, an image with musl', () => {
  movesExactly(musl);
  keepsFiles(musl);
});

describe('Docker, an image with one static binary', () => {
  movesExactly(bare);
});

describe('Podman, an image of Debian', () => {
  movesExactly(debianOnPodman);
  movesLazily(debianOnPodman);
  confinesTheJob(debianOnPodman);
});
