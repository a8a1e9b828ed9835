/** Who can read a job's secrets in its container, and who cannot ask for them. */
import { randomUUID } from 'node:crypto';
import { basename, dirname } from 'node:path';
import { execa } from 'execa';
import { describe, expect, test } from 'vitest';
import type { Run } from '../runtime.ts';
import { onStage, untilLines } from '../testing/stage.ts';
import { debian, debianOnPodman } from './testing/kinds.ts';

/** Containers are called after their run's folder. */
const containerOf = (run: Run) => `floe-${basename(dirname(dirname(run.workspace)))}`;

describe.each([
  ['docker', debian],
  ['podman', debianOnPodman],
] as const)('%s: the secrets of a job', (engine, kind) => {
  const stage = onStage(kind);

  test("can be read by whatever user its program is, and are not in the engine's data of the container", async () => {
    const value = randomUUID();
    stage().secrets = { token: value };
    const run = await stage().start(['sh', '-c', 'echo ready; exec sleep 1000']);
    await untilLines(run, 1);
    const read = await execa(engine, [
      'exec',
      '--user',
      '1000:1000',
      containerOf(run),
      '/bin/cat',
      '/run/secrets/token',
    ]);
    expect(read.stdout).toBe(value);
    expect((await execa(engine, ['inspect', containerOf(run)])).stdout).not.toContain(value);
  });

  test.each(['/run/secrets', '/run/secrets/token'])(
    'a volume at %s is refused where there are secrets',
    async (volume) => {
      stage().secrets = { token: 'x' };
      const refused = stage().start(['true'], undefined, { volumes: [volume] });
      await expect(refused).rejects.toMatchObject({ code: 'unsupported', message: expect.stringContaining(volume) });
    },
  );

  test('stay what they are beside a volume at /run', async () => {
    stage().secrets = { token: 'x\n' };
    const volumes = { volumes: ['/run'] };
    let run = await stage().start(['sh', '-c', 'touch /run/own; echo ready; exec sleep 1000'], undefined, volumes);
    await untilLines(run, 1);
    for (const epoch of [1, 2, 3]) {
      stage().secrets = { token: `${epoch}` };
      run = await stage().move(run, epoch, volumes);
      const read = await execa(engine, [
        'exec',
        containerOf(run),
        '/bin/sh',
        '-c',
        '/bin/ls /run; /bin/cat /run/secrets/token',
      ]);
      expect(read.stdout.split('\n')).toEqual(expect.arrayContaining(['own', 'secrets', `${epoch}`]));
    }
  });
});
