import { expect, test } from 'vitest';
import { whileMountsMove } from './steadyMounts.ts';

const GONE =
  'bwrap: Can\'t bind mount /oldroot/ on /newroot/: Unable to apply mount flags: remount "/newroot/a": No such file';

function failing(times: number, message: string): { work: () => Promise<number>; tries: () => number } {
  let tries = 0;
  const work = async () => {
    tries += 1;
    if (tries <= times) throw new Error(message);
    return tries;
  };
  return { work, tries: () => tries };
}

test('work that met a mount on its way out is done again', async () => {
  expect(await whileMountsMove(failing(2, GONE).work)).toBe(3);
});

test('not for ever, and not for any other failure', async () => {
  const always = failing(100, GONE);
  await expect(whileMountsMove(always.work)).rejects.toThrow('Unable to apply');
  expect(always.tries()).toBe(5);
  const other = failing(1, 'bwrap: setting up uid map: Permission denied');
  await expect(whileMountsMove(other.work)).rejects.toThrow('uid map');
  expect(other.tries()).toBe(1);
});
