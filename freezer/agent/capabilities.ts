/** What the kernel lets the agent do, whatever the engine was asked for. */
import { readFile } from 'node:fs/promises';

/** The effective capabilities, as capabilities(7) numbers them: bit 21 is SYS_ADMIN. In hexadecimal digits. */
export async function capabilities(): Promise<{ mask: string }> {
  const status = await readFile('/proc/self/status', 'utf8');
  return { mask: /^CapEff:\s*([0-9a-f]+)$/m.exec(status)?.[1] ?? '0' };
}
