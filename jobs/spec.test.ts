import { describe, expect, it } from 'vitest';
import { FloeError } from './errors.ts';
import { parseJobSpec } from './spec.ts';

const KIB = 2 ** 10;
const wide = (count: number, bytes: number) =>
  Object.fromEntries(Array.from({ length: count }, (_, at) => [`V${at}`, 'y'.repeat(bytes)]));

describe('parseJobSpec', () => {
  it('fills in every default', () => {
    expect(parseJobSpec({ command: ['x'] })).toEqual({
      command: ['x'],
      env: {},
      volumes: [],
      network: 'default',
      pool: 'default',
      resources: {},
      priority: 0,
      attempts: 1,
      backoffMs: 1000,
      timeoutMs: 0,
      crashBudget: 20,
      checkpoint: {
        everyMs: 900_000,
        ifUnusable: 'afresh',
        patienceMs: 600_000,
        ifNoWorkerFits: 'wait',
        keep: 2,
        keepAtEnd: false,
        thaw: 'auto',
      },
      outputs: ['.'],
    });
  });

  it('leaves the command to the image', () => {
    expect(parseJobSpec({ image: 'debian:trixie-slim' })).toMatchObject({ command: [], image: 'debian:trixie-slim' });
  });

  it('takes a secret by its name alone, or with a variable', () => {
    const secrets = ['token', { name: 'token', env: 'TOKEN' }, { name: 'db.password' }];
    expect(parseJobSpec({ command: ['x'], secrets }).secrets).toEqual([
      { name: 'token' },
      { name: 'token', env: 'TOKEN' },
      { name: 'db.password' },
    ]);
  });

  it('reads sizes in binary units', () => {
    const memory = (memoryBytes: string | number) => parseJobSpec({ command: ['x'], resources: { memoryBytes } });
    expect(memory('1.5GiB').resources.memoryBytes).toBe(1.5 * 2 ** 30);
    expect(memory(4096).resources.memoryBytes).toBe(4096);
  });

  it.each([
    [{}, /command: must name a program/],
    [{ command: ['x'], image: '--privileged' }, /image: must be an image name, got "--privileged"/],
    [{ command: ['x'], volumes: ['/data/../etc'] }, /volumes\.0: must be an absolute path/],
    [{ command: ['x'], volumes: ['/data:ro'] }, /volumes\.0: must not have ":"/],
    [{ command: ['x'], volumes: ['/data\n/etc'] }, /volumes\.0: must not have ":" or control/],
    [{ command: ['x'], volumes: ['/proc/sys'] }, /volumes\.0: must not be in \/proc/],
    [{ command: ['x'], user: 'a b' }, /user: must be user or user:group/],
    [{ command: ['x'], directory: 'data' }, /directory: must be an absolute path/],
    [{ command: [] }, /command: must name a program, got \[\]/],
    [{ command: [''] }, /command: must name a program, got \[""\]/],
    [{ command: ['x', 3] }, /command\.1: .*got 3/],
    [{ command: ['x'], env: { 'A B': 'x' } }, /env\.A B: /],
    [{ command: ['x'], priority: 1001 }, /priority: .*got 1001/],
    [{ command: ['x'], attempts: 0 }, /attempts: .*got 0/],
    [{ command: ['x'], pool: 'GPU' }, /pool: must be .*got "GPU"/],
    [{ command: ['x'], outputs: ['/etc'] }, /outputs\.0: must stay inside the workspace, got "\/etc"/],
    [{ command: ['x'], outputs: ['a/../../b'] }, /outputs\.0: must stay inside/],
    [{ command: ['x'], resources: { memoryBytes: '1GB' } }, /resources\.memoryBytes: .*got "1GB"/],
    [{ command: ['x'], checkpoint: { everyMs: -1 } }, /checkpoint\.everyMs: .*got -1/],
    [{ command: ['x'], checkpoint: { keep: 0 } }, /checkpoint\.keep: .*got 0/],
    [{ command: ['x'], secrets: ['../default/token'] }, /secrets\.0\.name: must be 1 to 63/],
    [{ command: ['x'], secrets: ['.aws-config'] }, /secrets\.0\.name: must be 1 to 63/],
    [{ command: ['x'], secrets: ['dataset.role'] }, /secrets\.0\.name: must not end with "\.role"/],
    [{ command: ['x'], secrets: [{ name: 'token', value: 'x' }] }, /secrets\.0: .*value/],
    [{ command: ['x'], secrets: [{ name: 'token', env: 'A=B' }] }, /secrets\.0\.env: must be a variable name/],
    [{ command: ['x'], secrets: ['token', 'token'] }, /secrets\.1: is there twice/],
    [{ command: ['x'], env: { A: '' }, secrets: [{ name: 'a', env: 'A' }] }, /secrets\.0\.env: is in `env`, too/],
    [
      { command: ['x'], secrets: ['a', 'b'].map((name) => ({ name, env: 'A' })) },
      /secrets\.1: must have a variable of its/,
    ],
    [{ command: ['x'], secrets: Array.from({ length: 51 }, (_, at) => `s${at}`) }, /secrets: /],
    [{ command: ['x'], secrets: ['a'], volumes: ['/run/secrets/a'] }, /volumes\.0: must not be where the secrets are/],
    [{ command: ['x'], timeout: 5 }, /timeout/],
    [{ command: ['x', 'a\0b'] }, /command\.1: must not have a NUL/],
    [{ command: ['x', 'y'.repeat(128 * KIB)] }, /command\.1: must have at most 131071 bytes/],
    [{ command: ['x', ...Array(9).fill('y'.repeat(127 * KIB))] }, /command: .*at most 1048576 bytes together/],
    [{ command: ['x', ...Array(200_000).fill('')] }, /command: .*at most 1048576 bytes together/],
    [{ command: ['x'], env: { A: 'a\0b' } }, /env\.A: must not have a NUL/],
    [{ command: ['x'], env: { A: 'y'.repeat(128 * KIB - 1) } }, /env: A and its value must have at most 131071/],
    [{ command: ['x'], env: wide(30, 100 * KIB) }, /env: .*at most 1048576 bytes together/],
    [{ command: ['x'], name: 'a\0b' }, /name: must not have a NUL/],
    [{ command: ['x'], directory: '/a\0b' }, /directory: must not have a NUL/],
    [{ command: ['x'], directory: `/${'y'.repeat(256)}` }, /directory: must have names of at most 255 bytes/],
    [{ command: ['x'], volumes: [`/${'y/'.repeat(2100)}z`] }, /volumes\.0: must have at most 4095 bytes/],
    [{ command: ['x'], volumes: Array(51).fill('/a') }, /volumes: .*50/],
    [{ command: ['x'], outputs: ['a\0b'] }, /outputs\.0: must not have a NUL/],
    [{ command: ['x'], outputs: ['y'.repeat(5000)] }, /outputs\.0: must have at most 4095 bytes/],
    [{ command: ['x'], outputs: Array(1001).fill('a') }, /outputs: .*1000/],
    [
      { command: ['x', ...Array(9).fill('\u0001'.repeat(100 * KIB))] },
      /\(the whole\): must have at most 2097152 bytes/,
    ],
    [{ command: ['x'], user: 'u'.repeat(201) }, /user: .*200/],
    [{ command: ['x'], crashBudget: 101 }, /crashBudget: .*100, got 101/],
    [{ command: ['x'], attempts: 1001 }, /attempts: .*got 1001/],
    [{ command: ['x'], backoffMs: 2 ** 50 }, /backoffMs: /],
    [{ command: ['x'], timeoutMs: 2 ** 50 }, /timeoutMs: /],
    [{ command: ['x'], checkpoint: { everyMs: 2 ** 50 } }, /checkpoint\.everyMs: /],
    [{ command: ['x'], checkpoint: { patienceMs: 2 ** 50 } }, /checkpoint\.patienceMs: /],
    [{ command: ['x'], resources: { cpus: 1e-9 } }, /resources\.cpus: /],
    [{ command: ['x'], resources: { cpus: Number.POSITIVE_INFINITY } }, /resources\.cpus: /],
    [{ command: ['x'], resources: { memoryBytes: '9999999999TiB' } }, /resources\.memoryBytes: /],
    [{ command: ['x'], resources: { memoryBytes: '0.0KiB' } }, /resources\.memoryBytes: /],
    [{ command: ['x'], resources: { diskBytes: 1 } }, /resources\.diskBytes: must be at least 16MiB, got 1/],
    [{ command: ['x'], resources: { processes: 0 } }, /resources\.processes: .*got 0/],
    ['xz', /\(the whole\): .*got "xz"/],
    [null, /\(the whole\): .*got null/],
  ])('refuses %j and names the field and the value', (input, message) => {
    try {
      parseJobSpec(input);
      expect.unreachable();
    } catch (error) {
      expect(error).toBeInstanceOf(FloeError);
      expect(error).toMatchObject({ code: 'invalidJob', message: expect.stringMatching(message) });
    }
  });

  it('names every wrong field at once, and cuts long values', () => {
    const input = { command: ['x'], priority: -1, pool: 'x'.repeat(500) };
    expect(() => parseJobSpec(input)).toThrow(/pool: .{0,250}….*priority: .*got -1/);
  });

  it('says in few words what is wrong in very many places', () => {
    const words = { command: ['x', ...Array(100_000).fill(1)] };
    const failure = (() => {
      try {
        return parseJobSpec(words);
      } catch (error) {
        return error;
      }
    })();
    expect(failure).toMatchObject({ code: 'invalidJob', message: expect.stringMatching(/and 99980 more\.$/) });
    expect(String(failure).length).toBeLessThan(4000);
  });

  it('takes what the kernel takes', () => {
    const spec = { command: ['x', ...Array(7).fill('y'.repeat(128 * KIB - 1))], env: wide(100, 500) };
    expect(parseJobSpec(spec)).toMatchObject({ env: spec.env });
    expect(parseJobSpec({ command: ['x'], resources: { diskBytes: '2GiB', processes: 10 } }).resources).toEqual({
      diskBytes: 2 ** 31,
      processes: 10,
    });
  });
});

it('shows nothing of a job that holds secrets, in its environment or as a whole', () => {
  for (const input of [
    { command: ['x'], env: { TOKEN: 's3cr3t', 'NO-NAME': 's3cr3t' } },
    { command: ['x'], env: { TOKEN: ['s3cr3t'] } },
    { command: ['x'], env: 's3cr3t' },
    { env: { TOKEN: 's3cr3t' }, command: ['x'], unknown: 1 },
  ]) {
    let message = '';
    try {
      parseJobSpec(input);
    } catch (error) {
      message = String(error);
    }
    expect(message).toMatch(/env|unknown/);
    expect(message).not.toContain('s3cr3t');
  }
});

it.each(['memoryBytes', 'diskBytes'])('says how a size is written: %s', (field) => {
  expect(() => parseJobSpec({ command: ['true'], resources: { [field]: '5x' } })).toThrow(/must be bytes, or .*512MiB/);
});
