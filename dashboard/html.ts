/**
 * HTML that cannot be injected into: every value put into `html` is escaped unless it is `Html` itself. Attribute values
 * must stand in double quotes. There is deliberately no way to make `Html` from a string at run time.
 */
export class Html {
  readonly text: string;

  private constructor(text: string) {
    this.text = text;
  }

  static template(parts: TemplateStringsArray, ...values: HtmlValue[]): Html {
    return new Html(parts.map((part, at) => (at === 0 ? part : render(values[at - 1]) + part)).join(''));
  }

  toString(): string {
    return this.text;
  }
}

/** Lists are joined; null, undefined and false show nothing. */
export type HtmlValue = Html | string | number | null | undefined | false | readonly HtmlValue[];

export const html = Html.template;

function render(value: HtmlValue): string {
  if (value === null || value === undefined || value === false) return '';
  if (value instanceof Html) return value.text;
  if (typeof value === 'string' || typeof value === 'number') return escapeHtml(String(value));
  return value.map(render).join('');
}

/** C0 but for tab and line breaks, C1, and what turns text around: a name must not read as another one. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what it is about
const CONTROLS = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g;
const ESCAPES: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };

export function escapeHtml(text: string): string {
  return text.replace(CONTROLS, '\ufffd').replace(/[&<>"']/g, (character) => ESCAPES[character] ?? '');
}
