/** What jobs of the `process` runtime have of a network. */
import { FreezerError } from '../errors.ts';
import { LEAST_ACCESS } from '../process/machineAccess.ts';
import { requireWayOut, resolverConfiguration } from '../process/network.ts';
import { bad, type MachineFinding, ok } from './finding.ts';
import type { RuntimesToCheck } from './runtimes.ts';

const CHECK = 'network of jobs';

/** Of no concern where only containers are run. */
export async function checkJobNetwork({ names, access = LEAST_ACCESS }: RuntimesToCheck): Promise<MachineFinding[]> {
  if (names !== 'auto' && !names.includes('process')) return [];
  if (access.network === 'host') {
    const remedy = 'Set FLOE_PROCESS_NETWORK to isolated, unless you trust every job.';
    return [bad('warn', CHECK, "jobs without an image have the machine's own, with all of its services", remedy)];
  }
  try {
    await requireWayOut();
  } catch (error) {
    if (!(error instanceof FreezerError)) throw error;
    return [bad('warn', CHECK, `${error.message} Jobs without an image that want one do not run here.`, error.remedy)];
  }
  if (/^nameserver /m.test(await resolverConfiguration(access.nameservers))) {
    return [ok(CHECK, 'of their own, by slirp4netns, for jobs without an image')];
  }
  const remedy = 'Name one in FLOE_NAMESERVERS.';
  return [bad('warn', CHECK, 'the machine has no name server that jobs without an image can reach', remedy)];
}
