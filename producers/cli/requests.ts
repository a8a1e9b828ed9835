/** Commands that ask something of a job or a worker, and `floe fetch`. */
import type { Command } from 'commander';
import { formatBytes, formatDuration } from './format.ts';
import {
  type CommonOptions,
  finishCommand,
  interruptible,
  print,
  printJson,
  untilInterrupted,
  withFloe,
} from './shared.ts';

export function addCancel(program: Command): void {
  const command = program
    .command('cancel')
    .description('End a job: at once if it waits, through its worker if it runs.')
    .argument('<id>')
    .action((id: string, options: CommonOptions) =>
      withFloe(options, async (floe) => {
        const cancellation = await floe.cancel(id);
        if (options.json) return printJson({ id, cancellation });
        await print(
          cancellation === 'cancelled'
            ? `${id} is cancelled.\n`
            : `The worker of ${id} has been asked to stop it; \`floe wait ${id}\` waits for that.\n`,
        );
      }),
    );
  finishCommand(command, ['floe cancel default-k3v9x2m4qa']);
}

export function addCheckpoint(program: Command): void {
  const command = program
    .command('checkpoint')
    .description('Take a checkpoint of a running job, which then runs on.')
    .argument('<id>')
    .action((id: string, options: CommonOptions) =>
      withFloe(options, async (floe) => {
        const message = `interrupted; the checkpoint of ${id} is taken all the same.`;
        const taken = await untilInterrupted(message, (signal) => floe.checkpoint(id, { signal }));
        if (options.json) return printJson({ id, ...taken });
        const figures = `${formatBytes(taken.bytesSent)} sent, stood still for ${formatDuration(taken.frozenMs)}`;
        await print(`${taken.checkpoint}  ${figures}\n`);
      }),
    );
  finishCommand(command, ['floe checkpoint default-k3v9x2m4qa']);
}

export function addFetch(program: Command): void {
  const command = program
    .command('fetch')
    .description("Write a finished job's outputs into a folder.")
    .argument('<id>')
    .argument('<folder>', 'made if need be; files of the same names are replaced')
    .action((id: string, folder: string, options: CommonOptions) =>
      withFloe(options, async (floe) => {
        const message = `interrupted; what has arrived is in ${folder}.`;
        const outputs = await interruptible(message, (signal) => floe.fetchOutputs(id, folder, { signal }));
        if (options.json) return printJson({ id, folder, files: outputs.files, sizeBytes: outputs.sizeBytes });
        await print(`${outputs.files} files, ${formatBytes(outputs.sizeBytes)}\n`);
      }),
    );
  finishCommand(command, ['floe fetch default-k3v9x2m4qa ./results']);
}

export function addDrain(program: Command): void {
  const command = program
    .command('drain')
    .description('Have a worker freeze its jobs, give them back to the queue, and end.')
    .argument('<worker>')
    .action((worker: string, options: CommonOptions) =>
      withFloe(options, async (floe) => {
        await floe.drain(worker);
        if (options.json) return printJson({ worker, requested: true });
        await print(`${worker} has been asked to drain; \`floe workers\` shows how far it is.\n`);
      }),
    );
  finishCommand(command, ['floe drain worker-1']);
}
