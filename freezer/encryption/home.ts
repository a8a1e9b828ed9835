/**
 * Whose checkpoints those of a place are, as what is authenticated says it: a store, and for the stand-alone `freezer` the program's
 * name. The same key in two stores, or for two programs, must not make the checkpoints of one those of the other.
 *
 * Endpoints, regions and other parameters are left out: workers may have different ways to one bucket.
 */
export function homeOf(storeUrl: string, name?: string): string {
  const url = storeUrl.replace(/[?#].*$/, '').replace(/(?<=[^/])\/+$/, '');
  return name === undefined ? url : `${url} ${name}`;
}
