import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { redact } from '../base/redact.ts';
import { loadConfig, OPTION_LIST } from './config.ts';
import { FloeError } from './errors.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'floe-config-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const load = (env: NodeJS.ProcessEnv = {}, flags: object = {}) => loadConfig({ env, flags, folders: [folder] });
const file = (text: string) => writeFile(join(folder, 'floe.yaml'), text);

function refusal(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    if (error instanceof FloeError && error.code === 'invalidOption') return error.message;
    throw error;
  }
  throw new Error('It was accepted.');
}

describe('which source wins', () => {
  it('is the flag, then the environment, then the file, then the default', async () => {
    const slots = (env: NodeJS.ProcessEnv, flags: object) => load(env, flags).worker.slots;
    const byDefault = slots({}, {});
    await file('worker: {slots: 101}\n');
    expect(slots({}, {})).toBe(101);
    expect(slots({ FLOE_SLOTS: '102' }, {})).toBe(102);
    expect(slots({ FLOE_SLOTS: '102' }, { worker: { slots: '103' } })).toBe(103);
    expect(slots({ FLOE_SLOTS: '' }, { worker: { slots: undefined } })).toBe(101);
    expect(byDefault).toBeLessThan(101);
  });

  it('is one file alone: the first folder that has one', async () => {
    await mkdir(join(folder, 'etc'));
    await writeFile(join(folder, 'etc', 'floe.yaml'), 'logLevel: debug\nworker: {slots: 7}\n');
    const folders = [folder, join(folder, 'etc')];
    expect(loadConfig({ env: {}, folders }).logLevel).toBe('debug');
    await file('worker: {slots: 8}\n');
    expect(loadConfig({ env: {}, folders })).toMatchObject({ logLevel: 'info', worker: { slots: 8 } });
  });
});

it('needs nothing: Redis is embedded, and the store is in the state folder', () => {
  expect(load({ FLOE_STATE_DIR: '/some where' })).toMatchObject({
    redisUrl: null,
    stateDir: '/some where',
    store: 'file:///some%20where/store',
    worker: { pools: ['default'], lockDurationMs: 30_000, stopMarginMs: 5000 },
    dashboard: { host: '127.0.0.1', port: 3000, password: null },
  });
});

it('takes trusted proxies by number or by address, and none by default', () => {
  const trusted = (FLOE_DASHBOARD_TRUST_PROXY: string) => load({ FLOE_DASHBOARD_TRUST_PROXY }).dashboard.trustProxy;
  expect([trusted(''), trusted('2'), trusted('loopback, 10.0.0.0/8,2001:db8::1')]).toEqual([
    ...[null, 2, ['loopback', '10.0.0.0/8', '2001:db8::1']],
  ]);
});

it('finds the toolbox where the set-up put it', () => {
  expect(load({ FLOE_SETUP_DIR: '/s' }).toolbox).toBe('/s/toolbox');
  expect(load({ FLOE_SETUP_DIR: '/s', FLOE_TOOLBOX: '/t' }).toolbox).toBe('/t');
});

it('takes lists in the environment and in the file', async () => {
  expect(load({ FLOE_POOLS: 'gpu, default' }).worker.pools).toEqual(['gpu', 'default']);
  await file('worker: {pools: [a, b]}\n');
  expect(load().worker.pools).toEqual(['a', 'b']);
});

it('reads a variable from the file that its name with _FILE names, without the newline at its end', async () => {
  const path = join(folder, 'secret');
  await writeFile(path, 'redis://:s3cr3t@queue:6379\n');
  expect(load({ FLOE_REDIS_URL_FILE: path }).redisUrl).toBe('redis://:s3cr3t@queue:6379');
  await file('redisUrl: redis://elsewhere\n');
  expect(load({ FLOE_REDIS_URL_FILE: path }).redisUrl).toBe('redis://:s3cr3t@queue:6379');
  expect(refusal(() => load({ FLOE_REDIS_URL_FILE: path, FLOE_REDIS_URL: 'redis://a' }))).toMatch(
    /^Both FLOE_REDIS_URL and/,
  );
  expect(refusal(() => load({ FLOE_REDIS_URL_FILE: '/nowhere' }))).toMatch(/^FLOE_REDIS_URL_FILE: ENOENT/);
});

it('keeps what such a file holds out of its messages', async () => {
  const path = join(folder, 'secret');
  await writeFile(path, 's3cr3t');
  const message = refusal(() => load({ FLOE_REDIS_URL_FILE: path }));
  expect(message).toMatch(/^FLOE_REDIS_URL_FILE: must be redis/);
  expect(message).not.toContain('s3cr3t');
});

describe('the key of checkpoints', () => {
  const [current, old] = ['A'.repeat(43).concat('='), '0f'.repeat(32)];

  it('may have older ones after it, and comes from a file too', async () => {
    expect(load().encryption.key).toEqual([]);
    expect(load({ FLOE_ENCRYPTION_KEY: `${current}, ${old},kms:alias/floe` }).encryption.key).toEqual([
      ...[current, old, 'kms:alias/floe'],
    ]);
    const path = join(folder, 'key');
    await writeFile(path, `${current}\n${old}\n`);
    expect(load({ FLOE_ENCRYPTION_KEY_FILE: path }).encryption.key).toEqual([current, old]);
  });

  it.each(['s3cr3t', `${old},s3cr3t`, old.slice(2), ',', 'plain', 'plain,moved'])(
    'is not shown when it is none: %s',
    async (key) => {
      await file(`encryption: {key: "${key}"}\n`);
      const messages = [refusal(() => load({ FLOE_ENCRYPTION_KEY: key })), refusal(() => load())];
      expect(messages[0]).toMatch(/^FLOE_ENCRYPTION_KEY: must (be 32 bytes|have a key)/);
      for (const message of messages) expect(message).not.toMatch(/s3cr3t|0f0f/);
    },
  );

  it('is never turned off by a file that is empty', async () => {
    await writeFile(join(folder, 'key'), '\n');
    expect(refusal(() => load({ FLOE_ENCRYPTION_KEY_FILE: join(folder, 'key') }))).toMatch(/must be 32 bytes/);
  });

  it.each(['', ' ', '\n'])('is never turned off by a variable that is %j', (empty) => {
    expect(refusal(() => load({ FLOE_ENCRYPTION_KEY: empty }))).toMatch(/^FLOE_ENCRYPTION_KEY: it is there and empty/);
    expect(refusal(() => load({ FLOE_ENCRYPTION_KEY_FILE: empty }))).toMatch(/^FLOE_ENCRYPTION_KEY_FILE: it is there/);
  });

  it.each(['encryption: {key: }', 'encryption: {key: ""}'])('nor by floe.yaml: %s', async (text) => {
    await file(text);
    expect(refusal(() => load())).toMatch(/floe\.yaml: encryption\.key: it is there and empty/);
  });
});

describe('a message shows no secret', () => {
  it.each([
    [{ FLOE_REDIS_URL: 'http://floe:s3cr3t@host' }],
    [{ FLOE_REDIS_URL: 'redis://floe:s3c/r3t@host' }],
    [{ FLOE_REDIS_URL: 'redis://floe:12/s3cr3t@host' }],
    [{ FLOE_REDIS_URL: 'redis://floe:12#s3cr3t@host' }],
    [{ FLOE_REDIS_URL: 'floe:s3cr3t@host' }],
    [{ FLOE_STORE: 'https://key:s3cr3t@bucket' }],
    [{ FLOE_REDIS_URL_FILE: 'redis://floe:s3cr3t@host' }],
    [{ FLOE_DASHBOARD_PASSWORD_FILE: 's3cr3t' }],
    [{ FLOE_ENCRYPTION_KEY: 's3cr3t' }],
  ])('of %j', (env) => expect(refusal(() => load(env))).not.toMatch(/s3c/));

  it.each([
    'dashboard: {password: [s3cr3t]}',
    'dashboard: {password: *s3cr3t}',
    'dashboard: {password: !s3cr3t x, port: x}',
    'dashboard:\n  password: "s3cr3t" x\n',
    'dashboard: {password: 12, readOnlyPassword: {s3cr3t: 1}}',
    'redisUrl: {url: redis://:s3cr3t@host}',
  ])('of a file with %s', async (text) => {
    await file(text);
    const errors: unknown[] = [];
    const warnings: string[] = [];
    const warned = (warning: Error) => void warnings.push(warning.message);
    process.on('warning', warned);
    try {
      load();
    } catch (error) {
      errors.push(error);
    }
    await new Promise(setImmediate);
    process.off('warning', warned);
    expect(errors).toHaveLength(1);
    expect(`${inspect(errors[0])}${warnings}`).not.toContain('s3cr3t');
  });

  it('which a log that is written later does not either', () => {
    load({
      FLOE_REDIS_URL: 'redis://floe:r3dis%2Fpw@host',
      FLOE_DASHBOARD_PASSWORD: 'viewer pass',
      AWS_SESSION_TOKEN: 'aws-t0ken',
    });
    expect(redact('r3dis/pw r3dis%2Fpw viewer pass aws-t0ken')).toBe('(hidden) (hidden) (hidden) (hidden)');
    expect(redact('floe viewer pass-port')).toContain('floe');
  });
});
it.each(['FLOE_REDIS_URL', 'FLOE_REDIS_URL_FILE', 'FLOE_STORE', 'FLOE_STORE_FILE', 'FLOE_DASHBOARD_PASSWORD'])(
  '%s may be left out, and not be empty: the default is another place, or open',
  (name) => {
    expect(refusal(() => load({ [name]: '' }))).toMatch(`${name}: it is there and empty`);
  },
);

describe('a bad value is named with its source', () => {
  it.each([
    [{ FLOE_SLOTS: 'x' }, {}, 'FLOE_SLOTS: must be an integer from 1 to 1000, got "x".'],
    [{ FLOE_SLOTS: '0' }, {}, 'FLOE_SLOTS: must be an integer from 1 to 1000, got "0".'],
    [{ FLOE_SLOTS: ' 1' }, {}, 'FLOE_SLOTS: must be an integer from 1 to 1000, got " 1".'],
    [{ FLOE_POOLS: 'a,B' }, {}, /^FLOE_POOLS: must be .*, got "a,B"\.$/],
    [{ FLOE_REDIS_URL: 'localhost:6379' }, {}, /^FLOE_REDIS_URL: must be redis:.*, got "localhost:6379"\.$/],
    [{ FLOE_NOTICE_SOURCE: 'gcp' }, {}, 'FLOE_NOTICE_SOURCE: must be one of auto, ec2, none, got "gcp".'],
    [{ FLOE_STOP_MARGIN_MS: '15001' }, {}, /^FLOE_STOP_MARGIN_MS: .*must be at most half of lockDurationMs \(30000\)/],
    [{ FLOE_LOCK_DURATION_MS: '6000' }, {}, /^FLOE_LOCK_DURATION_MS: stopMarginMs \(5000\) must be at most half of/],
    [{ FLOE_GRACE_MS: '2147483648' }, {}, /^FLOE_GRACE_MS: must be an integer from 0 to 86400000, got "2147483648"/],
    [{ FLOE_SLOTS: '2' }, { worker: { slots: '-1' } }, '--slots: must be an integer from 1 to 1000, got "-1".'],
    [{ FLOE_DASHBOARD_TRUST_PROXY: 'everybody' }, {}, /^FLOE_DASHBOARD_TRUST_PROXY: must be a number of proxies/],
    [{ FLOE_DASHBOARD_TRUST_PROXY: '10.0.0.0/33' }, {}, /^FLOE_DASHBOARD_TRUST_PROXY: must be a number of proxies/],
    [{ FLOE_DASHBOARD_TRUST_PROXY: 'true' }, {}, /^FLOE_DASHBOARD_TRUST_PROXY: must be a number of proxies/],
    [{}, { dashboard: { port: '99999' } }, '--port: must be an integer from 0 to 65535, got "99999".'],
  ])('%j %j', (env, flags, message) => {
    expect(refusal(() => load(env, flags))).toMatch(message);
  });

  it.each([
    ['worker: {slots: many}', /floe\.yaml: worker\.slots: must be an integer.*got "many"/],
    ['worker: {slotz: 1}', /floe\.yaml: there is no option "worker\.slotz"/],
    ['worker: 3', /floe\.yaml: there is no option "worker"/],
    ['- a\n- b', /floe\.yaml: there is no option "\(the whole file\)"/],
    ['a: [', /floe\.yaml: .+/],
  ])('%s', async (text, message) => {
    await file(text);
    expect(refusal(() => load())).toMatch(message);
  });
});

it('describes every option, each under an environment variable of its own', () => {
  expect(OPTION_LIST.map((option) => option.path)).toContain('worker.lockDurationMs');
  for (const option of OPTION_LIST) expect(option.description && option.byDefault && option.env).toMatch(/^FLOE_/);
  expect(new Set(OPTION_LIST.map((option) => option.env)).size).toBe(OPTION_LIST.length);
});

describe('what process jobs may have of the machine', () => {
  it('is as little as possible by default', () => {
    const { readablePaths, volumeRoots, processNetwork, nameservers } = load().worker;
    expect({ readablePaths, volumeRoots, processNetwork, nameservers }).toEqual({
      readablePaths: [],
      volumeRoots: [],
      processNetwork: 'isolated',
      nameservers: [],
    });
  });

  it('is more where it is named', () => {
    const env = {
      FLOE_READABLE_PATHS: '/srv/genomes, /home/data',
      FLOE_VOLUME_ROOTS: '/srv',
      FLOE_NAMESERVERS: '192.0.2.1',
    };
    expect(load(env).worker).toMatchObject({
      readablePaths: ['/srv/genomes', '/home/data'],
      volumeRoots: ['/srv'],
      nameservers: ['192.0.2.1'],
    });
  });

  it.each(['/', '/proc', '/sys/fs', '/dev/shm', '/run', '/var', '/var/run', 'srv', '/srv/../root', '/srv/'])(
    'is never %s',
    (path) => {
      expect(refusal(() => load({ FLOE_READABLE_PATHS: path }))).toContain('FLOE_READABLE_PATHS');
    },
  );

  it('is never what holds Floe’s state', () => {
    const env = { FLOE_STATE_DIR: '/srv/floe/state' };
    for (const path of ['/srv', '/srv/floe', '/srv/floe/state'])
      expect(refusal(() => load({ ...env, FLOE_READABLE_PATHS: path }))).toContain('what Floe keeps');
    expect(load({ ...env, FLOE_READABLE_PATHS: '/srv/fl' }).worker.readablePaths).toEqual(['/srv/fl']);
  });
});
