/** What jobs take in the store. */
import { storeKeys } from '../jobs/names.ts';
import type { Store } from '../store/store.ts';

const KINDS = ['input', 'checkpoints', 'logs', 'outputs', 'other'] as const;
type Kind = (typeof KINDS)[number];
const KIND_OF: Record<string, Kind> = {
  'input.tar.zst': 'input',
  checkpoints: 'checkpoints',
  log: 'logs',
  outputs: 'outputs',
};

/** All in bytes. */
export interface JobUsage extends Readonly<Record<Kind, number>> {
  readonly id: string;
  readonly total: number;
}

/** Of one job, or of all; the largest first. Rejects with `StoreError`. */
export async function usageOf(store: Store, jobId?: string): Promise<JobUsage[]> {
  const jobs = new Map<string, Record<Kind, number>>();
  for await (const { key, sizeBytes } of store.list(jobId === undefined ? 'jobs/' : storeKeys.job(jobId))) {
    const [, id = '', first = ''] = key.split('/');
    const sums = jobs.get(id) ?? { input: 0, checkpoints: 0, logs: 0, outputs: 0, other: 0 };
    sums[KIND_OF[first] ?? 'other'] += sizeBytes;
    jobs.set(id, sums);
  }
  const total = (sums: Record<Kind, number>) => KINDS.reduce((sum, kind) => sum + sums[kind], 0);
  return [...jobs].map(([id, sums]) => ({ id, ...sums, total: total(sums) })).sort((a, b) => b.total - a.total);
}
