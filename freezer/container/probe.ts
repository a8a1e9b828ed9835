/**
 * What this machine's engine lets a container have, found out by making one: an empty image with the agent in it. What could
 * go wrong for every job goes wrong here, before the first one is taken: a state folder that the engine sees elsewhere, a
 * capability that nobody may have, a kernel or an engine that is too old.
 */
import { basename } from 'node:path';
import { z } from 'zod';
import { FreezerError } from '../errors.ts';
import { makeRunFolder, removeRunFolder } from '../run/folder.ts';
import type { ImagesPlace } from '../run/imagesPlace.ts';
import type { Bundle } from './bundle.ts';
import { launch, removeContainer } from './container.ts';
import type { ContainerEngine } from './engine.ts';
import { type Image, resolveImage } from './image.ts';
import { CAPABILITIES, CAPABILITY_FOR_USERS, type ContainerPlan } from './runArguments.ts';

/** What a container may have on this machine. */
export interface Permissions {
  /** Programs of other users than root can be frozen. */
  readonly users: boolean;
  readonly securityOptions: readonly string[];
}

interface Site {
  readonly engine: ContainerEngine;
  readonly bundle: Bundle;
  readonly stateDirectory: string;
  readonly images: ImagesPlace;
  readonly labels: Readonly<Record<string, string>>;
}

/** Throws `FreezerError` `cannotRun`. */
export async function probe(site: Site): Promise<Permissions> {
  const image = await emptyImage(site.engine);
  const securityOptions = await findSecurityOptions(site.engine);
  const tryWith = (capabilities: string[]) => runOnce(site, image, { capabilities, securityOptions });
  const refused = await tryWith([...CAPABILITIES, CAPABILITY_FOR_USERS]);
  if (refused === null) return { users: true, securityOptions };
  const refusedWithout = await tryWith(CAPABILITIES);
  if (refusedWithout !== null) throw refusedWithout;
  return { users: false, securityOptions };
}

async function runOnce(
  { engine, bundle, stateDirectory, images, labels }: Site,
  image: Image,
  options: Pick<ContainerPlan, 'capabilities' | 'securityOptions'>,
): Promise<FreezerError | null> {
  const folder = await makeRunFolder({ stateDirectory, images }, `probe-${options.capabilities.length}`);
  const name = `floe-${basename(folder.root)}`;
  const program = { command: [], env: {}, network: 'none' } as const;
  try {
    const plan = { name, labels, hostname: 'floe', image, program, folder, bundle, mounts: [], ...options };
    const container = await launch(engine, plan);
    const { mask } = await container.agent.request('capabilities', {});
    container.kill();
    await container.gone;
    return countBits(mask) < options.capabilities.length ? cannotHave(options.capabilities) : null;
  } catch (error) {
    if (error instanceof FreezerError) return error;
    throw error;
  } finally {
    await removeContainer(engine, name);
    await removeRunFolder(folder);
  }
}

function countBits(hexadecimal: string): number {
  return [...BigInt(`0x${hexadecimal}`).toString(2)].filter((bit) => bit === '1').length;
}

/** Podman drops those that it has not itself, and says nothing. */
function cannotHave(capabilities: readonly string[]): FreezerError {
  const what = `The container engine gives containers less than they need: ${capabilities.join(', ')}.`;
  return new FreezerError('cannotRun', what, 'Let the engine run with all capabilities, and not rootless.');
}

/** `localhost`, which is no registry: Podman would put it there anyway, and then look for the short name elsewhere, too. */
const EMPTY_IMAGE = 'localhost/floe/empty:1';
/** Two blocks of zeros are the end of a tar archive, and so a whole one. */
const EMPTY_ARCHIVE = new Uint8Array(1024);

/** Imported once for a machine: each import makes another image, which the one before it would stay beside without a name. */
async function emptyImage(engine: ContainerEngine): Promise<Image> {
  const has = await engine.call(['image', 'ls', '--quiet', EMPTY_IMAGE]);
  if (has === '') await engine.call(['import', '-', EMPTY_IMAGE], { input: EMPTY_ARCHIVE });
  return await resolveImage(engine, EMPTY_IMAGE);
}

const DockerInfo = z.object({ SecurityOptions: z.array(z.string()).nullish() });
const PodmanInfo = z.object({
  host: z.object({ security: z.object({ apparmorEnabled: z.boolean(), selinuxEnabled: z.boolean() }) }),
});

/** The profiles that engines give containers by default forbid CRIU's work (mount, ptrace), and are in force only where the machine has them. */
async function findSecurityOptions(engine: ContainerEngine): Promise<string[]> {
  const format = ['info', '--format', '{{json .}}'];
  const has = { apparmor: false, selinux: false };
  if (engine.name === 'podman') {
    const { security } = (await engine.ask(PodmanInfo, format)).host;
    Object.assign(has, { apparmor: security.apparmorEnabled, selinux: security.selinuxEnabled });
  } else {
    const options = (await engine.ask(DockerInfo, format)).SecurityOptions ?? [];
    const names = options.map((option) => /name=(\w+)/.exec(option)?.[1]);
    Object.assign(has, { apparmor: names.includes('apparmor'), selinux: names.includes('selinux') });
  }
  return [...(has.apparmor ? ['apparmor=unconfined'] : []), ...(has.selinux ? ['label=disable'] : [])];
}
