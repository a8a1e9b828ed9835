/** The dashboard in a real browser. Needs Chromium, which the set-up installs; where it is missing, the tests say so. */
import { existsSync } from 'node:fs';
import { type Browser, type BrowserContextOptions, chromium, type Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { OwnedRecord, readRecord, redisKeys } from '../jobs/index.ts';
import { seedJob, seedLog, seedRun, seedWorker } from './testing/seed.ts';
import { OPERATOR, READER, type Stack, startStack } from './testing/stack.ts';

const CHROMIUM = '/usr/bin/chromium';
const FLAGS = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run'];
const QUIET = ['--disable-background-networking', '--disable-component-update', '--disable-sync'];
const HOSTILE = `<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>"'>`;

const missing = !existsSync(CHROMIUM);

describe.skipIf(missing)(`in a browser${missing ? ` (skipped: ${CHROMIUM} is not installed)` : ''}`, () => {
  let stack: Stack;
  let browser: Browser;
  let runningId: string;
  let hostileId: string;

  beforeAll(async () => {
    stack = await startStack();
    browser = await chromium.launch({ executablePath: CHROMIUM, args: [...FLAGS, ...QUIET] });
    runningId = await seedJob(stack.redis, { command: ['fold', '--all'], name: 'folding' });
    const progress = { step: 'sending', doneBytes: 1, totalBytes: 4, bytesPerSecond: null, etaMs: null };
    const change = { state: 'running', progress: JSON.stringify(progress) };
    await seedRun(stack.redis, runningId, { epoch: 1, worker: 'spot-a' }, change, {
      type: 'started',
      worker: 'spot-a',
    });
    hostileId = await seedJob(stack.redis, { command: ['sh', HOSTILE], name: HOSTILE, env: { NOTE: HOSTILE } });
    const cancelled = { type: 'attemptFailed', message: HOSTILE, failures: 1 };
    const run = { epoch: 1, worker: HOSTILE, passedOver: [HOSTILE] };
    await seedRun(stack.redis, hostileId, run, { state: 'running' }, cancelled);
    await seedLog(stack.redis, hostileId, 1, HOSTILE);
    await seedWorker(stack.redis, { name: HOSTILE, host: HOSTILE, notice: { source: HOSTILE, deadlineAt: null } });
  });
  afterAll(async () => {
    await browser?.close();
    await stack?.[Symbol.asyncDispose]();
  });

  /** A page of a browser profile of its own, logged in; `errors` collects what scripts complain of. */
  async function open(
    password: string,
    options: BrowserContextOptions = {},
  ): Promise<{ page: Page; errors: string[] }> {
    const page = await (await browser.newContext(options)).newPage();
    const errors: string[] = [];
    page.on('pageerror', (error) => errors.push(error.message));
    page.on('console', (message) => {
      // Bull Board asks for a font from elsewhere, which our policy does not let it.
      if (message.type() === 'error' && !message.text().includes('fonts.googleapis.com')) errors.push(message.text());
    });
    await page.goto(stack.dashboard.url);
    await page.getByLabel('User').fill(password === READER ? 'viewer' : 'admin');
    await page.getByLabel('Password').fill(password);
    await page.getByRole('button', { name: 'Log in' }).click();
    return { page, errors };
  }

  it('lets nobody in with a wrong password', async () => {
    const { page } = await open('a guess');
    await page.getByRole('alert').waitFor();
    expect(await page.getByRole('alert').textContent()).toContain('do not belong together');
    expect(new URL(page.url()).pathname).toBe('/login');
  });

  it('keeps the name that was typed, and ends the session at the logout', async () => {
    const { page, errors } = await open('a guess');
    await page.getByRole('alert').waitFor();
    expect(await page.getByLabel('User').inputValue()).toBe('admin');
    expect(await page.evaluate('document.activeElement.id')).toBe('password');
    await page.getByLabel('Password').fill(OPERATOR);
    await page.keyboard.press('Enter');
    await page.getByRole('link', { name: 'folding' }).waitFor();
    const cookies = await page.context().cookies();
    await page.getByRole('button', { name: 'Log out', exact: true }).click();
    await page.getByLabel('User').waitFor();
    // Whoever has copied the cookie has nothing.
    await page.context().addCookies(cookies);
    await page.goto(stack.dashboard.url);
    expect(new URL(page.url()).pathname).toBe('/login');
    expect(errors.filter((error) => !error.includes('401'))).toEqual([]);
  });

  it('logs out everywhere', async () => {
    const [one, two] = [await open(OPERATOR), await open(READER)];
    await two.page.getByRole('link', { name: 'folding' }).waitFor();
    expect(await two.page.getByRole('button', { name: 'Log out everywhere' }).count()).toBe(0);
    await one.page.getByRole('button', { name: 'Log out everywhere' }).click();
    await one.page.getByLabel('User').waitFor();
    await two.page.goto(stack.dashboard.url);
    expect(new URL(two.page.url()).pathname).toBe('/login');
  });

  it('shows a running job and follows its progress without a reload', async () => {
    const { page, errors } = await open(OPERATOR);
    await page.getByRole('link', { name: 'folding' }).click();
    const bar = page.locator('progress');
    await bar.waitFor();
    expect(await bar.getAttribute('value')).toBe('25');
    await page.evaluate('window.sameDocument = true');
    const [owned] = await OwnedRecord.claim(stack.redis, runningId, 2);
    const progress = { step: 'sending', doneBytes: 3, totalBytes: 4, bytesPerSecond: null, etaMs: null };
    await owned.write({ progress: JSON.stringify(progress) });
    await page.locator('progress[value="75"]').waitFor();
    expect(await page.evaluate('window.sameDocument')).toBe(true);
    expect(errors).toEqual([]);
  });

  it('works without JavaScript', async () => {
    const { page } = await open(OPERATOR, { javaScriptEnabled: false });
    await page.getByRole('link', { name: 'folding' }).click();
    expect(await page.getByRole('heading', { level: 1 }).textContent()).toContain('folding');
    expect(await page.getByRole('button', { name: 'Cancel' }).count()).toBe(1);
  });

  it('lets an operator cancel with one click', async () => {
    const id = await seedJob(stack.redis, { command: ['true'], name: 'unwanted' });
    const { page } = await open(OPERATOR);
    await page.goto(`${stack.dashboard.url}/jobs/${id}`);
    await page.getByRole('button', { name: 'Cancel' }).click();
    await page.getByRole('button', { name: 'asked for' }).waitFor();
    expect((await readRecord(stack.redis, id))?.cancelRequestedAt).toBeGreaterThan(0);
  });

  it('refuses the read-only role, even with the request made by hand', async () => {
    const { page } = await open(READER);
    await page.goto(`${stack.dashboard.url}/jobs/${runningId}`);
    expect(await page.getByRole('button', { name: 'Cancel' }).count()).toBe(0);
    const status = await page.evaluate(
      `fetch('/jobs/${runningId}/cancel', { method: 'POST' }).then((response) => response.status)`,
    );
    expect(status).toBe(403);
    expect((await readRecord(stack.redis, runningId))?.cancelRequestedAt).toBeNull();
  });

  it('refuses a form that another site submits for a logged-in operator', async () => {
    const { page } = await open(OPERATOR);
    // The same host by another name is another site, and `about:blank` has no origin at all.
    await page.goto('about:blank');
    await page.setContent(
      `<form method="post" action="${stack.dashboard.url}/jobs/${runningId}/cancel"><button>x</button></form>`,
    );
    const [response] = await Promise.all([page.waitForResponse(/cancel/), page.getByRole('button').click()]);
    expect(response.status()).toBe(403);
    expect((await readRecord(stack.redis, runningId))?.cancelRequestedAt).toBeNull();
  });

  it('shows hostile names, arguments, workers and logs as the text that they are', async () => {
    const { page } = await open(OPERATOR);
    const board = `/queues/queue/default/${hostileId}`;
    for (const path of ['/', `/jobs/${hostileId}`, '/queues/queue/default', board]) {
      await page.goto(`${stack.dashboard.url}${path}`);
      await page.getByText('<img src=x').first().waitFor();
      expect(await page.evaluate('window.hacked'), path).toBeUndefined();
      expect(await page.locator('img[src="x"]').count(), path).toBe(0);
    }
  });

  it('has Bull Board working under its content security policy', async () => {
    const { page, errors } = await open(OPERATOR);
    expect(await stack.redis.sismember(redisKeys.pools, 'default')).toBe(1);
    await page.goto(`${stack.dashboard.url}/queues/queue/default/${runningId}`);
    await page.getByText('Open in Floe').first().waitFor();
    await page.getByText('folding').first().waitFor();
    expect(errors).toEqual([]);
  });
});
