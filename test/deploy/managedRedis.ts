/** A real Redis set up as a managed service has it: TLS alone, cluster mode with one shard, and the user of redis-users.acl. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { Redis } from 'ioredis';
import { expect, vi } from 'vitest';
import { freePort } from '../support/redis.ts';
import { readDeployFile } from './files.ts';

export interface ManagedRedis extends AsyncDisposable {
  /** `rediss://…` of the user `floe`. */
  readonly url: string;
  /** The certificate of its authority, for NODE_EXTRA_CA_CERTS. */
  readonly authorityFile: string;
  /** What the user was refused, newest first: ACL LOG. */
  refusals(): Promise<unknown[]>;
}

export async function startManagedRedis(): Promise<ManagedRedis> {
  const folder = await mkdtemp(join(tmpdir(), 'floe-managed-redis-'));
  const [port, busPort] = [await freePort(), await freePort()];
  const [key, authorityFile, users] = ['key.pem', 'certificate.pem', 'users.acl'].map((name) => join(folder, name));
  if (!key || !authorityFile || !users) throw new Error('There is a name for each.');
  const subject = ['-subj', '/CN=floe-test', '-addext', 'subjectAltName=IP:127.0.0.1'];
  await execa('openssl', [
    'req',
    '-x509',
    '-newkey',
    'rsa:2048',
    '-nodes',
    '-days',
    '2',
    ...subject,
    '-keyout',
    key,
    '-out',
    authorityFile,
  ]);
  const rules = readDeployFile('redis-users.acl').replace('>CHANGE-ME', '>secret');
  await writeFile(users, `user default on nopass ~* &* +@all\n${rules}`);
  const settings = {
    port: '0',
    'tls-port': String(port),
    'tls-cert-file': authorityFile,
    'tls-key-file': key,
    'tls-ca-cert-file': authorityFile,
    'tls-auth-clients': 'no',
    'cluster-enabled': 'yes',
    'cluster-port': String(busPort),
    aclfile: users,
    bind: '127.0.0.1',
    dir: folder,
    logfile: join(folder, 'log'),
    appendonly: 'yes',
    'maxmemory-policy': 'noeviction',
  };
  const words = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value]);
  const server = spawn('redis-server', words, { stdio: 'ignore' });
  const ended = once(server, 'exit');
  const tls = { ca: await readFile(authorityFile) };
  const admin = new Redis({ host: '127.0.0.1', port, tls, maxRetriesPerRequest: null, retryStrategy: () => 50 });
  admin.on('error', () => undefined); // refused until it listens
  const dispose = async () => {
    admin.disconnect();
    server.kill('SIGKILL');
    await ended;
    await rm(folder, { recursive: true, force: true });
  };
  try {
    const died = ended.then(async () => {
      throw new Error(`redis-server ended: ${await readFile(join(folder, 'log'), 'utf8')}`);
    });
    died.catch(() => undefined); // it ends some day
    await Promise.race([admin.call('CLUSTER', 'ADDSLOTSRANGE', '0', '16383'), died]);
    await vi.waitFor(async () => expect(await admin.cluster('INFO')).toContain('cluster_state:ok'), {
      timeout: 20_000,
    });
  } catch (error) {
    await dispose();
    throw error;
  }
  return {
    url: `rediss://floe:secret@127.0.0.1:${port}`,
    authorityFile,
    refusals: async () => (await admin.call('ACL', 'LOG')) as unknown[],
    [Symbol.asyncDispose]: dispose,
  };
}
