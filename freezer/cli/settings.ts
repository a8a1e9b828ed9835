/** Where things are, from flags and the environment; flags win. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { z } from 'zod';
import { credentialsIn, keepCloudSecrets, keepSecret } from '../../base/redact.ts';
import { KeyRing } from '../encryption/keyRing.ts';
import { CommandError } from './commandError.ts';
import { EXIT_CODES_HELP } from './exitCodes.ts';

export interface CommonFlags {
  readonly store?: string;
  readonly stateDir?: string;
  readonly name?: string;
}

const absolute = z.string().startsWith('/', 'must be an absolute path');
const Settings = z.object({
  storeUrl: z.string().min(1, 'must not be empty'),
  /** See encryption/keyRing.ts. Empty: what is written is not encrypted. */
  encryptionKeys: z.array(z.string()),
  /** What this machine keeps: the running program's files, and the socket of the running start. */
  stateDirectory: absolute,
  toolboxDirectory: absolute,
  /** Where CRIU's images are kept. Default /dev/shm/floe where that can be used, else the state folder, or nowhere with an encryption key. */
  imagesDirectory: absolute.optional(),
  /** Tells several starts on one machine apart. */
  name: z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,60}$/, 'may have letters, digits, dots and dashes'),
});
export type Settings = z.output<typeof Settings>;

const ORIGINS: Record<string, string> = {
  storeUrl: '--store or S3',
  stateDirectory: '--state-dir or FREEZER_STATE_DIR',
  toolboxDirectory: 'FLOE_TOOLBOX',
  imagesDirectory: 'FLOE_IMAGES_DIR',
  name: '--name or FREEZER_NAME',
};

/** Empty variables count as not set, but for the store and the key: that could be by mistake. Throws `CommandError` `usage`, and `FreezerError` `wrongKey` for an encryption key that is none. */
export function readSettings(flags: CommonFlags, env: NodeJS.ProcessEnv = process.env): Settings {
  const storeUrl = flags.store ?? env.S3 ?? 'file:///dump';
  keepCloudSecrets(env);
  keepSecret(...credentialsIn(storeUrl));
  const parsed = Settings.safeParse({
    storeUrl,
    encryptionKeys: encryptionKeys(env),
    stateDirectory: flags.stateDir ?? (env.FREEZER_STATE_DIR || '/var/lib/freezer'),
    toolboxDirectory: env.FLOE_TOOLBOX || join(env.FLOE_SETUP_DIR || '/var/lib/floe/setup', 'toolbox'),
    imagesDirectory: env.FLOE_IMAGES_DIR || undefined,
    name: flags.name ?? (env.FREEZER_NAME || 'default'),
  });
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw new CommandError('usage', `${ORIGINS[String(issue?.path[0])]}: ${issue?.message}.`, 'Correct it.');
}

/** Keys with commas or white space between them, the current one first; `FREEZER_ENCRYPTION_KEY_FILE` names a file that has them. */
function encryptionKeys({
  FREEZER_ENCRYPTION_KEY: given,
  FREEZER_ENCRYPTION_KEY_FILE: path,
}: NodeJS.ProcessEnv): string[] {
  if (given === undefined && path === undefined) return [];
  if (given && path) {
    const message = 'Both FREEZER_ENCRYPTION_KEY and FREEZER_ENCRYPTION_KEY_FILE are set.';
    throw new CommandError('usage', message, 'Unset one of them.');
  }
  const keys = (path ? readKeyFile(path) : (given ?? '')).split(/[\s,]+/).filter((word) => word !== '');
  // What was to be a key, and is empty, must not turn encryption off.
  if (KeyRing.of(keys).current === null) {
    const where = path === undefined ? 'FREEZER_ENCRYPTION_KEY' : path || 'FREEZER_ENCRYPTION_KEY_FILE';
    throw new CommandError('usage', `${where} has no key.`, 'Put one there, or leave the variable out.');
  }
  keepSecret(...keys.filter((key) => key !== 'plain' && !key.startsWith('kms:')));
  return keys;
}

function readKeyFile(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (cause) {
    // Not the path: whoever mixes up the two variables has put the key itself there.
    const reason = cause instanceof Error && 'code' in cause ? String(cause.code) : 'it cannot be read';
    const message = `FREEZER_ENCRYPTION_KEY_FILE: ${reason}: the file that it names cannot be read.`;
    throw new CommandError('usage', message, 'Correct the path or its permissions.');
  }
}

/** Adds the flags that a command needs, its examples and the exit codes. */
export function finishCommand(
  command: Command,
  takes: { store?: true; name?: true },
  examples: readonly string[],
): Command {
  if (takes.store) {
    command.option('--store <url>', 's3://bucket[/prefix] or file:///folder (S3; default: file:///dump)');
  }
  if (takes.name) {
    command.option('--name <name>', 'which start on this machine (FREEZER_NAME; default: default)');
    command.option(
      '--state-dir <folder>',
      'what this machine keeps of it (FREEZER_STATE_DIR; default: /var/lib/freezer)',
    );
  }
  const lines = examples.map((example) => `  $ ${example}`).join('\n');
  return command.addHelpText('after', `\nExamples:\n${lines}\n${EXIT_CODES_HELP}`);
}
