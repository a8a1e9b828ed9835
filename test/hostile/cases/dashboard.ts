/** What jobs write, and are called, on the pages of the dashboard: it is shown there as text, and never is part of a page. */
import type { Attack, Ended, Ground } from '../attack.ts';
import { require } from '../breach.ts';

const MARKUP = `"'><img src=x onerror=owned()><script>owned()</script>`;
/** Of `MARKUP`; no page of ours has these. */
const RAW = ['<img src=x', '<script>owned', `"'>`];
const ESCAPED = '&lt;img src=x onerror=owned()&gt;';
/** A title, colours without an ESC (C1), and what turns text around. */
const CONTROLS = '\x1b]0;owned\x07\u009b31m\u202eowned';
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what it is about
const CONTROL = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/;
const HOSTILE = `${MARKUP}${CONTROLS}`;
const IN_OCTAL = [...Buffer.from(HOSTILE)].map((byte) => `\\0${byte.toString(8)}`).join('');

async function isShownAsText({ stage }: Ground, { id }: Ended): Promise<void> {
  require(id !== null, 'it was not accepted');
  const dashboard = await stage.dashboard();
  for (const path of ['/', `/jobs/${id}`, `/jobs/${encodeURIComponent(HOSTILE)}`]) {
    const page = await dashboard.page(path);
    const raw = RAW.find((each) => page.includes(each));
    require(raw === undefined, `${path} has ${raw}`);
    const control = CONTROL.exec(page);
    require(control === null, `${path} has the character ${JSON.stringify(control?.[0])}`);
    require(!path.endsWith(id) || page.includes(ESCAPED), `${path} does not show it`);
    const secrets = stage.parts.tokens.namesIn(Buffer.from(page));
    require(secrets.size === 0, `${path} shows ${[...secrets].join(', ')}`);
  }
}

export const dashboard: Attack[] = [
  {
    name: 'dashboard/markup-in-names',
    wants:
      "To run a script in the operator's browser, by the names of a job, its program, its variables and its outputs.",
    isQuick: true,
    order: () => ({
      spec: {
        command: ['/bin/sh', '-c', 'exit 3', HOSTILE],
        name: HOSTILE,
        env: { NOTE: HOSTILE },
        outputs: [`none-${HOSTILE}`],
      },
    }),
    ends: /^failed exit 3/,
    check: isShownAsText,
  },
  {
    name: 'dashboard/markup-in-logs',
    wants: 'The same by what it writes.',
    order: () => ({ script: `printf '%b' '${IN_OCTAL}'; printf '%b' '${IN_OCTAL}' >&2; exit 0` }),
    ends: /^succeeded/,
    check: isShownAsText,
  },
  {
    name: 'dashboard/markup-in-errors',
    wants: 'The same by what is told of why it cannot run.',
    order: () => ({ spec: { command: [`/bin/${HOSTILE}`] } }),
    ends: /^failed/,
    check: isShownAsText,
  },
];
