/**
 * Configuration: flags > environment > `floe.yaml` (in the working folder, else in /etc/floe) > defaults. In the environment,
 * `FLOE_X_FILE` names a file that holds the value of `FLOE_X`: for secrets. One schema; its descriptions are what `floe config`
 * prints, so an option is documented where it is declared.
 */

import { isIP } from 'node:net';
import { availableParallelism, homedir, hostname } from 'node:os';
import { join, normalize, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { z } from 'zod';
import { credentialsIn, hideCredentials, keepCloudSecrets, keepSecret } from '../base/redact.ts';
import { collectSettings, type Settings } from './configSources.ts';
import { FloeError } from './errors.ts';
import { showValue, valueAt } from './explain.ts';
import { DEFAULT_LOG_BYTES_IN_REDIS } from './log.ts';
import { PoolName } from './spec.ts';

/** Beyond any use, and within what a timer of Node's can take: one that is set for longer fires at once. */
const LONGEST_MS = 24 * 3_600_000;

/** An integer, as a number or in digits; the range is part of the message. */
function integer(min: number, max = Number.MAX_SAFE_INTEGER) {
  const message = `must be an integer ${max === Number.MAX_SAFE_INTEGER ? `of at least ${min}` : `from ${min} to ${max}`}`;
  const digits = (value: unknown) => (typeof value === 'string' && /^\d{1,15}$/.test(value) ? Number(value) : value);
  return z.preprocess(digits, z.int(message).min(min, message).max(max, message));
}

/** A list, or words with commas between them. */
function list<T extends z.ZodType>(entry: T, separator: string | RegExp = ',') {
  const split = (value: unknown) =>
    typeof value === 'string' ? value.split(separator).map((word) => word.trim()) : value;
  return z.preprocess(split, z.array(entry).min(1, 'must name at least one'));
}

const text = z.string('must be text').min(1, 'must not be empty');
const oneOf = <const T extends readonly string[]>(words: T) => z.enum(words, `must be one of ${words.join(', ')}`);

/** A folder or file of the machine that an operator names for jobs, in its shortest form. */
const hostPath = text.refine(
  (path) => path.startsWith('/') && normalize(path) === path && (path === '/' || !path.endsWith('/')),
  'must be an absolute path, without "..", "." or a "/" at its end',
);
/** What a container has of its own, or what leads to the machine's services. */
const readablePath = hostPath.refine(
  (path) => path !== '/' && !/^\/(proc|sys|dev|run|var\/run|tmp|floe|workspace)(\/|$)/.test(path) && path !== '/var',
  'must not be /, /var, or in /proc, /sys, /dev, /run, /tmp, /floe or /workspace',
);
const ipv4 = z.ipv4('must be an IPv4 address');

/** A password with a `/`, `?` or `#` as it is ends the address early: the rest would be taken for a path. */
function isReadable(url: string): boolean {
  if (!/^rediss?:/.test(url)) return true; // the expression below says what is wrong with it
  if (!URL.canParse(url)) return false;
  const { pathname, search, hash } = new URL(url);
  return !`${pathname}${search.replace(/=[^&]*/g, '')}${hash}`.includes('@');
}

const redisUrl = text
  .regex(
    /^(rediss?:\/\/\S+|unix:\/\/\/.+)$/,
    'must be redis://[user:password@]host[:port][/database], rediss://… or unix:///path/of/socket',
  )
  .refine(
    isReadable,
    'has a password that must be percent-encoded: %2F for "/", %3F for "?", %23 for "#", %40 for "@"',
  );
const storeUrl = text.regex(/^(s3:\/\/[^/]+|file:\/\/\/)/, 'must be s3://bucket[/prefix] or file:///folder');
/** As freezer/encryption/keyRing.ts takes it. */
const encryptionKey = z
  .string('must be text')
  .regex(
    /^([0-9a-fA-F]{64}|[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=|kms:[A-Za-z0-9/_:-]{1,2048}|plain|moved)$/,
    'must be 32 bytes in base64 or hexadecimal, kms:<key id, ARN or alias/name>, or plain or moved',
  );
/** Words alone would turn encryption off, and not say it. */
const encryptionKeys = list(encryptionKey, /[\s,]+/).refine(
  (texts) => texts.some((text) => text !== 'plain' && text !== 'moved'),
  'must have a key beside plain and moved',
);

/** An address, a network, or one of the names that Express has for private networks. */
function isNetwork(text: unknown): boolean {
  if (typeof text !== 'string') return false;
  if (['loopback', 'linklocal', 'uniquelocal'].includes(text)) return true;
  const [address = '', bits, ...more] = text.split('/');
  const version = isIP(address);
  const isPrefix = bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= (version === 4 ? 32 : 128));
  return version !== 0 && isPrefix && more.length === 0;
}
/** A number in digits, or words with commas between them. */
const proxies = z.preprocess(
  (value) => {
    if (typeof value !== 'string') return value;
    return /^\d{1,2}$/.test(value) ? Number(value) : value.split(',').map((word) => word.trim());
  },
  z.custom<number | readonly string[]>(
    (value) => (Array.isArray(value) ? value.every(isNetwork) : Number.isInteger(value) && Number(value) >= 0),
    'must be a number of proxies, or addresses and networks with commas between: 10.0.0.0/8, loopback, linklocal, uniquelocal',
  ),
);

/** Each option has its environment variable, its meaning and unit, and its default in words. */
const option = <T extends z.ZodType>(schema: T, env: string, description: string, byDefault: string) =>
  schema.optional().meta({ env, description, byDefault, isSecret: false, refusesEmpty: false });

/** An option that may be left out and not be empty: the default would be another place, and nobody would be told. */
const place = <T extends z.ZodType>(schema: T, env: string, description: string, byDefault: string) =>
  schema.optional().meta({ env, description, byDefault, isSecret: false, refusesEmpty: true });

/** An option whose value is never shown, and that may be left out and not be empty: the default has less protection. */
const secret = <T extends z.ZodType>(schema: T, env: string, description: string, byDefault: string) =>
  schema.optional().meta({ env, description, byDefault, isSecret: true, refusesEmpty: true });

const WorkerOptions = z.strictObject({
  name: option(text.max(100), 'FLOE_WORKER_NAME', 'Name of this worker, unique in the fleet.', 'the host name'),
  pools: option(list(PoolName), 'FLOE_POOLS', 'Pools whose jobs it takes, in that order.', 'default'),
  runtimes: option(
    list(oneOf(['auto', 'process', 'docker', 'podman'])),
    'FLOE_RUNTIMES',
    'What it runs jobs with: `process` for those without an image, `docker` or `podman` for those with one. `auto` is the engine that answers, and `process` only where none does.',
    'auto',
  ),
  readablePaths: option(
    list(readablePath),
    'FLOE_READABLE_PATHS',
    "Files and folders of the machine that `process` jobs can read, beside its programs: reference data, say. Shown as they are, root's own files too.",
    'none',
  ),
  volumeRoots: option(
    list(hostPath),
    'FLOE_VOLUME_ROOTS',
    'Folders of the machine below which `process` jobs may have volumes that begin with what is there.',
    'none',
  ),
  processNetwork: option(
    oneOf(['isolated', 'host']),
    'FLOE_PROCESS_NETWORK',
    "Network of `process` jobs: `isolated` is their own, with a way out but none to this machine; `host` is this machine's, with all of its services.",
    'isolated',
  ),
  nameservers: option(
    list(ipv4),
    'FLOE_NAMESERVERS',
    'IPv4 addresses of the name servers that isolated `process` jobs ask.',
    "this machine's, where jobs can reach them",
  ),
  imagesDir: option(
    text,
    'FLOE_IMAGES_DIR',
    'Folder for what CRIU reads and writes: on a tmpfs, so that no memory of a job touches a disk.',
    '/dev/shm/floe where that can be used, else <stateDir>, or nowhere with an encryption key',
  ),
  secretsDir: option(
    text,
    'FLOE_SECRETS_DIR',
    'Folder with the secrets of jobs: a file <pool>/<name> for each, which any job of that pool may ask for by its name.',
    'none: jobs that ask for a secret wait',
  ),
  bufferBytes: option(
    integer(16 * 2 ** 20),
    'FLOE_BUFFER_BYTES',
    "Most of a job's memory that waits in the worker's to be compressed, bytes. More lets a job go on sooner while a checkpoint is sent.",
    '67108864',
  ),
  defaultDiskBytes: option(
    integer(16 * 2 ** 20),
    'FLOE_DEFAULT_DISK_BYTES',
    'What a job may have on the disk of this worker that does not say itself (`resources.diskBytes`), bytes.',
    '100 GiB, or half of the file system of <stateDir> where that is less',
  ),
  maxDiskBytes: option(
    integer(16 * 2 ** 20),
    'FLOE_MAX_DISK_BYTES',
    'What a job may ask for of the disk of this worker, bytes. One that wants more waits for another worker.',
    'nine tenths of the file system of <stateDir>',
  ),
  maxFiles: option(
    integer(1000),
    'FLOE_MAX_FILES',
    'How many files, folders and links a job may have on the disk of this worker.',
    'two million, or half of what the file system of <stateDir> can have where that is less',
  ),
  logBytesInRedis: option(
    integer(2 ** 20),
    'FLOE_LOG_BYTES_IN_REDIS',
    'What the logs of all jobs of the fleet together may have in Redis, bytes. Never more than a quarter of its maxmemory. The same for all workers.',
    '268435456',
  ),
  slots: option(integer(1, 1000), 'FLOE_SLOTS', 'Jobs that it runs at once.', 'number of cores'),
  lockDurationMs: option(
    integer(1000, LONGEST_MS),
    'FLOE_LOCK_DURATION_MS',
    'How long a job stays with a worker that no longer says anything, ms.',
    '30000',
  ),
  stopMarginMs: option(
    integer(0),
    'FLOE_STOP_MARGIN_MS',
    'A worker that cannot renew a lock kills the job this long before the lock expires, ms. At most half of lockDurationMs.',
    '5000',
  ),
  noticeSource: option(
    oneOf(['auto', 'ec2', 'none']),
    'FLOE_NOTICE_SOURCE',
    'Where word of an interruption comes from: `ec2` is the instance metadata service, `auto` finds out.',
    'auto',
  ),
  noticePollMs: option(
    integer(100, LONGEST_MS),
    'FLOE_NOTICE_POLL_MS',
    'Time between two looks for a notice, ms.',
    '2000',
  ),
  graceMs: option(
    integer(0, LONGEST_MS),
    'FLOE_GRACE_MS',
    'Time that SIGTERM leaves to freeze the jobs and give them back, ms.',
    '110000',
  ),
});

const EncryptionOptions = z.strictObject({
  key: secret(
    encryptionKeys,
    'FLOE_ENCRYPTION_KEY',
    'Key that checkpoints are encrypted with: 32 bytes in base64 or hexadecimal, as `floe new-key` makes them, or kms:<key>. After a comma, older keys that only read, `plain` to read checkpoints that are not encrypted, and `moved` to read those that were written for another store.',
    'none: not encrypted',
  ),
});

const DashboardOptions = z.strictObject({
  host: option(text, 'FLOE_DASHBOARD_HOST', 'Address that the dashboard listens on.', '127.0.0.1'),
  port: option(integer(0, 65_535), 'FLOE_DASHBOARD_PORT', 'Port of the dashboard; 0 for any free one.', '3000'),
  password: secret(text, 'FLOE_DASHBOARD_PASSWORD', 'Password of the user `admin`.', 'generated and printed'),
  readOnlyPassword: secret(
    text,
    'FLOE_DASHBOARD_READ_ONLY_PASSWORD',
    'Password of the user `viewer`, who can look but change nothing.',
    'no such user',
  ),
  trustProxy: option(
    proxies,
    'FLOE_DASHBOARD_TRUST_PROXY',
    'Reverse proxies that are believed when they say who asks: how many are in front, or their addresses and networks.',
    'none: nobody is believed',
  ),
});

const Options = z.strictObject({
  redisUrl: place(redisUrl, 'FLOE_REDIS_URL', 'Redis or Valkey, 6.2 or newer.', 'a server of its own, under stateDir'),
  store: place(storeUrl, 'FLOE_STORE', 'Where inputs, checkpoints, logs and outputs live.', 'file://<stateDir>/store'),
  stateDir: option(
    text,
    'FLOE_STATE_DIR',
    'Folder for what this machine keeps.',
    '/var/lib/floe for root, else $XDG_STATE_HOME/floe or ~/.local/state/floe',
  ),
  toolbox: option(
    text,
    'FLOE_TOOLBOX',
    'Folder with CRIU and the supervisor.',
    '$FLOE_SETUP_DIR/toolbox or /var/lib/floe/setup/toolbox',
  ),
  logLevel: option(
    oneOf(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent']),
    'FLOE_LOG_LEVEL',
    'How much the daemons log.',
    'info',
  ),
  encryption: EncryptionOptions.prefault({}),
  worker: WorkerOptions.prefault({}),
  dashboard: DashboardOptions.prefault({}),
});
type Options = z.output<typeof Options>;

type HostList = 'readablePaths' | 'volumeRoots' | 'nameservers';

/** Every option with its value. Durations are in ms; `redisUrl` null means the embedded server. */
export interface Config {
  readonly redisUrl: string | null;
  readonly store: string;
  readonly stateDir: string;
  readonly toolbox: string;
  readonly logLevel: NonNullable<Options['logLevel']>;
  /** The first key is current, the others only read; empty where nothing is encrypted. */
  readonly encryption: { readonly key: readonly string[] };
  readonly worker: Required<{
    [K in Exclude<
      keyof Options['worker'],
      'runtimes' | 'imagesDir' | 'secretsDir' | 'defaultDiskBytes' | 'maxDiskBytes' | 'maxFiles' | HostList
    >]: NonNullable<Options['worker'][K]>;
  }> & {
    readonly runtimes: readonly ('process' | 'docker' | 'podman')[] | 'auto';
    /** Null: by the size of the disk. */
    readonly defaultDiskBytes: number | null;
    readonly maxDiskBytes: number | null;
    readonly maxFiles: number | null;
    /** Null: the freezer chooses. */
    readonly imagesDir: string | null;
    /** Null: jobs get no secrets. */
    readonly secretsDir: string | null;
    readonly readablePaths: readonly string[];
    readonly volumeRoots: readonly string[];
    /** Empty: the machine's. */
    readonly nameservers: readonly string[];
  };
  readonly dashboard: {
    readonly host: string;
    readonly port: number;
    readonly password: string | null;
    readonly readOnlyPassword: string | null;
    /** How many proxies are in front, or which; null for none. */
    readonly trustProxy: number | readonly string[] | null;
  };
}

export interface ConfigSources {
  /** Options given by the caller, as in `floe.yaml`; an undefined one counts as not given. */
  readonly flags?: object;
  /** Default `process.env`. */
  readonly env?: NodeJS.ProcessEnv;
  /** Folders where `floe.yaml` is looked for; the first that has one counts. Default the working folder, /etc/floe. */
  readonly folders?: readonly string[];
}

/**
 * Throws `FloeError` `invalidOption`, which names where the bad value came from and what it was. From here on no log and no
 * message shows the secrets among the options, valid or not.
 */
export function loadConfig(sources: ConfigSources = {}): Config {
  const env = sources.env ?? process.env;
  const settings = collectSettings(OPTION_LIST, {
    flags: sources.flags ?? {},
    env,
    folders: sources.folders ?? [process.cwd(), '/etc/floe'],
  });
  keepCloudSecrets(env);
  for (const option of OPTION_LIST) keepSecret(...secretsIn(valueAt(settings.values, option.path.split('.')), option));
  const parsed = Options.safeParse(settings.values);
  if (!parsed.success) throw invalid(parsed.error, settings);
  const config = withDefaults(parsed.data, env);
  const { stopMarginMs, lockDurationMs } = config.worker;
  // A lock is renewed every quarter of its duration; this leaves a slow renewal as long again.
  if (stopMarginMs > lockDurationMs / 2) {
    const origin = settings.origins.get('worker.stopMarginMs') ?? settings.origins.get('worker.lockDurationMs') ?? '';
    throw invalidOption(
      `${origin}: stopMarginMs (${stopMarginMs}) must be at most half of lockDurationMs (${lockDurationMs}).`,
    );
  }
  for (const path of config.worker.readablePaths) {
    if (!`${config.stateDir}/`.startsWith(`${path}/`)) continue;
    const origin = settings.origins.get('worker.readablePaths') ?? '';
    throw invalidOption(`${origin}: ${path} would show jobs what Floe keeps in ${config.stateDir}.`);
  }
  return config;
}

function withDefaults(options: Options, env: NodeJS.ProcessEnv): Config {
  const stateDir = resolve(options.stateDir ?? defaultStateDir(env));
  const { encryption, worker, dashboard } = options;
  return {
    redisUrl: options.redisUrl ?? null,
    store: options.store ?? pathToFileURL(join(stateDir, 'store')).href,
    stateDir,
    toolbox: resolve(options.toolbox ?? join(env.FLOE_SETUP_DIR || '/var/lib/floe/setup', 'toolbox')),
    logLevel: options.logLevel ?? 'info',
    encryption: { key: encryption.key ?? [] },
    worker: {
      name: worker.name ?? hostname(),
      pools: worker.pools ?? ['default'],
      runtimes: runtimesOf(worker.runtimes ?? []),
      imagesDir: worker.imagesDir === undefined ? null : resolve(worker.imagesDir),
      defaultDiskBytes: worker.defaultDiskBytes ?? null,
      maxDiskBytes: worker.maxDiskBytes ?? null,
      maxFiles: worker.maxFiles ?? null,
      logBytesInRedis: worker.logBytesInRedis ?? DEFAULT_LOG_BYTES_IN_REDIS,
      secretsDir: worker.secretsDir === undefined ? null : resolve(worker.secretsDir),
      readablePaths: worker.readablePaths ?? [],
      volumeRoots: worker.volumeRoots ?? [],
      processNetwork: worker.processNetwork ?? 'isolated',
      nameservers: worker.nameservers ?? [],
      slots: worker.slots ?? availableParallelism(),
      lockDurationMs: worker.lockDurationMs ?? 30_000,
      stopMarginMs: worker.stopMarginMs ?? 5000,
      bufferBytes: worker.bufferBytes ?? 64 * 2 ** 20,
      noticeSource: worker.noticeSource ?? 'auto',
      noticePollMs: worker.noticePollMs ?? 2000,
      graceMs: worker.graceMs ?? 110_000,
    },
    dashboard: {
      host: dashboard.host ?? '127.0.0.1',
      port: dashboard.port ?? 3000,
      password: dashboard.password ?? null,
      readOnlyPassword: dashboard.readOnlyPassword ?? null,
      trustProxy: dashboard.trustProxy ?? null,
    },
  };
}

function runtimesOf(words: NonNullable<Options['worker']['runtimes']>): Config['worker']['runtimes'] {
  const names = words.filter((word) => word !== 'auto');
  return names.length < words.length || names.length === 0 ? 'auto' : names;
}

function defaultStateDir(env: NodeJS.ProcessEnv): string {
  if (process.getuid?.() === 0) return '/var/lib/floe';
  return join(env.XDG_STATE_HOME || join(homedir(), '.local', 'state'), 'floe');
}

/** One option as `floe config` and the documentation show it. */
export interface OptionDescription {
  /** As in `floe.yaml`: `worker.slots`. */
  readonly path: string;
  readonly env: string;
  readonly description: string;
  readonly byDefault: string;
  /** Its value is never shown. */
  readonly isSecret: boolean;
  /** A variable, file or entry of `floe.yaml` that is there and empty is an error. */
  readonly refusesEmpty: boolean;
}

const Described = z.object({
  env: z.string(),
  description: z.string(),
  byDefault: z.string(),
  isSecret: z.boolean(),
  refusesEmpty: z.boolean(),
});

function describe(shape: z.core.$ZodShape, prefix = ''): OptionDescription[] {
  return Object.entries(shape).flatMap(([key, schema]) => {
    const described = Described.safeParse(z.globalRegistry.get(schema));
    if (described.success) return [{ path: `${prefix}${key}`, ...described.data }];
    return describe(NESTED[key]?.shape ?? {}, `${prefix}${key}.`);
  });
}

const NESTED: Record<string, z.ZodObject> = {
  encryption: EncryptionOptions,
  worker: WorkerOptions,
  dashboard: DashboardOptions,
};

/** All options, in the order of the schema. */
export const OPTION_LIST: readonly OptionDescription[] = describe(Options.shape);

/** Passwords and keys as they may turn up elsewhere; of the other options, the passwords in addresses. */
function secretsIn(value: unknown, { path, isSecret }: OptionDescription): string[] {
  const texts = (Array.isArray(value) ? value : [value]).filter((text) => typeof text === 'string');
  if (!isSecret) return texts.flatMap(credentialsIn);
  if (path !== 'encryption.key') return texts;
  // Ids of keys at AWS are no secrets, nor is the word that allows what is not encrypted.
  const words = texts.flatMap((text) => text.split(/[\s,]+/));
  return words.filter((word) => word !== 'plain' && !word.startsWith('kms:'));
}

function shown(value: unknown): unknown {
  if (typeof value === 'string') return hideCredentials(value);
  return credentialsIn(JSON.stringify(value) ?? '').length === 0 ? value : '…';
}

function invalid(error: z.ZodError, settings: Settings): FloeError {
  const clauses = error.issues.map((issue) => {
    const path = issue.path.map(String);
    // An issue inside a list belongs to the option that holds the list.
    const option = OPTION_LIST.find((each) => `${path.join('.')}.`.startsWith(`${each.path}.`));
    const name = option?.path ?? path.join('.');
    const clause = `${settings.origins.get(name) ?? name}: ${issue.message}`;
    return option?.isSecret ? clause : `${clause}, got ${showValue(shown(settings.given.get(name)))}`;
  });
  return invalidOption(`${clauses.join('; ')}.`);
}

function invalidOption(message: string): FloeError {
  return new FloeError('invalidOption', message, 'Correct it; `floe config` lists every option and its default.');
}
