/** JSON whose writer is not trusted. */

const [QUOTE, BACKSLASH, BRACE, BRACKET] = Buffer.from('"\\{[');

/**
 * Parses it, unless it has more objects and lists than that, wherever they are. A few MiB of `{},{},…` take a gigabyte and many seconds
 * to parse, and what is nested thousands of times deep overflows the stack of whoever walks it. Throws `SyntaxError`.
 */
export function parseBounded(bytes: Uint8Array, mostContainers: number): unknown {
  if (containersIn(bytes) > mostContainers) {
    throw new SyntaxError(`it has more than ${mostContainers} objects and lists, which nothing of its kind has`);
  }
  return JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8'));
}

/** Right for what is JSON; of anything else only the time matters. */
function containersIn(bytes: Uint8Array): number {
  let containers = 0;
  let isInText = false;
  for (let at = 0; at < bytes.length; at++) {
    const byte = bytes[at];
    if (byte === QUOTE) isInText = !isInText;
    else if (isInText && byte === BACKSLASH) at++;
    else if (!isInText && (byte === BRACE || byte === BRACKET)) containers++;
  }
  return containers;
}
