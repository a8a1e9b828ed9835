/** What one job in a container can take of its machine, and what it cannot. */
import { basename, dirname } from 'node:path';
import { execa } from 'execa';
import { describe, expect, test } from 'vitest';
import { program } from '../../test/support/programs.ts';
import { onStage, output, untilLines } from '../testing/stage.ts';
import { importedImage } from './testing/importedImage.ts';
import { debian, debianOnPodman } from './testing/kinds.ts';

const FORKS = String.raw`$| = 1; my $count = 0;
while (defined(my $pid = fork)) { $count++; if ($pid == 0) { sleep 1000; exit } }
print "$!\n$count\n"; sleep 1000`;

describe.each([
  ['docker', debian],
  ['podman', debianOnPodman],
] as const)('%s: a job in a container', (engine, kind) => {
  const stage = onStage(kind);

  test('has no more processes than it may have, and can be killed', async () => {
    const run = await stage().start(['perl', '-e', FORKS], undefined, { resources: { processes: 40 } });
    await untilLines(run, 2);
    const [why, count] = (await output(run)).trim().split('\n');
    expect(why).toBe('Resource temporarily unavailable');
    expect(Number(count)).toBeGreaterThan(30);
    expect(Number(count)).toBeLessThan(40 + 64);
    await run.kill();
    expect(await run.ended).toMatchObject({ kind: 'lost' });
  });

  test('is told how much it has written beside its folders, before and after a move', async () => {
    const write =
      'head -c 5000000 /dev/zero > /var/tmp/big; head -c 9000000 /dev/zero > here; echo ready; exec sleep 1000';
    let run = await stage().start(['sh', '-c', write]);
    await untilLines(run, 1);
    for (const epoch of [1, 2]) {
      const size = await run.layerSizeBytes?.();
      expect(size).toBeGreaterThan(4_900_000);
      expect(size).toBeLessThan(8_000_000);
      if (epoch === 1) run = await stage().move(run, epoch);
    }
  });

  test("has a bounded log of its engine's, a bounded folder in memory, and none of its image's labels", async () => {
    const files = { '/memory': { program: await program('memory') } };
    const image = await importedImage(engine, { files, says: ['LABEL other=1 floe.state=/elsewhere floe.owner=9.9'] });
    const run = await stage().start(['/memory', '1', '1000', 'plain'], undefined, { image });
    const name = `floe-${basename(dirname(dirname(run.workspace)))}`;
    const { stdout } = await execa(engine, ['container', 'inspect', name]);
    const [{ Config, HostConfig }] = JSON.parse(stdout);
    expect(Config.Labels.other ?? '').toBe('');
    expect(Config.Labels['floe.state']).toBe(stage().stateDirectory('m0'));
    expect(Config.Labels['floe.owner']).not.toBe('9.9');
    expect(JSON.stringify(HostConfig.LogConfig)).toMatch(/1m|1MB/);
    expect(HostConfig.Tmpfs['/floe/kd']).toContain('size=');
  });
});
