/** The files of docs/deploy, and the tools that read them. */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

const FOLDER = join(import.meta.dirname, '../../docs/deploy');

export function deployFile(name: string): string {
  return join(FOLDER, name);
}

export function readDeployFile(name: string): string {
  return readFileSync(deployFile(name), 'utf8');
}

/** For a test's title: why it is skipped where the Debian package that has the tool is missing; else empty. */
export function whyMissing(tool: string, debianPackage: string): string {
  const { error } = spawnSync(tool, ['--version'], { stdio: 'ignore' });
  return error ? ` (skipped: ${tool} of the package ${debianPackage} is not installed)` : '';
}
