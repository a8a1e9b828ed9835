/** Tells what happens, one line each, as it happens. */
import { styleText } from 'node:util';
import { plain } from '../../base/terminal.ts';
import type { JobEvent } from '../../producers/index.ts';

export class Story {
  readonly #begun = performance.now();
  readonly #names = new Map<string, string>();

  /** Lines about this job begin with its name. */
  name(jobId: string, name: string): void {
    this.#names.set(jobId, name);
  }

  get seconds(): number {
    return (performance.now() - this.#begun) / 1000;
  }

  say(what: string, who = ''): void {
    const at = styleText('dim', `${this.seconds.toFixed(1).padStart(6)} s`);
    process.stdout.write(`${at}  ${styleText('bold', who.padEnd(11))}${what}\n`);
  }

  tell(event: JobEvent): void {
    const what = describe(event);
    if (what) this.say(what, this.#names.get(event.jobId) ?? event.jobId);
  }
}

function describe(event: JobEvent): string | null {
  switch (event.type) {
    case 'started':
      return `starts on ${plain(event.worker)}`;
    case 'freezing':
      return `is being frozen on ${plain(event.worker)}`;
    case 'frozen':
      return styleText(
        'cyan',
        `frozen: stood still ${seconds(event.frozenMs)} until safe in the store, ${megabytes(event.bytesSent)} sent`,
      );
    case 'thawed':
      return styleText('green', `goes on where it was, on ${plain(event.worker)}, thawed in ${seconds(event.thawMs)}`);
    case 'checkpointed':
      return `checkpoint taken, runs on (stood still ${seconds(event.frozenMs)})`;
    case 'succeeded':
      return styleText('green', 'finished');
    case 'freezeFailed':
    case 'attemptFailed':
    case 'passedOver':
    case 'stopped':
    case 'failed':
    case 'cancelled':
      return styleText('red', `${event.type}: ${plain(event.message)}`);
    case 'crashed':
      return styleText('red', `lost its worker ${plain(event.worker)}`);
    case 'submitted':
      return null;
  }
}

export function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}

export function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;
}
