/** Two workers that believe they own one job: only one of them makes progress, and only its word counts. */
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { expect, test, vi } from 'vitest';
import { storeKeys } from '../jobs/index.ts';
import { useGatedCluster } from './support/gatedCluster.ts';
import { stillRunning } from './support/processes.ts';
import { freePort } from './support/redis.ts';
import { undisturbed } from './support/undisturbed.ts';

const WORDS = ['8', '150', 'threads', '--seed', '31'];

const on = useGatedCluster();

/** Hears every step of a job that tells it by UDP, whichever container it is in. */
async function witness(): Promise<{ port: number; steps: number[] }> {
  const socket = on.stack.adopt(createSocket('udp4'), (each) => void each.close());
  const steps: number[] = [];
  socket.on('message', (message) => steps.push(Number(message)));
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  return { port: socket.address().port, steps };
}

/** The jobs here tell the test what they do, over the machine's loopback. */
const HEARD = { processNetwork: 'host' } as const;

/** Keys in the store that a run of this epoch wrote. */
async function written(id: string, epoch: number): Promise<string[]> {
  const objects = await Array.fromAsync(on.cluster.store.list(storeKeys.job(id)));
  const padded = String(epoch).padStart(8, '0');
  return objects.map(({ key, modifiedAt }) => `${key} ${modifiedAt.getTime()}`).filter((key) => key.includes(padded));
}

test('a worker that hangs has no program any more when another goes on, and says nothing when it is back', async () => {
  const { port, steps } = await witness();
  const endPort = await freePort();
  // It goes on until somebody listens at the other port.
  const script = `until (: < /dev/tcp/127.0.0.1/${endPort}) 2> /dev/null
    do i=$((i+1)); echo $i > /dev/udp/127.0.0.1/${port}; echo line $i; sleep 0.05; done`;
  const one = await on.cluster.worker('one', HEARD);
  const id = await on.cluster.floe.submit({
    command: ['bash', '-c', script],
    checkpoint: { everyMs: 800, keep: 100, keepAtEnd: true },
  });
  await on.cluster.untilEvent(id, 'checkpointed');
  const job = (await one.processes()).filter(({ command }) => command.includes(script));
  expect(job).not.toEqual([]);
  one.kill('SIGSTOP');

  await on.cluster.worker('two', HEARD);
  await on.cluster.until(id, { worker: 'two', state: 'running' });
  expect(await stillRunning(job)).toEqual([]);
  const [storedBefore, eventsBefore] = [await written(id, 1), await eventsOf(id, 1)];
  one.kill('SIGCONT');
  await one.says('no longer this worker');
  await on.cluster.untilLines(id, 20);
  on.stack.adopt(createServer().listen(endPort, '127.0.0.1'), (each) => void each.close());

  const { result, runs } = await on.cluster.until(id, { state: 'succeeded', crashes: 1, failures: 0 });
  expect(result).toMatchObject({ worker: 'two', epoch: 2 });
  expect(runs.map(({ worker, end }) => `${worker} ${end}`)).toEqual(['one crashed', 'two finished']);
  expect(await written(id, 1)).toEqual(storedBefore);
  expect(await eventsOf(id, 1)).toEqual(eventsBefore);
  const fences = await Array.fromAsync(on.cluster.store.list(storeKeys.fences(id)));
  expect(fences.map(({ key }) => key)).toEqual([storeKeys.fence(id, 1), storeKeys.fence(id, 2)]);
  expect((await on.cluster.events(id)).filter(({ type }) => type === 'succeeded')).toHaveLength(1);

  // It went back to the checkpoint once. Two programs at once would be heard as a zigzag.
  const jumps = steps.slice(1).filter((step, at) => step !== (steps[at] ?? 0) + 1);
  expect(jumps).toHaveLength(1);
  const last = steps.at(-1) ?? 0;
  expect(await on.cluster.log(id)).toBe(Array.from({ length: last }, (_, at) => `line ${at + 1}\n`).join(''));
});

test('a checkpoint that a worker commits after it lost the job is never thawed', async () => {
  const one = await on.cluster.worker('one', HEARD);
  const id = await on.cluster.submitProgram('memory', [...WORDS, '--pace-ms', '40'], { checkpoint: { everyMs: 0 } });
  await on.cluster.untilLines(id, 3);
  const { checkpoint } = await on.cluster.floe.checkpoint(id);
  const held = on.gate.treat('hold', ({ method, key }) => method === 'PUT' && key.includes('/manifests/00000001-'));
  on.cluster.floe.checkpoint(id).catch(() => undefined); // of no interest to the one who asked: its worker hangs
  await held;
  one.kill('SIGSTOP');

  const two = await on.cluster.worker('two', HEARD);
  await on.cluster.until(id, { worker: 'two', state: 'running' });
  on.gate.open();
  const late = `${storeKeys.checkpoints(id)}manifests/00000001-000002.json`;
  await vi.waitFor(() => on.cluster.store.get(late), { timeout: 30_000, interval: 50 });
  one.kill('SIGCONT');
  await one.says('no longer this worker');
  await one.crash();
  await two.crash();

  await on.cluster.worker('three');
  const { runs } = await on.cluster.until(id, { state: 'succeeded', crashes: 2 });
  expect(runs.map(({ thawedFrom }) => thawedFrom)).toEqual([null, checkpoint, checkpoint]);
  expect(await on.cluster.log(id)).toBe((await undisturbed(WORDS)).stdout);
});

async function eventsOf(id: string, epoch: number) {
  return (await on.cluster.events(id)).filter((event) => event.epoch === epoch);
}
