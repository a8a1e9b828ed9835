/** Where somebody without Floe would put a dump, and with which programs. What is stored is on the disk when a method resolves. */
import { mkdir, open, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { type Command, runPipeline } from './pipeline.ts';

export interface SimpleStore {
  storeFolder(directory: string): Promise<void>;
  /** Stores what a pipeline of these commands writes. */
  storeStream(commands: readonly Command[]): Promise<void>;
  /** Feeds what was stored last to a pipeline of these commands. */
  fetchStream(commands: readonly Command[]): Promise<void>;
  /** Removes all of it. */
  clear(): Promise<void>;
}

/** The AWS CLI. `env` has its credentials and endpoint. */
export function openAwsStore(bucket: string, env: Readonly<Record<string, string>>, signal: AbortSignal): SimpleStore {
  const [folder, stream] = [`s3://${bucket}/simple/folder`, `s3://${bucket}/simple/stream`];
  const aws = (...args: string[]): Command => ['aws', 's3', ...args];
  const run = (commands: readonly Command[]) => runPipeline(commands, { env, signal });
  return {
    storeFolder: (directory) => run([aws('sync', '--only-show-errors', directory, folder)]),
    storeStream: (commands) => run([...commands, aws('cp', '--only-show-errors', '-', stream)]),
    fetchStream: (commands) => run([aws('cp', '--only-show-errors', stream, '-'), ...commands]),
    clear: () => run([aws('rm', '--recursive', '--only-show-errors', `s3://${bucket}/simple/`)]),
  };
}

/** `cp` and plain files. */
export function openFolderStore(directory: string, signal: AbortSignal): SimpleStore {
  const [folder, stream] = [join(directory, 'folder'), join(directory, 'stream')];
  return {
    async storeFolder(from) {
      await mkdir(folder, { recursive: true });
      await runPipeline([['cp', '--archive', from, folder]], { signal });
      const files = (await readdir(folder, { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile());
      await runPipeline([['sync', ...files.map(({ parentPath, name }) => join(parentPath, name))]], { signal });
    },
    async storeStream(commands) {
      await mkdir(directory, { recursive: true });
      await using file = await open(stream, 'w');
      await runPipeline(commands, { output: file.fd, signal });
      await file.sync();
    },
    async fetchStream(commands) {
      await using file = await open(stream);
      await runPipeline(commands, { input: file.fd, signal });
    },
    clear: () => rm(directory, { recursive: true, force: true }),
  };
}
