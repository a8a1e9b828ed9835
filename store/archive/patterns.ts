/** What `include` may say: paths and globs beneath a folder. */
import { matchesGlob, posix } from 'node:path';

const LARGEST_EXPANSION = 1000;

/** Null when the pattern leaves the folder. `.` stands for everything. */
export function normalizePattern(pattern: string): string | null {
  const path = posix.normalize(pattern).replace(/(?<=.)\/$/, '');
  return leaves(path) ? null : path;
}

/** The segments of a glob, for each way that its braces with a `/` in them can be read. */
export function segmentsOf(pattern: string): string[][] {
  return expandBraces(pattern)
    .map((path) => posix.normalize(path).replace(/(?<=.)\/$/, ''))
    .filter((path) => !leaves(path) && path !== '.')
    .map((path) => path.split('/'));
}

/** Whether a segment names one file alone. */
export function isLiteral(segment: string): boolean {
  return !/[*?[\](){}\\]/.test(segment);
}

/** As `matchesGlob` of node:path. */
export function matchesName(name: string, segment: string): boolean {
  return /[[\](){}\\]/.test(segment) ? matchesGlob(name, segment) : matchesWildcards(name, segment);
}

/**
 * For a segment with no more than `*` and `?`. As a regular expression, which is what `matchesGlob` makes of it, `*a*a*a*a*b` takes
 * hours on one long name: this takes the product of both lengths at most.
 */
function matchesWildcards(name: string, segment: string): boolean {
  if (name.startsWith('.') && !segment.startsWith('.')) return false;
  let [at, inSegment] = [0, 0];
  let star: { at: number; inSegment: number } | null = null;
  while (at < name.length) {
    const wanted = segment[inSegment];
    if (wanted === '*') {
      inSegment += 1;
      star = { at, inSegment };
    } else if (wanted === '?' || wanted === name[at]) {
      at += 1;
      inSegment += 1;
    } else if (star) {
      // The last `*` stands for one character more: those before it need not be tried again.
      star.at += 1;
      [at, inSegment] = [star.at, star.inSegment];
    } else return false;
  }
  return /^\**$/.test(segment.slice(inSegment));
}

function leaves(path: string): boolean {
  return posix.isAbsolute(path) || path.split('/')[0] === '..';
}

/** `a/{b/c,d}` as `a/b/c` and `a/d`. Braces within a segment are left to the one who matches it. */
function expandBraces(pattern: string): string[] {
  const done: string[] = [];
  const open = [pattern];
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    const braces = findBraces(next);
    if (braces === null || done.length + open.length > LARGEST_EXPANSION) done.push(next);
    else {
      const [before, after] = [next.slice(0, braces.start), next.slice(braces.end)];
      open.push(...braces.choices.map((choice) => before + choice + after));
    }
  }
  return done;
}

/** The first outermost braces with a `/` and a choice in them. */
function findBraces(pattern: string): { start: number; end: number; choices: string[] } | null {
  let depth = 0;
  let start = 0;
  let choices: string[] = [];
  let from = 0;
  for (let at = 0; at < pattern.length; at += 1) {
    const character = pattern[at];
    if (character === '{' && depth++ === 0) [start, from, choices] = [at, at + 1, []];
    const isEnd = character === '}' && depth > 0 && --depth === 0;
    if (isEnd || (character === ',' && depth === 1)) {
      choices.push(pattern.slice(from, at));
      from = at + 1;
    }
    if (isEnd && choices.length > 1 && pattern.slice(start, at).includes('/')) return { start, end: at + 1, choices };
  }
  return null;
}
