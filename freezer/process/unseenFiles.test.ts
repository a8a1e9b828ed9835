/** Whether a job waits whose file is merely not shown, instead of losing its work. */
import { expect, test } from 'vitest';
import { FreezerError } from '../errors.ts';
import { LEAST_ACCESS } from './machineAccess.ts';
import { explainUnseen } from './unseenFiles.ts';

const failed = (path: string) =>
  new FreezerError(
    'restoreFailed',
    `CRIU could not restore the job: Can't open file ${path} on restore: No such file or directory; Can't open file ${path}: No such file or directory; Unable to open fd=5 id=0xf.`,
    '',
  );

test.each(['home/me/data', 'root/bin/a program', 'srv/x', 'var/lib/data'])(
  'of /%s the operator is told',
  async (path) => {
    expect(await explainUnseen(failed(path), LEAST_ACCESS, [])).toMatchObject({
      code: 'notHere',
      message: `The job has /${path} open, and jobs of this worker do not see it.`,
      remedy: expect.stringContaining('FLOE_READABLE_PATHS'),
    });
  },
);

test.each(['usr/lib/libgone.so', 'workspace/gone', 'tmp/gone', 'run/secrets/gone', 'data/gone', 'shown/gone'])(
  'of /%s, which is not there where it would be seen, nothing else is said',
  async (path) => {
    const error = failed(path);
    expect(await explainUnseen(error, { ...LEAST_ACCESS, readablePaths: ['/shown'] }, ['/data'])).toBe(error);
  },
);

test('where jobs see the whole machine, and of other errors, nothing else is said', async () => {
  const error = failed('home/me/data');
  expect(await explainUnseen(error, { ...LEAST_ACCESS, readablePaths: 'all' }, [])).toBe(error);
  for (const other of [new Error(error.message), new FreezerError('corrupt', error.message, '')])
    expect(await explainUnseen(other, LEAST_ACCESS, [])).toBe(other);
});
