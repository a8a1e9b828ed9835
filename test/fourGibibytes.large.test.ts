/**
 * What the checkpoint engine is for, at its size: a job with 4 GiB of memory survives three moves through S3, encrypted and lazy. It
 * verifies its memory and files all the time; in the end its log, files and exit code are those of a job that nobody moved. Nor does
 * an engine ever have more memory than an eighth of the job's.
 *
 * Needs 8 GiB of memory, 10 GiB of disk and some ten minutes.
 */
import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { constants } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { debian } from '../freezer/container/testing/kinds.ts';
import { openProcessRuntime } from '../freezer/process/runtime.ts';
import type { Run } from '../freezer/runtime.ts';
import { EngineWatch } from '../freezer/testing/engineWatch.ts';
import { type Kind, onStage, output, untilLines, withPrograms } from '../freezer/testing/stage.ts';
import { type Ceph, startCeph } from '../store/testing/ceph.ts';
import { defaultToolbox } from './support/toolbox.ts';
import { undisturbed } from './support/undisturbed.ts';

/** It must not end before its third move, and afterwards go on for more than the eight steps in which it verifies all of its memory. */
const WORDS = ['4096', '90', 'plain', '--seed', '7'];
/** A step of a job whose memory is not there yet waits for half a gigabyte of it. */
const LINES_WITHIN_MS = 300_000;
const MOST_ENGINE_BYTES = 512 * 2 ** 20;

const onMachine: Kind = {
  open: (stateDirectory) => openProcessRuntime({ stateDirectory, toolboxDirectory: defaultToolbox() }),
};

let ceph: Ceph;
let expected: { stdout: string; record: string };

beforeAll(async () => {
  [ceph, expected] = await Promise.all([startCeph(), undisturbed(WORDS)]);
  Object.assign(process.env, ceph.environment);
});

afterAll(() => ceph.stop());

describe.each([
  ['process', onMachine],
  ['docker', debian],
])('in the %s runtime', (name, kind) => {
  const stage = onStage(kind);

  /** As the stage's own, with figures for whoever looks on. */
  async function move(run: Run, epoch: number): Promise<Run> {
    const begun = performance.now();
    const { checkpoint, frozenMs } = await run.freeze({ place: stage().place, epoch, afterwards: 'stop' });
    const frozenAt = performance.now();
    await run[Symbol.asyncDispose]();
    const goneAt = performance.now();
    const thawed = await stage().thaw(checkpoint.id, epoch + 1);
    const seconds = (ms: number) => `${(ms / 1000).toFixed(2)} s`;
    const waited = frozenAt - begun - frozenMs;
    console.info(
      `${name}, move ${epoch}: waited ${seconds(waited)} for the rest of its memory, stood still ${seconds(frozenMs)} until durable, ` +
        `${(checkpoint.sentBytes / 2 ** 20).toFixed(0)} MiB sent; thawed in ${seconds(performance.now() - goneAt)}`,
    );
    return thawed;
  }

  test('three moves through S3, encrypted and lazy', async () => {
    const storeUrl = ceph.storeUrl(await ceph.createBucket());
    stage().place = { storeUrl, prefix: 'jobs/a/', encryptionKeys: [randomBytes(32).toString('hex')] };
    stage().mode = 'lazy';
    using watch = new EngineWatch();
    let run = await stage().start(['./memory', ...WORDS, '--pace-ms', '2000'], withPrograms('memory'));
    for (const epoch of [1, 2, 3]) {
      await untilLines(run, 2 * epoch, LINES_WITHIN_MS);
      run = await move(run, epoch);
    }
    // What is left of it is most of it, and all of its sleeping.
    run.signal(constants.signals.SIGUSR1);
    expect(await run.ended).toEqual({ kind: 'exited', code: 0 });
    expect(await output(run)).toBe(expected.stdout);
    expect(await readFile(join(run.workspace, 'memory.record'), 'utf8')).toBe(expected.record);
    console.info(`${name}: an engine had ${(watch.cost.rssBytes / 2 ** 20).toFixed(0)} MiB at most`);
    expect(watch.cost.rssBytes).toBeLessThanOrEqual(MOST_ENGINE_BYTES);
  });
});
