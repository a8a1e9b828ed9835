/** The flags of the hostile run. */
import { parseArgs } from 'node:util';
import type { RuntimeName } from './stage.ts';

export const USAGE = `npm run hostile [-- OPTIONS]

  --only PATTERN      the cases whose names match, a regular expression (default all)
  --runtime NAME      process or docker (default both)
  --without-bombs     none of those that only the worker's own bounds keep from filling the machine
  --list              show the cases and try none
  --help
`;

export interface Options {
  readonly only: RegExp;
  readonly runtimes: readonly RuntimeName[];
  readonly withBombs: boolean;
  readonly list: boolean;
}

/** Null when the usage was asked for. Throws `TypeError` that names the flag and the value. */
export function readOptions(args = process.argv.slice(2)): Options | null {
  const { values } = parseArgs({
    args,
    options: {
      only: { type: 'string', default: '' },
      runtime: { type: 'string' },
      'without-bombs': { type: 'boolean', default: false },
      list: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) return null;
  const runtimes: RuntimeName[] = ['process', 'docker'];
  const wanted = runtimes.filter((name) => values.runtime === undefined || values.runtime === name);
  if (wanted.length === 0) throw new TypeError(`--runtime takes process or docker, got "${values.runtime}"`);
  return { only: pattern(values.only), runtimes: wanted, withBombs: !values['without-bombs'], list: values.list };
}

function pattern(text: string): RegExp {
  try {
    return new RegExp(text);
  } catch {
    throw new TypeError(`--only takes a regular expression, got "${text}"`);
  }
}
