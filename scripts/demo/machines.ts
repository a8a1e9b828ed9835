/** The machines that are there. */
import { styleText } from 'node:util';
import { type Cluster, Machine } from './machine.ts';
import type { Story } from './story.ts';

/** Less than EC2's two minutes, so that a demo that fails does so soon. */
const NOTICE_MS = 60_000;

export class Machines {
  readonly #cluster: Cluster;
  readonly #story: Story;
  readonly #stack: AsyncDisposableStack;
  readonly #running = new Map<string, Machine>();
  #count = 0;

  constructor(cluster: Cluster, story: Story, stack: AsyncDisposableStack) {
    this.#cluster = cluster;
    this.#story = story;
    this.#stack = stack;
  }

  async add(): Promise<void> {
    const name = `machine-${++this.#count}`;
    const machine = this.#stack.use(await Machine.start(name, this.#cluster));
    this.#running.set(name, machine);
    this.#story.say('comes up', name);
    void machine.gone.then(() => this.#running.delete(name));
  }

  async takeAway(name: string): Promise<void> {
    const machine = this.#running.get(name);
    if (!machine) throw new Error(`${name} is gone already`);
    this.#story.say(styleText('yellow', `the cloud gives notice: ${NOTICE_MS / 1000} s`), name);
    await machine.interrupt(NOTICE_MS);
    this.#story.say('is gone', name);
  }
}
