/**
 * Text that others wrote, on its way to a terminal. A terminal obeys what it is sent: escape sequences move its cursor, set
 * its title, write to the clipboard (OSC 52) or make it type. Bidirectional controls make a name read as another.
 *
 * - `plain` is for fields of one line: names, reasons, commands. Every control character becomes U+FFFD.
 * - `TerminalFilter` is for what a program wrote. Line breaks, tabs and colours (SGR, `ESC [ … m`) pass.
 * - `escapeUnsafe` is for JSON, which stays the same value.
 */
import { StringDecoder } from 'node:string_decoder';

const REPLACEMENT = '\ufffd';
/** DEL, C1, line and paragraph separators, and what overrides or isolates the direction of text. C0 comes on top of it. */
const BEYOND_C0 = '\\u007f-\\u009f\\u2028\\u2029\\u202a-\\u202e\\u2066-\\u2069';
const UNSAFE_IN_LINE = new RegExp(`[\\u0000-\\u001f${BEYOND_C0}]`, 'g');
const UNSAFE_IN_TEXT = new RegExp(`[\\u0000-\\u0008\\u000b-\\u001f${BEYOND_C0}]`, 'g');
const UNSAFE_IN_JSON = new RegExp(`[${BEYOND_C0}]`, 'g');

/** For one line: what a job's owner wrote must not move the reader's cursor, nor turn the text around. */
export function plain(text: string): string {
  return text.replace(UNSAFE_IN_LINE, REPLACEMENT);
}

/** For text of several lines, without colours. */
export function plainLines(text: string): string {
  return text.replace(UNSAFE_IN_TEXT, REPLACEMENT);
}

/** For JSON, in which the control characters below U+0020 are escaped already. The value stays as it is. */
export function escapeUnsafe(json: string): string {
  return json.replace(UNSAFE_IN_JSON, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

/** Longer ones are no colour. */
const LONGEST_COLOUR = 64;
const ESC = '\u001b';
const RESET = `${ESC}[0m`;

/**
 * Where in an escape sequence the text is (ECMA-48, 5.3 to 5.6):
 * - `ground`: in none
 * - `escape`: after ESC, and intermediate characters after it
 * - `colour`: after `ESC [`, collecting what may be a colour
 * - `control`: in a control sequence that is none; ends with a character from @ to ~
 * - `string`: in OSC, DCS, APC, PM or SOS; ends with BEL or ST, or here with its line. No text of later lines is lost.
 */
type State = 'ground' | 'escape' | 'colour' | 'control' | 'string';

/** Filters one stream. It keeps an unfinished sequence until its end arrives, however it is cut into pieces. */
export class TerminalFilter {
  readonly #decoder = new StringDecoder('utf8');
  #state: State = 'ground';
  #parameters = '';
  #endsInReturn = false;
  #isColoured = false;

  /** What of these bytes may be shown. Invalid UTF-8 becomes U+FFFD. */
  push(bytes: Uint8Array | string): string {
    const text = typeof bytes === 'string' ? bytes : this.#decoder.write(Buffer.from(bytes));
    if (this.#state === 'ground' && !this.#endsInReturn && text.search(UNSAFE_IN_TEXT) === -1) return text;
    let shown = '';
    for (const character of text) shown += this.#next(character);
    return shown;
  }

  /** At the end: what was held back, and back to the terminal's own colours. */
  end(): string {
    const rest = this.push(this.#decoder.end());
    const returned = this.#endsInReturn ? '\n' : '';
    const reset = this.#isColoured ? RESET : '';
    this.#state = 'ground';
    this.#endsInReturn = false;
    this.#isColoured = false;
    return `${rest}${returned}${reset}`;
  }

  #next(character: string): string {
    if (this.#state === 'ground') return this.#shown(character);
    if (character === ESC) return this.#enter('escape');
    // CAN and SUB give a sequence up, and so does a line's end.
    if (character === '\n' || character === '\u0018' || character === '\u001a') {
      this.#state = 'ground';
      return character === '\n' ? '\n' : '';
    }
    switch (this.#state) {
      case 'escape':
        return this.#afterEscape(character);
      case 'colour':
        return this.#inColour(character);
      case 'control':
        return character >= '@' && character <= '~' ? this.#enter('ground') : '';
      case 'string':
        return character === '\u0007' || character === '\u009c' ? this.#enter('ground') : '';
    }
  }

  /** A carriage return would let a line be written over: on its own it becomes a line's end. */
  #shown(character: string): string {
    const before = this.#endsInReturn && character !== '\n' && character !== '\r' ? '\n' : '';
    this.#endsInReturn = character === '\r';
    if (character === '\r') return '';
    return before + this.#ground(character);
  }

  #ground(character: string): string {
    if (character === ESC) return this.#enter('escape');
    if (character === '\u009b') return this.#enter('colour');
    if (/[\u0090\u0098\u009d-\u009f]/.test(character)) return this.#enter('string');
    return plainLines(character);
  }

  #afterEscape(character: string): string {
    if (character === '[') return this.#enter('colour');
    if (/[P\]X^_]/.test(character)) return this.#enter('string');
    // Intermediate characters come before the final one.
    return character >= ' ' && character <= '/' ? '' : this.#enter('ground');
  }

  #inColour(character: string): string {
    if (character === 'm') {
      this.#state = 'ground';
      this.#isColoured = true;
      return `${ESC}[${this.#parameters}m`;
    }
    if (/[0-9;:]/.test(character) && this.#parameters.length < LONGEST_COLOUR) {
      this.#parameters += character;
      return '';
    }
    this.#state = 'control';
    return this.#next(character);
  }

  #enter(state: State): '' {
    this.#state = state;
    this.#parameters = '';
    return '';
  }
}
