/**
 * What CRIU would give the processes that it restores. CRIU has capabilities and does as its images say, which come from a store: a
 * forged one could make a process with capabilities, or one that can gain them. No process of a job ever has any
 * (agent/native/supervisor.c), so images that want them are no job's.
 *
 * In `core-<id>.img`, one for each process and thread (images/core.proto, images/creds.proto), behind two magic words and its length:
 *
 *   core_entry         3 tc, 5 thread_core
 *   task_core_entry    1 task_state: 2 is dead, and then there is no more to it
 *   thread_core_entry  10 creds, 11 seccomp_mode: 2 is a filter
 *   creds_entry        9 to 12 inherited, permitted, effective and bounding capabilities, 18 no_new_privs, 19 ambient ones
 */
import { type Field, numbersOf, readMessage } from './protobuf.ts';

const HEADER_BYTES = 12;
const DEAD = 2n;
const FILTER = 2n;
const CAPABILITIES = { 9: 'inherited', 10: 'permitted', 11: 'effective', 12: 'bounding', 19: 'ambient' } as const;

/** Whether CRIU reads credentials from an image of this name. */
export function hasCredentials(name: string): boolean {
  return /^(core|creds)-\d+\.img$/.test(name);
}

/** Pure. Null for an image of a process without privileges; else what is wrong with it, as a part of a sentence. */
export function privilegeIn(name: string, image: Buffer): string | null {
  // Versions of CRIU before 3.0 had them in an image of their own. What is written today does not.
  if (!name.startsWith('core-')) return `has ${name}, which jobs never have`;
  try {
    return privilegeOf(messageIn(image), name);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    return `has a ${name} that is not understood`;
  }
}

function privilegeOf(core: Map<number, Field[]>, name: string): string | null {
  const state = numbersOf(inner(core, 3)?.get(1)).at(-1);
  const thread = inner(core, 5);
  if (!thread && state === DEAD) return null;
  const creds = thread && inner(thread, 10);
  if (!creds) return `has no credentials in ${name}`;
  for (const [field, kind] of Object.entries(CAPABILITIES)) {
    if (numbersOf(creds.get(Number(field))).some((bits) => bits !== 0n))
      return `asks for ${kind} capabilities in ${name}`;
  }
  if (numbersOf(creds.get(18)).at(-1) !== 1n) return `could gain privileges, by ${name}`;
  // CRIU says it of a process, and a thread (which has no tc) gets the filter of its process.
  if (core.has(3) && numbersOf(thread.get(11)).at(-1) !== FILTER) return `has no seccomp filter in ${name}`;
  return null;
}

/** There may be one only: CRIU would merge several. Undefined where there is none. */
function inner(fields: Map<number, Field[]>, number: number): Map<number, Field[]> | undefined {
  const found = fields.get(number);
  if (found === undefined) return undefined;
  const [message] = found;
  if (found.length > 1 || !Buffer.isBuffer(message)) throw new RangeError(`Field ${number} is not one message.`);
  return readMessage(message);
}

function messageIn(image: Buffer): Map<number, Field[]> {
  const sizeBytes = image.length < HEADER_BYTES ? -1 : image.readUInt32LE(8);
  if (sizeBytes < 0 || HEADER_BYTES + sizeBytes > image.length) throw new RangeError('The image is cut short.');
  return readMessage(image.subarray(HEADER_BYTES, HEADER_BYTES + sizeBytes));
}
