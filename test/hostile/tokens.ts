/**
 * Secrets whose only use is to be recognised. All of one run begin alike, so one search finds any of them, also where only
 * the beginning was printed. A token is 64 hexadecimal digits: an encryption key can be one.
 */
import { randomBytes } from 'node:crypto';

const NEEDLE_LENGTH = 16;
const NUMBER_LENGTH = 4;

export class Tokens {
  readonly #needle = randomBytes(NEEDLE_LENGTH / 2).toString('hex');
  readonly #names: string[] = [];

  /** `name`: whose secret it is, for the report. */
  make(name: string): string {
    const number = this.#names.push(name) - 1;
    const digits = number.toString(16).padStart(NUMBER_LENGTH, '0');
    return `${this.#needle}${digits}${randomBytes(22).toString('hex')}`;
  }

  /** Names of the secrets that begin in these bytes. */
  namesIn(bytes: Buffer): Set<string> {
    const found = new Set<string>();
    for (let at = bytes.indexOf(this.#needle); at >= 0; at = bytes.indexOf(this.#needle, at + 1)) {
      const from = at + NEEDLE_LENGTH;
      const number = Number.parseInt(bytes.toString('latin1', from, from + NUMBER_LENGTH), 16);
      found.add(this.#names[number] ?? 'a secret, in part');
    }
    return found;
  }

  /** The same for a stream, of which at most `mostBytes` are read. */
  async namesInStream(stream: AsyncIterable<Buffer>, mostBytes: number): Promise<Set<string>> {
    const found = new Set<string>();
    let before = Buffer.alloc(0);
    let readBytes = 0;
    for await (const chunk of stream) {
      const both = Buffer.concat([before, chunk]);
      for (const name of this.namesIn(both)) found.add(name);
      // A secret at the end comes again with what follows it, then whole.
      before = both.subarray(-(NEEDLE_LENGTH + NUMBER_LENGTH));
      readBytes += chunk.length;
      if (readBytes > mostBytes) break;
    }
    return found;
  }
}
