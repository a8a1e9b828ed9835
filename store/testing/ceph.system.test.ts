import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { expect, it } from 'vitest';

it('ends with the process that started it, even by SIGKILL', async () => {
  const program = `
    import { startCeph } from ${JSON.stringify(new URL('./ceph.ts', import.meta.url).href)};
    const ceph = await startCeph();
    console.log(ceph.endpoint);
  `;
  const starter = spawn(process.execPath, ['--input-type=module-typescript', '--eval', program], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const exit = once(starter, 'exit');
  const endpoint = String((await once(starter.stdout, 'data'))[0]).trim();
  expect((await fetch(endpoint)).status).toBe(200);
  starter.kill('SIGKILL');
  await exit;
  // The kernel closes the listening socket while the killed gateway goes; there is no event for that here.
  await expect
    .poll(
      () =>
        fetch(endpoint).then(
          () => 'answers',
          () => 'gone',
        ),
      { timeout: 10_000 },
    )
    .toBe('gone');
});
