/** The warnings of this process while `work` is done. */
export async function warningsOf(work: () => Promise<unknown>): Promise<string[]> {
  const words: string[] = [];
  const listen = ({ message }: Error) => void words.push(message);
  process.on('warning', listen);
  try {
    await work();
    // Warnings come in the next turn.
    await new Promise((resolve) => setImmediate(resolve));
    return words;
  } finally {
    process.off('warning', listen);
  }
}
