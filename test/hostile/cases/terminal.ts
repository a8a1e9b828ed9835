/** What jobs write, and are called, on the terminal of whoever looks at them: it must not become orders to that terminal. */
import type { Attack, Ended, Ground } from '../attack.ts';
import { require } from '../breach.ts';
import { floeOnTerminal } from '../cli.ts';

/** Title, clear, other screen, clipboard, answers that are typed; the last one without an ESC (C1, in UTF-8). */
const ORDERS = ['\x1b]0;owned\x07', '\x1b[2J', '\x1b[?1049h', '\x1b]52;c;b3duZWQ=\x07', '\x1b[6n', '\u009b31m'];
const PRINTED = ORDERS.join('')
  .replaceAll('\x1b', '\\033')
  .replaceAll('\x07', '\\007')
  .replaceAll('\u009b', '\\302\\233');

async function isHarmless(ground: Ground, { id }: Ended): Promise<void> {
  require(id !== null, 'it was not accepted');
  const commands = [['ls'], ['status', id], ['logs', id], ['wait', id], ['ls', '--json'], ['status', id, '--json']];
  for (const words of commands) {
    const shown = await floeOnTerminal(ground.stage, ...words);
    const order = ORDERS.find((each) => shown.includes(each));
    require(order === undefined, `\`floe ${words[0]}\` sends ${JSON.stringify(order)} to the terminal`);
    const secrets = ground.stage.parts.tokens.namesIn(Buffer.from(shown));
    require(secrets.size === 0, `\`floe ${words[0]}\` shows ${[...secrets].join(', ')}`);
  }
}

export const terminal: Attack[] = [
  {
    name: 'terminal/orders-in-logs',
    wants: 'To give orders to the terminal of whoever reads its log.',
    order: () => ({ script: `printf '${PRINTED}'; printf '${PRINTED}' >&2; echo end` }),
    ends: /^succeeded/,
    check: async (ground, ended) => {
      await isHarmless(ground, ended);
      const shown = await floeOnTerminal(ground.stage, 'logs', ended.id ?? '');
      require(shown.includes('end'), `\`floe logs\` does not show the log: ${JSON.stringify(shown)}`);
    },
  },
  {
    name: 'terminal/orders-in-names',
    wants: 'The same by the names of a job, its program, its variables and its outputs.',
    order: () => ({
      spec: {
        command: ['/bin/sh', '-c', 'exit 3', ...ORDERS],
        name: `name ${ORDERS.join('')}`,
        env: { ORDERS: ORDERS.join('') },
        outputs: [`none-${ORDERS.join('')}`],
      },
    }),
    ends: /^(failed|refused)/,
    check: async (ground, ended) => {
      if (ended.id !== null) await isHarmless(ground, ended);
    },
  },
  {
    name: 'terminal/orders-in-errors',
    wants: 'The same by what is told of why it cannot run.',
    order: () => ({ spec: { command: [`/bin/${ORDERS.join('')}`], directory: `/nowhere/${ORDERS.join('')}` } }),
    ends: /^(failed|refused)/,
    check: async (ground, ended) => {
      if (ended.id !== null) await isHarmless(ground, ended);
    },
  },
];
