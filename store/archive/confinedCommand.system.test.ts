/** What a program can still do that has been taken over by the files it works on. */
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { defaultToolbox } from '../../test/support/toolbox.ts';
import { CONFINED_ENVIRONMENT, confinedCommand } from './confinedCommand.ts';

let base: string;
beforeEach(async () => {
  base = await mkdtemp(join(tmpdir(), 'floe-confined-'));
  await mkdir(join(base, 'inside'));
  await writeFile(join(base, 'inside/file'), 'mine');
  await writeFile(join(base, 'outside'), 'secret');
});
afterEach(() => rm(base, { recursive: true }));

const PROGRAM = `
import fs from 'node:fs';
import net from 'node:net';
import { spawnSync } from 'node:child_process';
const base = process.argv[2];
const tries = {
  'read inside': () => fs.readFileSync(base + '/inside/file'),
  'read by descriptor': () => fs.readFileSync('/proc/self/fd/' + fs.openSync(base + '/inside', 'r') + '/file'),
  'write inside': () => fs.writeFileSync(base + '/inside/new', 'new'),
  'read outside': () => fs.readFileSync(base + '/outside'),
  'read above': () => fs.readdirSync('/proc/self/fd/' + fs.openSync(base + '/inside', 'r') + '/..'),
  'write outside': () => fs.writeFileSync(base + '/new', 'new'),
  'link from outside': () => fs.linkSync(base + '/outside', base + '/inside/linked'),
  'move outside': () => fs.renameSync(base + '/inside/file', base + '/moved'),
  'passwords': () => fs.readFileSync('/etc/shadow'),
  'environment of others': () => fs.readFileSync('/proc/' + process.ppid + '/environ'),
  'memory of others': () => fs.openSync('/proc/' + process.ppid + '/mem', 'r'),
  'signal': () => process.kill(process.ppid, 0),
  'process': () => { const { error } = spawnSync(process.execPath, ['-v']); if (error) throw error; },
};
const done = [];
for (const [name, attempt] of Object.entries(tries)) try { attempt(); done.push(name); } catch {}
await new Promise((resolve) => net.connect(1, '127.0.0.1').on('error', ({ code }) => { if (code !== 'EPERM') done.push('network ' + code); resolve(); }));
console.log(JSON.stringify({ done, names: Object.keys(process.env).sort(), confinement: process.env.CONFINEMENT }));
`;

it.each([
  ['read', ['read inside', 'read by descriptor']],
  ['write', ['read inside', 'read by descriptor', 'write inside']],
] as const)('a program that may %s one folder can do nothing else', async (access, done) => {
  const program = join(base, 'program.mjs');
  await writeFile(program, PROGRAM);
  const [confine, ...args] = confinedCommand([program, base], {
    toolboxDirectory: defaultToolbox(),
    execute: [program],
    [access]: [join(base, 'inside')],
    capabilities: ['dac_override', 'fowner'],
    files: 100,
    memoryBytes: 2 ** 30,
  });
  const { stdout } = await promisify(execFile)(confine, args, { env: CONFINED_ENVIRONMENT });
  expect(JSON.parse(stdout)).toEqual({
    done,
    names: ['CONFINEMENT', 'NODE_OPTIONS', 'OPENSSL_CONF'],
    confinement: 'landlock',
  });
  expect(await readFile(join(base, 'outside'), 'utf8')).toBe('secret');
});
