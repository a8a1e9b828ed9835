/**
 * What `freezer freeze`, `checkpoint` and `status` say to the running `freezer start`, through a UNIX socket in the state folder:
 * one request per connection, a JSON line; answers are JSON lines, the last one `done` or `failed`. Only root can open it.
 */
import { once } from 'node:events';
import { constants } from 'node:fs';
import { type FileHandle, link, mkdir, open, rm } from 'node:fs/promises';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { z } from 'zod';
import { CommandError } from './commandError.ts';
import { describeFailure } from './edge.ts';

const Request = z.strictObject({ command: z.enum(['freeze', 'checkpoint', 'status']) });
export type ControlCommand = z.output<typeof Request>['command'];

const Answer = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('progress'), text: z.string() }),
  z.strictObject({ kind: z.literal('done'), text: z.string() }),
  z.strictObject({ kind: z.literal('failed'), message: z.string(), remedy: z.string(), exitCode: z.int() }),
]);
type Answer = z.output<typeof Answer>;

/** Resolves to what is to be printed. Rejects with what went wrong. */
export type Handler = (command: ControlCommand, onProgress: (text: string) => void) => Promise<string>;

export class ControlServer implements AsyncDisposable {
  readonly #server: Server;
  readonly #directory: FileHandle;
  readonly #path: string;

  private constructor(server: Server, directory: FileHandle, path: string) {
    this.#server = server;
    this.#directory = directory;
    this.#path = path;
  }

  /** Throws `CommandError` `conflict` when a start of this name is running. */
  static async open(stateDirectory: string, name: string, handle: Handler): Promise<ControlServer> {
    await mkdir(stateDirectory, { recursive: true, mode: 0o700 });
    const directory = await openDirectory(stateDirectory);
    const server = createServer((socket) => void serve(socket, handle));
    const temporary = `.${name}.${process.pid}.sock`;
    try {
      await rm(join(stateDirectory, temporary), { force: true });
      server.listen(through(directory, temporary));
      await once(server, 'listening');
      await claimName(stateDirectory, directory, temporary, name);
      return new ControlServer(server, directory, join(stateDirectory, socketName(name)));
    } catch (error) {
      server.close();
      await directory.close();
      throw error;
    } finally {
      await rm(join(stateDirectory, temporary), { force: true });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.close();
    await rm(this.#path, { force: true });
    await this.#directory.close();
  }
}

/** Sends a command to the start of this name. Resolves to what it says at the end; rejects with `CommandError` `notRunning`. */
export async function ask(
  place: { stateDirectory: string; name: string },
  command: ControlCommand,
  onProgress: (text: string) => void,
): Promise<{ text: string; exitCode: number }> {
  const socket = await connectTo(place.stateDirectory, place.name);
  if (!socket) {
    const remedy = 'Start one with `freezer start`, in this container and under this --name.';
    throw new CommandError('notRunning', 'No program to freeze: no `freezer start` is running here.', remedy);
  }
  socket.write(`${JSON.stringify(Request.parse({ command }))}\n`);
  for await (const line of createInterface({ input: socket, crlfDelay: Number.POSITIVE_INFINITY })) {
    const answer = Answer.parse(JSON.parse(line));
    if (answer.kind === 'progress') onProgress(answer.text);
    else if (answer.kind === 'done') return { text: answer.text, exitCode: 0 };
    else return { text: `${answer.message} ${answer.remedy}`.trim(), exitCode: answer.exitCode };
  }
  throw new CommandError('notRunning', 'The `freezer start` ended before it answered.', 'See what it printed last.');
}

async function serve(socket: Socket, handle: Handler): Promise<void> {
  socket.on('error', () => undefined); // who asked is gone; the work goes on
  const send = (answer: Answer) => socket.write(`${JSON.stringify(answer)}\n`);
  try {
    const { command } = Request.parse(JSON.parse(await firstLine(socket)));
    send({ kind: 'done', text: await handle(command, (text) => send({ kind: 'progress', text })) });
  } catch (error) {
    const { message, remedy, exitCode } = describeFailure(error);
    send({ kind: 'failed', message, remedy, exitCode });
  }
  socket.end();
}

async function firstLine(socket: Socket): Promise<string> {
  for await (const line of createInterface({ input: socket.resume(), crlfDelay: Number.POSITIVE_INFINITY }))
    return line;
  throw new Error('The connection ended before a request came.');
}

/** Gives the listening socket its name, unless somebody who is alive has it. */
async function claimName(folder: string, directory: FileHandle, temporary: string, name: string): Promise<void> {
  for (;;) {
    try {
      return await link(through(directory, temporary), through(directory, socketName(name)));
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error;
    }
    const other = await connectTo(folder, name);
    if (other) {
      other.destroy();
      const remedy = 'Freeze that one first, or give this one another --name (and store).';
      throw new CommandError('conflict', `A \`freezer start\` named ${name} is running here already.`, remedy);
    }
    await rm(join(folder, socketName(name)), { force: true }); // of a start that was killed
  }
}

/** Undefined when nobody listens. */
async function connectTo(folder: string, name: string): Promise<Socket | undefined> {
  try {
    await using directory = await openDirectory(folder);
    const socket = connect(through(directory, socketName(name)));
    await once(socket, 'connect');
    return socket;
  } catch (error) {
    if (error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ECONNREFUSED')) return;
    throw error;
  }
}

const openDirectory = (path: string) => open(path, constants.O_DIRECTORY);
const socketName = (name: string) => `${name}.sock`;
/** Through the descriptor, because a socket's path may have 107 bytes at most and folders can be deep. */
const through = (directory: FileHandle, file: string) => join('/proc/self/fd', String(directory.fd), file);
