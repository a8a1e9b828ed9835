/** Which signals freeze the program, which go on to it, and what a second Ctrl-C means. */
import { CommandError } from './commandError.ts';

const FREEZE_BY_DEFAULT: readonly NodeJS.Signals[] = ['SIGHUP', 'SIGINT', 'SIGTERM'];
const FORWARDED: readonly NodeJS.Signals[] = ['SIGUSR1', 'SIGUSR2', 'SIGQUIT', 'SIGWINCH', 'SIGCONT'];

export interface SignalHandlers {
  freeze(signal: NodeJS.Signals): void;
  forward(signal: NodeJS.Signals): void;
}

/**
 * `CRIU_SIGNALS`, as with the docker-freezer of 2016: names without SIG, separated by spaces. Throws `CommandError` `usage` for
 * one that cannot be listened to.
 */
export function freezeSignals(env: NodeJS.ProcessEnv): NodeJS.Signals[] {
  if (!env.CRIU_SIGNALS) return [...FREEZE_BY_DEFAULT];
  return env.CRIU_SIGNALS.split(/\s+/).filter(Boolean).map(parse);
}

function parse(name: string): NodeJS.Signals {
  const full = `SIG${name.replace(/^SIG/, '')}`;
  const found = [...FREEZE_BY_DEFAULT, ...FORWARDED].find((each) => each === full);
  if (found) return found;
  const known = [...FREEZE_BY_DEFAULT, ...FORWARDED].map((each) => each.slice(3)).join(', ');
  throw new CommandError('usage', `CRIU_SIGNALS: ${name} cannot freeze.`, `Name some of ${known}.`);
}

/** Listens from now on until disposed. Those that end or stop a process by default and do not freeze go on to the program. */
export function listen(freezing: readonly NodeJS.Signals[], handlers: SignalHandlers): Disposable {
  const forwarded = [...FREEZE_BY_DEFAULT, ...FORWARDED].filter((signal) => !freezing.includes(signal));
  const listeners: [NodeJS.Signals, (signal: NodeJS.Signals) => void][] = [
    ...freezing.map((signal): [NodeJS.Signals, () => void] => [signal, () => handlers.freeze(signal)]),
    ...forwarded.map((signal): [NodeJS.Signals, () => void] => [signal, () => handlers.forward(signal)]),
    // A Ctrl-Z would stop freezer and not the program, which would then die of the lease that nobody renews.
    ['SIGTSTP', () => undefined],
  ];
  for (const [signal, listener] of listeners) process.on(signal, listener);
  return {
    [Symbol.dispose]: () => {
      for (const [signal, listener] of listeners) process.removeListener(signal, listener);
    },
  };
}
