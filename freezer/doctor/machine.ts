/** All that this machine needs to run jobs and to freeze them. */
import { chooseImagesDirectory } from '../run/imagesPlace.ts';
import { checkCapabilities } from './capabilities.ts';
import { checkEncryption } from './encryption.ts';
import { type MachineFinding, orFailure } from './finding.ts';
import { checkConfinement, checkControlGroups, checkImagesPlace, checkRoom } from './host.ts';
import { checkJobNetwork } from './jobNetwork.ts';
import { checkKernel } from './kernel.ts';
import { checkRuntimes, type RuntimesToCheck } from './runtimes.ts';
import { checkCodec, checkCriuOnKernel, checkCriuVersion, checkToolbox } from './toolbox.ts';

export interface MachineToExamine extends RuntimesToCheck {
  /** Master keys of checkpoints, as in a `CheckpointPlace`. */
  readonly encryptionKeys: readonly string[];
}

/** Never rejects: what cannot be looked at is a finding. */
export async function examineMachine(options: MachineToExamine): Promise<readonly MachineFinding[]> {
  const { stateDirectory, toolboxDirectory, imagesDirectory, encryptionKeys } = options;
  const chooseImages = () => chooseImagesDirectory(imagesDirectory, encryptionKeys);
  const findings = [
    await orFailure('kernel', checkKernel),
    await orFailure('capabilities', checkCapabilities),
    await orFailure('confinement', checkConfinement),
    await orFailure('control groups', checkControlGroups),
    await orFailure('toolbox', () => checkToolbox(toolboxDirectory)),
    await orFailure('codec', () => checkCodec(toolboxDirectory)),
    await orFailure('CRIU', () => checkCriuVersion(toolboxDirectory)),
    await orFailure('criu check', () => checkCriuOnKernel(toolboxDirectory)),
    await orFailure('runtimes', async () => checkRuntimes({ ...options, imagesDirectory: await chooseImages() })),
    await orFailure('network of jobs', async () => checkJobNetwork(options)),
    await orFailure('room', () => checkRoom(stateDirectory)),
    await orFailure('images', async () => checkImagesPlace(await chooseImages(), stateDirectory)),
    await orFailure('encryption', async () => checkEncryption(encryptionKeys)),
  ];
  return findings.flat();
}
