import { execa } from 'execa';
import { expect, test } from 'vitest';
import { testImage } from '../images/testImage.ts';
import { requireEngine } from './engine.ts';
import { startPrivateEngine } from './privateEngine.ts';

test('an engine of a test can be killed and started again, and the shared one notices nothing', async () => {
  const shared = await requireEngine();
  const image = await testImage(shared, 'static');
  await using engine = await startPrivateEngine();
  const docker = (...args: string[]) => execa('docker', args, { env: engine.env, reject: false });
  await engine.take(image);
  const { stdout: id } = await docker('run', '--detach', '--entrypoint', '/memory', image, '1', '1000000');
  const pid = Number((await docker('inspect', '--format', '{{.State.Pid}}', id)).stdout);

  await engine.stop('SIGKILL');
  expect((await docker('version')).exitCode).toBe(1);
  expect(() => process.kill(pid, 0)).not.toThrow();
  await execa('docker', ['version'], { env: shared.env });

  await engine.start();
  expect((await docker('inspect', '--format', '{{.State.Status}}', id)).stdout).toBe('exited');
  expect(() => process.kill(pid, 0)).toThrow('ESRCH');
});
