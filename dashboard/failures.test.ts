import { once } from 'node:events';
import express from 'express';
import { pino } from 'pino';
import { expect, it } from 'vitest';
import { answerFailures, answerInTime } from './failures.ts';

it('answers for a handler that hangs, and survives what that handler says too late', async () => {
  const { promise: late, resolve: answerLate } = Promise.withResolvers<void>();
  const app = express();
  app.use(answerInTime(20));
  app.get('/', async (_request, response) => {
    await late;
    response.send('too late');
  });
  app.use(answerFailures(pino({ level: 'silent' })));
  const server = app.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  const url = `http://127.0.0.1:${typeof address === 'object' ? address?.port : ''}/`;
  const response = await fetch(url, { headers: { accept: 'application/json' } });
  expect([response.status, await response.json()]).toMatchObject([503, { code: 'redisUnreachable' }]);
  answerLate();
  expect((await fetch(`${url}other`)).status).toBe(404);
  server.close();
});

it('shows neither stack nor message of an unexpected error', async () => {
  const app = express();
  app.get('/', () => {
    throw new Error('secret detail');
  });
  app.use(answerFailures(pino({ level: 'silent' })));
  const server = app.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  const url = `http://127.0.0.1:${typeof address === 'object' ? address?.port : ''}/`;
  for (const accept of ['text/html', 'application/json']) {
    const response = await fetch(url, { headers: { accept } });
    expect(response.status).toBe(500);
    expect(await response.text()).not.toMatch(/secret detail|\.ts:/);
  }
  server.close();
});
