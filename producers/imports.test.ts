import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { expect, it } from 'vitest';

const COUNT = `
import { registerHooks } from 'node:module';
const loaded = [];
registerHooks({ load(url, context, next) { loaded.push(url); return next(url, context); } });
await import(process.argv[1]);
console.log(JSON.stringify(loaded));`;

it('loads neither the checkpoint engine nor a web server, nor the SDK before a store is opened', async () => {
  const index = fileURLToPath(new URL('./index.ts', import.meta.url));
  const { stdout } = await execa(process.execPath, ['--input-type=module', '--eval', COUNT, '--', index]);
  const loaded: string[] = JSON.parse(stdout);
  expect(loaded.filter((url) => url.includes('/jobs/')).length).toBeGreaterThan(5);
  expect(loaded.filter((url) => /\/(freezer|workers|dashboard|express|@aws-sdk)\//.test(url))).toEqual([]);
});
