/** What the jobs of the `process` runtime may have of the machine that they run on, as its operator decides. */
export interface MachineAccess {
  /** What of its files they can read: its programs, and these absolute paths; or `all` that there is. */
  readonly readablePaths: readonly string[] | 'all';
  /** Never shown, wherever they are: Floe's state and configuration. Absolute paths, which need not be there. */
  readonly hiddenPaths: readonly string[];
  /** Folders below which a job may name volumes that begin with what the machine has there. */
  readonly volumeRoots: readonly string[];
  /** `isolated`: a network of their own, with a way out; `host`: the machine's own. */
  readonly network: 'isolated' | 'host';
  /** IPv4 addresses of the name servers that isolated jobs ask. Empty for those of the machine. */
  readonly nameservers: readonly string[];
}

/** As little as programs can do with. */
export const LEAST_ACCESS: MachineAccess = {
  readablePaths: [],
  hiddenPaths: [],
  volumeRoots: [],
  network: 'isolated',
  nameservers: [],
};

/** For programs that the machine's owner trusts, or on a machine that is nothing but the program's container. */
export const FULL_ACCESS: MachineAccess = {
  ...LEAST_ACCESS,
  readablePaths: 'all',
  volumeRoots: ['/'],
  network: 'host',
};
