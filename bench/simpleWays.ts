/**
 * The ways without Floe, with the same program and the same CRIU:
 *
 *   disk (a)  `criu dump` to the disk, then `aws s3 sync`
 *   pipe (b)  `criu dump` to a tmpfs, then `tar | zstd -1 -T0 | aws s3 cp -`; and backwards
 *   dump (c)  the dump of (b) alone: nothing can be faster that waits for CRIU
 *
 * The program runs on after a dump, as it does after a checkpoint of Floe's that it continues from.
 */
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { BareContainer } from './bareContainer.ts';
import { Filler, fillerCommand, putFiller } from './filler.ts';
import type { FloeWay } from './floeWay.ts';
import { changedPages, type Measures } from './measures.ts';
import { changeBytes, windowsBytes } from './windows.ts';

const KIB = 1024;

/** `countWindows`: also count what windows of fixed sizes would send for a scattered change. Takes long, and is the same each time. */
export async function measureSimpleWays(way: FloeWay & { countWindows: boolean }): Promise<Measures> {
  const workspace = join(way.ground.disk, 'bare');
  await mkdir(workspace);
  await putFiller(workspace);
  const measures = await measureDumps(way, workspace);
  if (!way.parts.includes('thaw')) return measures;
  return { ...measures, ...(await measureWayBack(way, workspace)) };
}

async function measureDumps(way: FloeWay & { countWindows: boolean }, workspace: string): Promise<Measures> {
  const { ground, load, toolboxDirectory } = way;
  const shared = [ground.disk, ground.tmpfs];
  await using container = await BareContainer.open({ toolboxDirectory, workspace, shared });
  await container.start(fillerCommand(load.sizeBytes, load.content));
  await using filler = await Filler.find(workspace, AbortSignal.any([way.signal, container.ended]));
  const onDisk = join(ground.disk, 'dump');
  await ground.settle();
  const disk = await timed(async () => {
    await container.dump(onDisk);
    await ground.simple.storeFolder(onDisk);
  });
  await rm(onDisk, { recursive: true });

  const inMemory = join(ground.tmpfs, 'dump');
  await ground.settle();
  const startedAt = Date.now();
  const dump = await timed(() => container.dump(inMemory));
  const standstillMs = await filler.longestPauseSince(startedAt);
  const pack = await timed(() =>
    ground.simple.storeStream([
      ['tar', '--create', '--file', '-', '--directory', inMemory, '.'],
      ['zstd', '-1', '-T0', '--quiet', '--stdout'],
    ]),
  );
  await rm(inMemory, { recursive: true });
  const windows = way.countWindows && way.parts.includes('increment') ? await countWindows(way, container, filler) : {};
  return {
    'disk.wallMs': disk,
    'dump.wallMs': dump,
    'dump.standstillMs': standstillMs,
    'pipe.wallMs': dump + pack,
    ...windows,
  };
}

async function countWindows({ load, pair }: FloeWay, container: BareContainer, filler: Filler): Promise<Measures> {
  const pages = changedPages('scattered 1 %', load, pair);
  await filler.change(pages);
  const memory = {
    ...{ pages, sizeBytes: load.sizeBytes },
    pid: await container.programPid(),
    base: await filler.base(),
  };
  return {
    'windows.pagesBytes': await changeBytes(memory),
    'windows.64KiBBytes': await windowsBytes(memory, 64 * KIB),
    'windows.256KiBBytes': await windowsBytes(memory, 256 * KIB),
  };
}

/** The container is there already: the clock shows only fetching, unpacking and restoring. */
async function measureWayBack({ ground, toolboxDirectory, signal }: FloeWay, workspace: string): Promise<Measures> {
  await using container = await BareContainer.open({ toolboxDirectory, workspace, shared: [ground.tmpfs] });
  const images = join(ground.tmpfs, 'images');
  await mkdir(images);
  await ground.settle();
  const startedAt = Date.now();
  await ground.simple.fetchStream([
    ['zstd', '--decompress', '--quiet', '--stdout'],
    ['tar', '--extract', '--file', '-', '--directory', images],
  ]);
  await container.restore(images);
  await using filler = await Filler.find(workspace, signal);
  const firstRanAt = await filler.firstRanAfter(startedAt);
  const { endedAt } = await filler.sweep();
  await filler.verify();
  await rm(images, { recursive: true });
  return { 'pipe.back.firstInstructionMs': firstRanAt - startedAt, 'pipe.back.sweptMs': endedAt - startedAt };
}

async function timed(work: () => Promise<void>): Promise<number> {
  const started = performance.now();
  await work();
  return performance.now() - started;
}
