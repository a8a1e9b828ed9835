import { describe, expect, it } from 'vitest';
import { FloeError } from './errors.ts';
import { parseJobSpec } from './spec.ts';

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
    [{ command: ['x'], timeout: 5 }, /timeout/],
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
});
