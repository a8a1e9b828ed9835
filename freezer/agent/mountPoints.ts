/** Where something is mounted, as the kernel tells it (proc_pid_mountinfo(5)). */
import { readFile } from 'node:fs/promises';

/** Absolute paths, without the root's own. */
export async function readMountPoints(): Promise<string[]> {
  const lines = (await readFile('/proc/self/mountinfo', 'utf8')).split('\n').filter(Boolean);
  return lines.map((line) => unescaped(line.split(' ')[4] ?? '')).filter((path) => path !== '/');
}

/** Blanks, tabs, line breaks and backslashes stand there as `\` and three octal digits. */
function unescaped(path: string): string {
  return path.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}

/** Whether `path` is `folder` or below it. */
export function isWithin(path: string, folder: string): boolean {
  return path === folder || path.startsWith(folder === '/' ? '/' : `${folder}/`);
}
