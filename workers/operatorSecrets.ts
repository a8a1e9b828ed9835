/**
 * The secrets that an operator gives to a pool's jobs: one file each, `<worker.secretsDir>/<pool>/<name>`, as Docker, Kubernetes and
 * systemd mount them. A job gets what its own pool has and nothing else: a pool is the boundary, because whoever may submit to it may
 * ask for all of its secrets. Files are read anew at each start and thaw, so that a rotated secret needs no restart of the worker.
 *
 * `<name>.role` describes an AWS role instead, and the job's secret are credentials of that role (awsRole.ts).
 */
import { constants } from 'node:fs';
import { open, realpath } from 'node:fs/promises';
import { join } from 'node:path';
import { parse } from 'yaml';
import { FreezerError } from '../freezer/index.ts';
import { explainIssues } from '../jobs/index.ts';
import { AwsRole } from './awsRole.ts';

const LARGEST_BYTES = 2 ** 20;
const ABSENT = ['ENOENT', 'ENOTDIR'];

export type OperatorSecret =
  | { readonly kind: 'value'; readonly bytes: Buffer }
  | { readonly kind: 'role'; readonly role: AwsRole };

/**
 * `directory`: null where the worker has no secrets. `pool` and `name` must have been checked: they become a path. Throws
 * `FreezerError` `notHere`, which names the secret, for one that is not there or cannot be read; another worker may have it.
 */
export async function readSecret(directory: string | null, pool: string, name: string): Promise<OperatorSecret> {
  if (directory === null) {
    const remedy = `Give a worker of its pool the secret as ${pool}/${name} in the folder worker.secretsDir (FLOE_SECRETS_DIR).`;
    throw new FreezerError('notHere', `The job wants the secret ${name}, and this worker has no secrets.`, remedy);
  }
  const folder = join(directory, pool);
  const bytes = await readBelow(folder, name);
  if (bytes) return { kind: 'value', bytes };
  const role = await readBelow(folder, `${name}.role`);
  if (role) return { kind: 'role', role: parseRole(role, `${pool}/${name}.role`) };
  const remedy = `Put it in the worker's folder of secrets as ${pool}/${name}, or correct the name in the job.`;
  throw new FreezerError(
    'notHere',
    `The job wants the secret ${name}, which this worker has not for the pool ${pool}.`,
    remedy,
  );
}

/** Null where nothing is. Kubernetes' links stay in the folder and are followed; one that leads out of it is refused. */
async function readBelow(folder: string, name: string): Promise<Buffer | null> {
  const [root, path] = await Promise.all([folder, join(folder, name)].map((each) => realpath(each))).catch(
    (error: NodeJS.ErrnoException) => {
      if (ABSENT.includes(error.code ?? '')) return [];
      throw unusable(name, error.message);
    },
  );
  if (root === undefined || path === undefined) return null;
  if (!path.startsWith(`${root}/`)) throw unusable(name, 'it is a link that leads out of the folder of its pool');
  // Without O_NONBLOCK a FIFO would be waited for.
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  await using file = await open(path, flags).catch((error: Error) => Promise.reject(unusable(name, error.message)));
  const stats = await file.stat();
  if (!stats.isFile()) throw unusable(name, 'it is no file');
  if (stats.size > LARGEST_BYTES) throw unusable(name, `it has more than ${LARGEST_BYTES} bytes`);
  return await file.readFile();
}

function parseRole(bytes: Buffer, where: string): AwsRole {
  let given: unknown;
  try {
    given = parse(bytes.toString());
  } catch {
    // What the parser says quotes the file.
    throw unusable(where, 'it is no YAML');
  }
  const parsed = AwsRole.safeParse(given);
  if (parsed.success) return parsed.data;
  throw unusable(where, explainIssues(parsed.error, given));
}

function unusable(name: string, why: string): FreezerError {
  const what = `The job wants the secret ${name}, which this worker cannot read: ${why}.`;
  return new FreezerError('notHere', what, "Correct it in the worker's folder of secrets.");
}
