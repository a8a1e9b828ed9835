/** The longest that a timer of Node's can take, ms; one that is set for longer fires at once. */
export const LONGEST_TIMER_MS = 2 ** 31 - 1;
