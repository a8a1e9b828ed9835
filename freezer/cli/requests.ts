/** `freezer freeze`, `checkpoint` and `status`: they talk to the running `freezer start`. */
import type { Command } from 'commander';
import { ask, type ControlCommand } from './control.ts';
import { printLines, say } from './output.ts';
import { type CommonFlags, finishCommand, readSettings } from './settings.ts';

export function addRequests(program: Command): void {
  addRequest(program, 'freeze', 'Freeze the program that runs here; done when it is safe in the store and has ended.');
  addRequest(program, 'checkpoint', 'Take a checkpoint of the program that runs here, and let it go on.');
  addRequest(program, 'status', 'Say what runs here.');
}

function addRequest(program: Command, name: ControlCommand, description: string): void {
  const command = program
    .command(name)
    .description(description)
    .action(async (flags: CommonFlags) => {
      const { text, exitCode } = await ask(readSettings(flags), name, say);
      if (exitCode === 0) await printLines(`${text}\n`);
      else say(text);
      process.exitCode = exitCode;
    });
  finishCommand(command, { name: true }, [`freezer ${name}`, `docker exec CONTAINER freezer ${name}`]);
}
