/**
 * One run's secrets, from the operator's folder to the job. Files are written at every start and thaw; credentials of roles are
 * written again at half of their life, for as long as the run lasts. Variables are for a start only: after a thaw the program has
 * those that were frozen with it.
 *
 * No value is logged here, or put in an error.
 */
import { chmod, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from 'pino';
import { FreezerError } from '../freezer/index.ts';
import type { JobSpec } from '../jobs/index.ts';
import { type AwsRole, assumeRole, type RoleCredentials } from './awsRole.ts';
import { readSecret } from './operatorSecrets.ts';

/** The kernel takes twice as much as one variable, and eight times as much as all arguments and variables (execve(2)). */
const LARGEST_VARIABLE_BYTES = 64 * 1024;
const LARGEST_ENVIRONMENT_BYTES = 256 * 1024;
/** After a renewal that failed. */
const TRY_AGAIN_MS = 30_000;
/** No secret's name begins with a dot. */
const CONFIG_FILE = '.aws-config';
const CONFIG_VARIABLE = 'AWS_CONFIG_FILE';
const PLACE = '/run/secrets';

export interface SecretsOrder {
  readonly directory: string | null;
  /** The queue that the job came from. */
  readonly pool: string;
  readonly jobId: string;
  readonly spec: Pick<JobSpec, 'secrets' | 'env'>;
  readonly logger: Logger;
  readonly signal: AbortSignal;
}

interface HeldRole {
  readonly name: string;
  readonly role: AwsRole;
  credentials: RoleCredentials;
}

export class JobSecrets {
  /** For a program that starts. */
  readonly env: Readonly<Record<string, string>>;
  readonly #order: SecretsOrder;
  readonly #files: ReadonlyMap<string, Buffer>;
  readonly #roles: readonly HeldRole[];
  #directory: string | null = null;

  private constructor(
    order: SecretsOrder,
    parts: Pick<JobSecrets, 'env'> & { files: Map<string, Buffer>; roles: HeldRole[] },
  ) {
    this.#order = order;
    this.env = parts.env;
    this.#files = parts.files;
    this.#roles = parts.roles;
  }

  /**
   * Null for a job that wants none. Throws `FreezerError`: `notHere`, which names the secret that this worker lacks; `unsupported` for
   * credentials of a role in a variable, where they would expire.
   */
  static async open(order: SecretsOrder): Promise<JobSecrets | null> {
    const { spec, signal, jobId } = order;
    if (!spec.secrets?.length) return null;
    const env: Record<string, string> = {};
    const files = new Map<string, Buffer>();
    const roles: HeldRole[] = [];
    for (const wanted of spec.secrets) {
      const secret = await readSecret(order.directory, order.pool, wanted.name);
      if (secret.kind === 'role') {
        if (wanted.env !== undefined) throw roleInVariable(wanted.name);
        const credentials = await assumeRole(secret.role, jobId, signal);
        roles.push({ name: wanted.name, role: secret.role, credentials });
      } else if (wanted.env === undefined) files.set(wanted.name, secret.bytes);
      else env[wanted.env] = asVariable(secret.bytes, wanted.name);
    }
    refuseTooMuch(env);
    if (roles.length > 0) {
      files.set(CONFIG_FILE, Buffer.from(awsConfig(roles)));
      if (!Object.hasOwn(spec.env, CONFIG_VARIABLE)) env[CONFIG_VARIABLE] ??= join(PLACE, CONFIG_FILE);
    }
    return new JobSecrets(order, { env, files, roles });
  }

  /** As `prepareSecrets` in `StartOptions`. */
  readonly prepare = async (directory: string): Promise<void> => {
    this.#directory = directory;
    for (const [name, bytes] of this.#files) await replaceFile(directory, name, bytes);
    for (const { name, credentials } of this.#roles) await replaceFile(directory, name, credentials.text);
  };

  /** Renews the credentials of roles until it is disposed. To be disposed before the run is. */
  keepFresh(): Disposable {
    const stopped = new AbortController();
    for (const held of this.#roles) void this.#renew(held, stopped.signal);
    return { [Symbol.dispose]: () => stopped.abort() };
  }

  async #renew(held: HeldRole, signal: AbortSignal): Promise<void> {
    const { jobId, logger } = this.#order;
    let waitMs = halfOfLife(held.credentials);
    for (;;) {
      await delay(waitMs, undefined, { signal }).catch(() => undefined); // stopped: seen next
      if (signal.aborted) return;
      try {
        held.credentials = await assumeRole(held.role, jobId, signal);
        await replaceFile(this.#directory ?? '', held.name, held.credentials.text);
        waitMs = halfOfLife(held.credentials);
      } catch (err) {
        if (signal.aborted) return;
        logger.warn({ jobId, secret: held.name, err }, 'its credentials cannot be renewed; trying on');
        waitMs = TRY_AGAIN_MS;
      }
    }
  }
}

function halfOfLife({ expiresAt }: RoleCredentials): number {
  return Math.max(1000, (expiresAt - Date.now()) / 2);
}

/** At once: a program that reads it meanwhile has the old or the new. */
async function replaceFile(directory: string, name: string, content: string | Buffer): Promise<void> {
  const path = join(directory, `.new-${name}`);
  await writeFile(path, content);
  await chmod(path, 0o444);
  await rename(path, join(directory, name));
}

/** Without the line break that files end with, as a shell's `$(cat file)` has it. */
function asVariable(bytes: Buffer, name: string): string {
  const unfit = (why: string) => {
    const what = `The job wants the secret ${name} in a variable, and it ${why}.`;
    return new FreezerError(
      'notHere',
      what,
      "Let the job read it as a file, or correct it in the worker's folder of secrets.",
    );
  };
  if (bytes.length > LARGEST_VARIABLE_BYTES) throw unfit(`has more than ${LARGEST_VARIABLE_BYTES} bytes`);
  if (bytes.includes(0)) throw unfit('has a zero byte');
  const text = bytes.toString();
  if (!Buffer.from(text).equals(bytes)) throw unfit('is not UTF-8');
  return text.replace(/\r?\n$/, '');
}

function refuseTooMuch(env: Readonly<Record<string, string>>): void {
  const sizeBytes = Object.values(env).reduce((sum, value) => sum + Buffer.byteLength(value), 0);
  if (sizeBytes <= LARGEST_ENVIRONMENT_BYTES) return;
  const what = `The job's secrets in variables have more than ${LARGEST_ENVIRONMENT_BYTES} bytes together.`;
  throw new FreezerError('notHere', what, 'Let the job read some of them as files.');
}

/** SDKs ask again by themselves before credentials expire. A role that is alone is the default profile, too. */
function awsConfig(roles: readonly HeldRole[]): string {
  const section = (heading: string, name: string) => `[${heading}]\ncredential_process = cat ${PLACE}/${name}\n`;
  const [first, ...others] = roles;
  const byDefault = first && others.length === 0 ? section('default', first.name) : '';
  return byDefault + roles.map(({ name }) => section(`profile ${name}`, name)).join('');
}

function roleInVariable(name: string): FreezerError {
  const what = `The secret ${name} is credentials of a role, which expire and are renewed: no variable can have them.`;
  return new FreezerError('unsupported', what, 'Submit the job without `env` for that secret: it is a file then.');
}
