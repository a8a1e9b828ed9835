/** The flags of the demo. */
import { parseArgs } from 'node:util';

export const USAGE = `npm run demo [-- OPTIONS]

  --size-mib N        how much xz has to compress (default 200, about four minutes; smaller is quicker)
  --interruptions N   how often the machine that has the jobs is taken away (default 3)
  --keep              leave everything running at the end, with the dashboard, until Ctrl-C
  --help
`;

export interface Options {
  readonly sizeMib: number;
  readonly interruptions: number;
  readonly keep: boolean;
}

/** Throws `TypeError` that names the flag and the value. Prints the usage and exits when that is asked for. */
export function readOptions(): Options {
  const { values } = parseArgs({
    options: {
      'size-mib': { type: 'string', default: '200' },
      interruptions: { type: 'string', default: '3' },
      keep: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) {
    process.stdout.write(USAGE);
    process.exit(0);
  }
  return {
    sizeMib: wholeNumber('--size-mib', values['size-mib'], 8, 4096),
    interruptions: wholeNumber('--interruptions', values.interruptions, 0, 20),
    keep: values.keep,
  };
}

function wholeNumber(flag: string, text: string, least: number, most: number): number {
  const value = Number(text);
  if (Number.isInteger(value) && value >= least && value <= most) return value;
  throw new TypeError(`${flag} must be a whole number from ${least} to ${most}, got "${text}"`);
}
