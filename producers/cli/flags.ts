/** Values of flags. Each parser throws `FloeError` `invalidOption`, which names the flag and what was given. */
import { FloeError } from '../../jobs/errors.ts';

const DURATION = /^(?:(\d+(?:\.\d+)?)(ms|s|m|h|d))+$/;
const UNIT_MS: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** `90s`, `1h30m`, `0` → ms */
export function durationFlag(flag: string) {
  return (text: string): number => {
    if (text === '0') return 0;
    if (!DURATION.test(text)) throw wrong(flag, 'a duration such as 90s, 15m or 1h30m', text);
    const parts = text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h|d)/g);
    return Math.round(parts.reduce((sum, [, value, unit]) => sum + Number(value) * (UNIT_MS[unit ?? ''] ?? 0), 0));
  };
}

export function integerFlag(flag: string) {
  return (text: string): number => {
    if (!/^-?\d{1,15}$/.test(text)) throw wrong(flag, 'an integer', text);
    return Number(text);
  };
}

export function numberFlag(flag: string) {
  return (text: string): number => {
    const value = Number(text);
    if (text.trim() === '' || !Number.isFinite(value)) throw wrong(flag, 'a number', text);
    return value;
  };
}

/** For a flag that may be repeated. */
export function collect(text: string, before: string[] = []): string[] {
  return [...before, text];
}

/** `NAME=VALUE`, repeated → an object */
export function collectPairs(flag: string) {
  return (text: string, before: Record<string, string> = {}): Record<string, string> => {
    const cut = text.indexOf('=');
    if (cut < 1) throw wrong(flag, 'NAME=VALUE', text);
    return { ...before, [text.slice(0, cut)]: text.slice(cut + 1) };
  };
}

/** `NAME` or `NAME:VARIABLE`, repeated. What they may be the schema says. */
export function collectSecrets(
  text: string,
  before: { name: string; env?: string }[] = [],
): { name: string; env?: string }[] {
  const cut = text.indexOf(':');
  const secret = cut < 0 ? { name: text } : { name: text.slice(0, cut), env: text.slice(cut + 1) };
  return [...before, secret];
}

export function choiceFlag<const T extends string>(flag: string, choices: readonly T[]) {
  return (text: string, before: T[] = []): T[] => {
    const found = choices.find((choice) => choice === text);
    if (!found) throw wrong(flag, `one of ${choices.join(', ')}`, text);
    return [...before, found];
  };
}

function wrong(flag: string, what: string, text: string): FloeError {
  return new FloeError('invalidOption', `${flag}: must be ${what}, got ${JSON.stringify(text)}.`, 'Correct the flag.');
}
