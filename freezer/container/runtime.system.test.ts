/** The contract of runtimes, kept by the container runtime with Docker; otherKinds.system.test.ts has other images and Podman. */
import { describe } from 'vitest';
import { confinesTheJob } from '../testing/contract/confinement.ts';
import { keepsFiles } from '../testing/contract/files.ts';
import { goesOnAfterFreezes } from '../testing/contract/freezes.ts';
import { keepsTheJobFromTheMachine } from '../testing/contract/hardening.ts';
import { movesAsStream, movesExactly, movesLazily } from '../testing/contract/moves.ts';
import { refusesCheckpoints } from '../testing/contract/refusals.ts';
import { givesSecrets } from '../testing/contract/secrets.ts';
import { debian } from './testing/kinds.ts';

describe('Docker, an image of Debian', () => {
  movesExactly(debian);
  movesAsStream(debian);
  movesLazily(debian);
  keepsFiles(debian);
  goesOnAfterFreezes(debian);
  refusesCheckpoints(debian);
  confinesTheJob(debian);
  keepsTheJobFromTheMachine(debian);
  givesSecrets(debian);
});
