/** Something that an attacker reached, changed or ended, or a job that was not as it should be. */
export class Breach extends Error {
  override readonly name = 'Breach';
}

/** @throws Breach with `what`, unless `holds` */
export function require(holds: boolean, what: string): asserts holds {
  if (!holds) throw new Breach(what);
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
