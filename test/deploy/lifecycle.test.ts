/** `floe-lifecycle`, which the user data of docs/deploy/ec2/floe.yaml installs, against a metadata service that speaks IMDSv2. */
import { once } from 'node:events';
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { whyMissing } from './files.ts';
import { writtenByUserData } from './userData.ts';

const TOKEN = '/latest/api/token';
const STATE = '/latest/meta-data/autoscaling/target-lifecycle-state';
const ID = '/latest/meta-data/instance-id';

/** What the service answers to the next requests for the state; the last one stays. */
let states: (string | undefined)[] = [];
const server = createServer((request, response) => {
  const answer = (status: number, body = '') => response.writeHead(status).end(body);
  if (request.method === 'PUT' && request.url === TOKEN) return answer(200, 'a-token');
  if (request.headers['x-aws-ec2-metadata-token'] !== 'a-token') return answer(401);
  if (request.url === ID) return answer(200, 'i-0123');
  if (request.url !== STATE) return answer(404);
  const state = states.length > 1 ? states.shift() : states[0];
  return state === undefined ? answer(404) : answer(200, state);
});

let folder: string;
let script: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'floe-lifecycle-'));
  script = join(folder, 'floe-lifecycle');
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const content = writtenByUserData('/usr/local/sbin/floe-lifecycle').replaceAll('http://169.254.169.254', endpoint);
  await writeFile(script, content.replace('sleep 2', 'sleep 0.05'));
  // What changes the machine and the cloud is written down instead.
  for (const program of ['systemctl', 'aws', 'floe-lifecycle']) await chmod(await recorder(program), 0o755);
});
afterEach(async () => {
  server.close();
  server.closeAllConnections();
  await once(server, 'close');
  await rm(folder, { recursive: true, force: true });
});

async function recorder(program: string): Promise<string> {
  const path = join(folder, program);
  if (path !== script) await writeFile(path, `#!/bin/sh\necho "${program} $*" >> "${folder}/calls"\n`);
  return path;
}

const noCurl = whyMissing('curl', 'curl');
test.skipIf(noCurl)(`stops the worker once the instance is to go, then lets it go${noCurl}`, async () => {
  states = [undefined, 'InService', 'InService', 'Terminated'];
  await execa(script, { env: { PATH: `${folder}:${process.env.PATH}` }, timeout: 20_000 });
  const calls = (await readFile(join(folder, 'calls'), 'utf8')).trim().split('\n');
  expect(calls).toEqual([
    'systemctl stop floe-worker',
    expect.stringMatching(
      /^aws autoscaling complete-lifecycle-action .*--lifecycle-hook-name floe-freeze --lifecycle-action-result CONTINUE --instance-id i-0123$/,
    ),
  ]);
  expect(states).toEqual(['Terminated']);
});
