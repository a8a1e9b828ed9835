/** The benchmark's file: every sample, and the machine it was taken on. */
import { readFile, writeFile } from 'node:fs/promises';
import { z } from 'zod';
import { median } from './statistics.ts';

const Machine = z.object({
  cpu: z.string(),
  cores: z.number(),
  memoryBytes: z.number(),
  kernel: z.string(),
  versions: z.record(z.string(), z.string()),
});

const Case = z.object({
  store: z.enum(['s3', 'file']),
  content: z.enum(['compressible', 'incompressible']),
  sizeBytes: z.number(),
  measuredAt: z.iso.datetime(),
  /** One for each pair, by name: see measures.ts. Times in ms, sizes in bytes. */
  samples: z.array(z.record(z.string(), z.number())),
});

const Results = z.object({ machine: Machine, cases: z.array(Case) });

export type Machine = z.infer<typeof Machine>;
export type Case = z.infer<typeof Case>;
export type Results = z.infer<typeof Results>;

/** Null when there is no such file; throws `ZodError` for one that is something else. */
export async function readResults(path: string): Promise<Results | null> {
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return null;
    throw error;
  });
  return text === null ? null : Results.parse(JSON.parse(text));
}

export async function writeResults(path: string, results: Results): Promise<void> {
  await writeFile(path, `${JSON.stringify(results, null, 2)}\n`);
}

/** A case in the place of the one of the same store, content and size; ordered by those. */
export function withCase(cases: readonly Case[], added: Case): Case[] {
  const others = cases.filter(
    ({ store, content, sizeBytes }) =>
      store !== added.store || content !== added.content || sizeBytes !== added.sizeBytes,
  );
  return [...others, added].sort(
    (a, b) => b.store.localeCompare(a.store) || a.content.localeCompare(b.content) || a.sizeBytes - b.sizeBytes,
  );
}

/** All samples of one measure; empty where it was not measured. */
export function samplesOf({ samples }: Case, name: string): number[] {
  return samples.map((sample) => sample[name]).filter((value) => value !== undefined);
}

/** Null where it was not measured. */
export function medianOf(measured: Case, name: string): number | null {
  const samples = samplesOf(measured, name);
  return samples.length === 0 ? null : median(samples);
}
