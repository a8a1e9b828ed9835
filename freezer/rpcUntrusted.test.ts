/** What comes from a container is not believed: at worst it ends its own conversation, and never the process that has it. */
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { afterEach, expect, test } from 'vitest';
import { Peer, socketTransport } from './rpc.ts';

const cleanup: (() => void)[] = [];
afterEach(() => {
  for (const close of cleanup.splice(0)) close();
});

interface Remote {
  ask(of: object): string;
}
const called: unknown[] = [];
const local = { tell: (of: object) => void called.push(of) };

async function conversation(): Promise<{ peer: Peer<Remote, typeof local>; other: Socket }> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const other = connect((server.address() as AddressInfo).port, '127.0.0.1');
  const [socket] = (await once(server, 'connection')) as [Socket];
  cleanup.push(
    () => other.destroy(),
    () => socket.destroy(),
    () => server.close(),
  );
  return { peer: new Peer<Remote, typeof local>(socketTransport(socket), local, 'container', 'lost'), other };
}

test.each(['no JSON\n', '5\n', 'null\n', '[1]\n', '{"id":1,"error":null}\n', '{"method":5}\n'])(
  '%j ends it',
  async (line) => {
    const { peer, other } = await conversation();
    const asked = peer.request('ask', {});
    other.write(line);
    await expect(asked).rejects.toMatchObject({ code: 'lost' });
    await peer.closed;
  },
);

test.each(['constructor', 'toString', '__proto__', 'no-such'])('the method %s is refused', async (method) => {
  const { other } = await conversation();
  other.write(`${JSON.stringify({ id: 7, method, params: {} })}\n`);
  const [answer] = await once(other, 'data');
  expect(JSON.parse(String(answer))).toMatchObject({ id: 7, error: { code: 'failed' } });
});

test('a message without end ends it, before it takes the memory of the process', async () => {
  const { peer, other } = await conversation();
  other.on('error', () => undefined);
  const chunk = Buffer.alloc(2 ** 20, 'x');
  let sent = 0;
  while (!other.destroyed && sent < 200) {
    sent += 1;
    await new Promise((resolve) => other.write(chunk, resolve));
  }
  await peer.closed;
  expect(sent).toBeLessThan(200);
});
