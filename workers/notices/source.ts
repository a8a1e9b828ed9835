/** Where word comes from that this machine goes away, or may. */

/**
 * - `notice`: the machine goes away, at `deadlineAt` (ms since 1970) where that is known: jobs are frozen and given back.
 * - `hint`: it may: jobs are checkpointed and run on.
 */
export interface Notice {
  readonly kind: 'notice' | 'hint';
  /** For people and logs, such as `ec2 spot`. */
  readonly source: string;
  readonly deadlineAt: number | null;
}

export interface NoticeSource {
  readonly name: string;
  /** Yields each notice once, until the signal aborts. A source that has nothing to watch on this machine ends at once. */
  watch(signal: AbortSignal): AsyncIterable<Notice>;
}
