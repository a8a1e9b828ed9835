import { expect, test, vi } from 'vitest';
import { ZodError, z } from 'zod';
import { FloeError } from '../jobs/index.ts';
import { Lease } from './lease.ts';

/** Long enough for a machine that is busy with other tests to renew it in time. */
const TERMS = { lockDurationMs: 1000, stopMarginMs: 250 };
const WAIT = { timeout: 20_000 };

/** Records the terms that the container is given. */
function containerOf(terms: number[]): (validForMs: number) => void {
  return (validForMs) => void terms.push(validForMs);
}

const lost = (signal: AbortSignal) =>
  new Promise((resolve) => signal.addEventListener('abort', () => resolve(signal.reason)));

test('a lock that is not ours at the start is lost at once', async () => {
  await expect(Lease.open(async () => false, TERMS)).rejects.toMatchObject({ code: 'lost' });
});

test('renewals go on while Redis agrees, and each gives the container a term shorter than the lock', async () => {
  const renewLock = vi.fn(async () => true);
  const terms: number[] = [];
  using lease = await Lease.open(renewLock, TERMS);
  lease.attach(containerOf(terms));
  await vi.waitFor(() => expect(renewLock.mock.calls.length).toBeGreaterThan(6), WAIT);
  expect(lease.signal.aborted).toBe(false);
  expect(Math.max(...terms)).toBeLessThanOrEqual(TERMS.lockDurationMs - TERMS.stopMarginMs);
});

test('the term counts from when the request was sent, not from its answer', async () => {
  let answers = async () => true;
  const terms: number[] = [];
  using lease = await Lease.open(() => answers(), TERMS);
  lease.attach(containerOf(terms));
  terms.length = 0;
  answers = () => new Promise((resolve) => setTimeout(() => resolve(true), 400));
  await vi.waitFor(() => expect(terms.length).toBeGreaterThan(0), WAIT);
  expect(terms[0]).toBeLessThanOrEqual(350);
});

test('a lock that another worker took is lost at once', async () => {
  let ours = true;
  using lease = await Lease.open(async () => ours, TERMS);
  ours = false;
  expect(await lost(lease.signal)).toBeInstanceOf(FloeError);
  expect(lease.remainingMs).toBe(0);
});

test.for([
  ['fails', () => Promise.reject(new Error('READONLY'))],
  ['hangs', () => new Promise<boolean>(() => undefined)],
] as const)('a Redis that %s costs the lease when the term is over, not before', async ([, broken]) => {
  let answers: () => Promise<boolean> = async () => true;
  using lease = await Lease.open(() => answers(), TERMS);
  const openedAt = performance.now();
  answers = broken;
  expect(await lost(lease.signal)).toMatchObject({ code: 'lost' });
  expect(performance.now() - openedAt).toBeGreaterThan(500);
});

test('insisting repeats what fails, but not what is final, and ends with the lease even when the work hangs', async () => {
  using lease = await Lease.open(async () => true, TERMS);
  let tries = 0;
  const work = async () => {
    tries += 1;
    if (tries < 3) throw new Error('LOADING');
    return tries;
  };
  expect(await lease.insist(work)).toBe(3);
  const final = new FloeError('conflict', 'no', 'none');
  await expect(lease.insist(() => Promise.reject(final))).rejects.toBe(final);
  await expect(lease.insist(async () => z.string().parse(1))).rejects.toBeInstanceOf(ZodError);
  const hanging = lease.insist(() => new Promise(() => undefined));
  lease.abandon('told to end');
  await expect(hanging).rejects.toMatchObject({ code: 'lost', message: 'told to end' });
});
