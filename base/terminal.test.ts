import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { escapeUnsafe, plain, plainLines, TerminalFilter } from './terminal.ts';

// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what it is about
const COLOUR = /\u001b\[[0-9;:]*m/g;

/** What a terminal obeys, each with the words around it that must stay. */
const ATTACKS: [name: string, bytes: string][] = [
  ['the clipboard (OSC 52)', 'a\u001b]52;c;ZXZpbA==\u0007b'],
  ['the clipboard, ended by ST', 'a\u001b]52;c;ZXZpbA==\u001b\\b'],
  ['the title', 'a\u001b]0;root@host\u0007b'],
  ['a hyperlink', 'a\u001b]8;;https://evil.example\u001b\\b'],
  ['the cursor', 'a\u001b[2J\u001b[1;1Hb'],
  ['a private mode', 'a\u001b[?1049hb'],
  ['a device control string', 'a\u001bP$q"p\u001b\\b'],
  ['a program command (APC)', 'a\u001b_Gevil\u001b\\b'],
  ['a report that the terminal types', 'a\u001b[21tb'],
  ['a reset', 'a\u001bcb'],
  ['another character set', 'a\u001b(0b'],
  ['a colour that is none', 'a\u001b[>4;1mb'],
  ['8-bit CSI', 'a\u009b2Jb'],
  ['8-bit OSC', 'a\u009d0;title\u009cb'],
  ['an escape within an escape', 'a\u001b[\u001b]0;x\u0007b'],
  ['a sequence that is given up', 'a\u001b[12\u0018b'],
];

function filtered(...pieces: readonly (string | Uint8Array)[]): string {
  const filter = new TerminalFilter();
  return pieces.map((piece) => filter.push(piece)).join('') + filter.end();
}

describe('TerminalFilter', () => {
  it.each(ATTACKS)('lets nothing through of %s, however it is cut', (_, text) => {
    const bytes = Buffer.from(text);
    for (let at = 0; at <= bytes.length; at++) {
      expect(filtered(bytes.subarray(0, at), bytes.subarray(at))).toBe('ab');
    }
    expect(filtered(...Array.from(bytes, (byte) => Buffer.from([byte])))).toBe('ab');
  });

  it('keeps colours, tabs, line breaks and every letter, and gives the terminal its own colours back', () => {
    const text = '\u001b[1;31mred\u001b[0m\t\u001b[38:2:1:2:3mä😀\n';
    for (let at = 0; at <= Buffer.byteLength(text); at++) {
      const bytes = Buffer.from(text);
      expect(filtered(bytes.subarray(0, at), bytes.subarray(at))).toBe(`${text}\u001b[0m`);
    }
    expect(filtered('plain\r\n')).toBe('plain\n');
  });

  it('shows what would be written over, and what follows a sequence without an end', () => {
    expect(filtered('rm -rf /\rharmless')).toBe('rm -rf /\nharmless');
    expect(filtered('10 %\r', '20 %\r', '\n')).toBe('10 %\n20 %\n');
    expect(filtered('\u001b]0;no end\nnext line\n')).toBe('\nnext line\n');
    expect(filtered('pass\b\b\b\bword\u202e')).toBe('pass\ufffd\ufffd\ufffd\ufffdword\ufffd');
  });

  it('emits no control character but line breaks, tabs and whole colours, whatever it is given', () => {
    const alphabet = fc.constantFrom('\u001b', '[', ']', 'm', '3', ';', '\u0007', '\\', 'P', '\r', '\n', 'x', '\u009b');
    const pieces = fc.array(fc.array(fc.oneof(alphabet, fc.string()), { maxLength: 8 }).map((all) => all.join('')));
    fc.assert(
      fc.property(pieces, (texts) => {
        const rest = filtered(...texts.map((text) => Buffer.from(text))).replace(COLOUR, '');
        expect(rest).toBe(plainLines(rest));
      }),
    );
  });

  it('does not grow while a sequence has no end', () => {
    const filter = new TerminalFilter();
    filter.push('\u001b[');
    for (let piece = 0; piece < 1000; piece++) expect(filter.push('1'.repeat(1000))).toBe('');
    expect(filter.push('mshown')).toBe('shown');
  });
});

it('plain leaves one line that reads from left to right', () => {
  expect(plain('a\u001b[31m\n\tb\u009b2J\u202egnp.exe\u2066\u007f\u2028')).toBe(
    'a\ufffd[31m\ufffd\ufffdb\ufffd2J\ufffdgnp.exe\ufffd\ufffd\ufffd',
  );
  expect(plain('größer – 日本語 עברית')).toBe('größer – 日本語 עברית');
});

it('escapeUnsafe leaves JSON of the same value without anything that a terminal obeys', () => {
  const value = { name: 'a\u001b]0;x\u0007\u009b2J\u202e\u007f' };
  const json = escapeUnsafe(JSON.stringify(value));
  expect(json).toBe(plain(json));
  expect(JSON.parse(json)).toEqual(value);
});
