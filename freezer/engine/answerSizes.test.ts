import { expect, test } from 'vitest';
import type { Question } from '../criu/lazyPageServer.ts';
import { AnswerSizes } from './answerSizes.ts';

const PAGE = 4096n;

/** Asks as CRIU's daemon does for pages of which only those up to a border are in one mapping; returns the sizes of all answers. */
function fill(pages: number, borders: readonly number[]): number[] {
  const sizes = new AnswerSizes();
  const answers: number[] = [];
  for (let at = 0; at < pages; ) {
    const question: Question = { process: 7, address: BigInt(at) * PAGE, pages: Math.min(1024, pages - at) };
    const answered = sizes.mostPages(question);
    sizes.answered(question, answered);
    answers.push(answered);
    const isRefused = borders.some((border) => at < border && border < at + answered);
    if (!isRefused) at += answered;
  }
  return answers;
}

test('what can be placed is given as it is asked for', () => {
  expect(fill(4096, [])).toEqual([1024, 1024, 1024, 1024]);
});

test('memory with many mappings is filled with little more than there is of it', () => {
  const borders = Array.from({ length: 300 }, (_, at) => at * 115 + 3);
  const sent = fill(34_600, borders).reduce((sum, size) => sum + size, 0);
  expect(sent).toBeLessThan(34_600 * 6);
});

test('a page that is asked for between makes no difference', () => {
  const sizes = new AnswerSizes();
  const many: Question = { process: 7, address: 0n, pages: 1024 };
  const one: Question = { process: 7, address: 2n ** 30n, pages: 1 };
  const answers = [many, one, many, one, many].map((question) => {
    const answered = sizes.mostPages(question);
    sizes.answered(question, answered);
    return answered;
  });
  expect(answers).toEqual([1024, 1, 512, 1, 256]);
});

test('a page that is refused for ever ends the filling', () => {
  expect(() => fill(1, [])).not.toThrow();
  const sizes = new AnswerSizes();
  const question: Question = { process: 7, address: 0n, pages: 1024 };
  const ask = () => sizes.answered(question, sizes.mostPages(question));
  const askOften = () => {
    for (let times = 0; times < 20_000; times++) ask();
  };
  expect(askOften).toThrow(/cannot follow/);
});
