/** SIGTERM and SIGINT as notices: what Kubernetes, Docker, systemd and ECS send before they kill. */
import { EventEmitter, on } from 'node:events';
import type { Notice, NoticeSource } from './source.ts';

/**
 * `graceMs`: time between the signal and the kill that follows it (30 s in Kubernetes, 10 s in Docker, 90 s in systemd).
 * `onInsist` is called at a second SIGINT: somebody at a terminal wants it to end now.
 */
export function signalNotices(options: { graceMs: number; onInsist: () => void }): NoticeSource {
  return {
    name: 'signals',
    async *watch(signal) {
      const received = new EventEmitter();
      let interrupts = 0;
      const listener = (name: NodeJS.Signals) => {
        if (name === 'SIGINT') interrupts += 1;
        if (interrupts > 1) options.onInsist();
        else received.emit('notice', { kind: 'notice', source: name, deadlineAt: Date.now() + options.graceMs });
      };
      process.on('SIGTERM', listener).on('SIGINT', listener);
      try {
        for await (const [notice] of on(received, 'notice', { signal })) yield notice as Notice;
      } catch (error) {
        if (!signal.aborted) throw error;
      } finally {
        process.off('SIGTERM', listener).off('SIGINT', listener);
      }
    },
  };
}
