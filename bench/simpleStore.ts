/** Where somebody without Floe would put a dump, and with which programs. What is stored is on the disk when a method resolves. */
import { open, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { type Command, runPipeline } from './pipeline.ts';

export interface SimpleStore {
  storeFolder(directory: string): Promise<void>;
  /** Stores what a pipeline of these commands writes. */
  storeStream(commands: readonly Command[]): Promise<void>;
  /** Feeds what was stored last to a pipeline of these commands. */
  fetchStream(commands: readonly Command[]): Promise<void>;
}

/** The AWS CLI. `env` has its credentials and endpoint. */
export function openAwsStore(bucket: string, env: Readonly<Record<string, string>>, signal: AbortSignal): SimpleStore {
  const [folder, stream] = [`s3://${bucket}/simple/folder`, `s3://${bucket}/simple/stream`];
  const aws = (...args: string[]): Command => ['aws', 's3', ...args, '--only-show-errors'];
  const run = (commands: readonly Command[]) => runPipeline(commands, { env, signal });
  return {
    storeFolder: (directory) => run([aws('sync', directory, folder)]),
    storeStream: (commands) => run([...commands, aws('cp', '-', stream)]),
    fetchStream: (commands) => run([aws('cp', stream, '-'), ...commands]),
  };
}

/** `cp` and plain files. */
export function openFolderStore(directory: string, signal: AbortSignal): SimpleStore {
  const [folder, stream] = [join(directory, 'folder'), join(directory, 'stream')];
  return {
    async storeFolder(from) {
      await runPipeline([['cp', '--recursive', from, folder]], { signal });
      const names = await readdir(folder);
      await runPipeline([['sync', ...names.map((name) => join(folder, name))]], { signal });
    },
    async storeStream(commands) {
      await using file = await open(stream, 'w');
      await runPipeline(commands, { output: file.fd, signal });
      await file.sync();
    },
    async fetchStream(commands) {
      await using file = await open(stream);
      await runPipeline(commands, { input: file.fd, signal });
    },
  };
}
