/** How many processes and threads a job may have at a time where its spec names no number. */
export const DEFAULT_PROCESSES = 4096;
