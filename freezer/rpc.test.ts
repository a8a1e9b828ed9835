import { ChildProcess } from 'node:child_process';
import { expect, test } from 'vitest';
import { channelTransport, Peer } from './rpc.ts';

test('who closes a conversation that never began leaves nobody waiting for an answer', async () => {
  // As `fork` gives it back when the process has no descriptor left for the channel.
  const never = new ChildProcess();
  const peer = new Peer<{ ask(of: object): void }, object>(channelTransport(never), {}, 'engine', 'failed');
  const asked = peer.request('ask', {});
  peer.close();
  await expect(asked).rejects.toMatchObject({ code: 'failed' });
  await expect(peer.request('ask', {})).rejects.toMatchObject({ code: 'failed' });
  await peer.closed;
});
