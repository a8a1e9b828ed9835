/** Archives as no honest packer makes them, written without the code that is tested. */
import { Buffer } from 'node:buffer';

export interface RawEntry {
  readonly path: string | Buffer;
  /** '0' file, '1' hard link, '2' symbolic link, '3' device, '5' folder, '6' pipe, 'x' pax records, … Default '0'. */
  readonly flag?: string;
  readonly target?: string;
  readonly content?: string | Buffer;
  readonly mode?: number;
  /** What the header says, where that is not the content's size. */
  readonly sizeField?: Buffer | number;
}

export function rawArchive(entries: readonly RawEntry[], end = Buffer.alloc(1024)): Buffer {
  return Buffer.concat([...entries.map(rawEntry), end]);
}

/** An entry of pax records for the next one. */
export function pax(records: Readonly<Record<string, string>>): RawEntry {
  const lines = Object.entries(records).map(([key, value]) => {
    const rest = Buffer.from(` ${key}=${value}\n`);
    let length = rest.length + 1;
    while (String(length).length + rest.length !== length) length += 1;
    return Buffer.concat([Buffer.from(String(length)), rest]);
  });
  return { path: 'pax', flag: 'x', content: Buffer.concat(lines) };
}

function rawEntry(entry: RawEntry): Buffer {
  const { path, flag = '0', target = '', content = '', mode = 0o644, sizeField } = entry;
  const body = Buffer.from(content);
  const block = Buffer.alloc(512);
  Buffer.from(path).copy(block, 0, 0, 100);
  block.write(`${mode.toString(8).padStart(7, '0')}\0`, 100);
  block.write('0000000\x000000000\x00', 108);
  if (Buffer.isBuffer(sizeField)) sizeField.copy(block, 124);
  else block.write((sizeField ?? body.length).toString(8).padStart(11, '0'), 124);
  block.write('00000000000', 136);
  block.write(flag, 156);
  block.write(target, 157, 100);
  block.write('ustar\x0000', 257);
  block.fill(' ', 148, 156);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  return Buffer.concat([block, body, Buffer.alloc((512 - (body.length % 512)) % 512)]);
}
