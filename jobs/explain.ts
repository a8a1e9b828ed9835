/** Messages about bad input: which field, what is wrong with it, and what was given. */
import type { z } from 'zod';

/** A spec may be wrong in a million places. */
const ISSUES_TOLD = 20;

/** One clause per issue: the field, what is wrong, and the value received. */
export function explainIssues(error: z.ZodError, input: unknown): string {
  const rest = error.issues.length - ISSUES_TOLD;
  const clauses = error.issues
    .slice(0, ISSUES_TOLD)
    .map((issue) => `${fieldName(issue.path)}: ${issue.message}${received(input, issue.path)}`);
  return [...clauses, ...(rest > 0 ? [`and ${rest} more`] : [])].join('; ');
}

/** Not for the environment, where jobs have their secrets, nor for a whole job, which has one. */
function received(input: unknown, path: readonly PropertyKey[]): string {
  const value = valueAt(input, path);
  const isWhole = path.length === 0 && typeof value === 'object' && value !== null;
  return path[0] === 'env' || isWhole ? '' : `, got ${showValue(value)}`;
}

function fieldName(path: readonly PropertyKey[]): string {
  return path.length === 0 ? '(the whole)' : path.map((key) => String(key).slice(0, 80)).join('.');
}

/** What is at `path` inside `value`; undefined when there is nothing. */
export function valueAt(value: unknown, path: readonly PropertyKey[]): unknown {
  return path.reduce<unknown>(
    (at, key) => (typeof at === 'object' && at !== null ? Reflect.get(at, key) : undefined),
    value,
  );
}

/** A value in at most 80 characters. */
export function showValue(value: unknown): string {
  if (value === undefined) return 'nothing';
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 80 ? `${text.slice(0, 77)}…` : text;
}
