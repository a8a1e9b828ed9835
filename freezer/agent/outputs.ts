/** The pipes by which the job's output comes to its supervisor. */
import { chown, readdir, readFile, readlink } from 'node:fs/promises';
import { processTree } from './processes.ts';

/**
 * Gives them to the job's user after a thaw, as the supervisor did at the start: CRIU makes pipes anew, as root's (`open_pipe` in
 * criu/pipes.c), and a program of another user could not open /dev/stdout any more. A job that has ended needs none.
 */
export async function giveOutputsToJob(supervisor: number): Promise<void> {
  const [, program] = await processTree(supervisor);
  if (program === undefined) return;
  const status = await readFile(`/proc/${program}/status`, 'utf8').catch(() => '');
  const id = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(status)?.[1] ?? 0);
  const [uid, gid] = [id('Uid'), id('Gid')];
  if (uid === 0 && gid === 0) return;
  const folder = `/proc/${supervisor}/fd`;
  for (const descriptor of await readdir(folder).catch(() => [])) {
    const path = `${folder}/${descriptor}`;
    const target = await readlink(path).catch(() => '');
    if (target.startsWith('pipe:')) await chown(path, uid, gid);
  }
}
