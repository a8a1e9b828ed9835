/** The contract of runtimes, kept by the container runtime with Docker and Podman, whatever the image. */
import { describe } from 'vitest';
import { confinesTheJob } from '../testing/contract/confinement.ts';
import { keepsFiles } from '../testing/contract/files.ts';
import { goesOnAfterFreezes } from '../testing/contract/freezes.ts';
import { keepsTheJobFromTheMachine } from '../testing/contract/hardening.ts';
import { movesExactly, movesLazily } from '../testing/contract/moves.ts';
import { refusesCheckpoints } from '../testing/contract/refusals.ts';
import { bare, debian, debianOnPodman, musl } from './testing/kinds.ts';

describe('Docker, an image of Debian', () => {
  movesExactly(debian);
  movesLazily(debian);
  keepsFiles(debian);
  goesOnAfterFreezes(debian);
  refusesCheckpoints(debian);
  confinesTheJob(debian);
  keepsTheJobFromTheMachine(debian);
});

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
