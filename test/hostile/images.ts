/** The images of hostile jobs, each from a Dockerfile that its case spells out. All are removed at the end. */
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';

export class Images implements AsyncDisposable {
  readonly #label = `floe-hostile=${randomBytes(6).toString('hex')}`;
  #count = 0;

  /** Resolves to the image's name. `files`: content by name, for COPY. Rejects when the engine refuses to build it. */
  async build(dockerfile: string, files: Readonly<Record<string, string | Buffer>> = {}): Promise<string> {
    const context = await mkdtemp(join(tmpdir(), 'floe-hostile-image-'));
    try {
      for (const [name, content] of Object.entries({ ...files, Dockerfile: dockerfile })) {
        await writeFile(join(context, name), content);
      }
      const name = `floe-hostile-${this.#label.slice(-12)}:${++this.#count}`;
      await execa('docker', ['build', '--quiet', '--label', this.#label, '--tag', name, context]);
      return name;
    } finally {
      await rm(context, { recursive: true, force: true });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#count === 0) return;
    const { stdout } = await execa('docker', ['image', 'ls', '--quiet', '--filter', `label=${this.#label}`]);
    const ids = [...new Set(stdout.split('\n').filter((line) => line !== ''))];
    if (ids.length > 0) await execa('docker', ['image', 'rm', '--force', ...ids], { reject: false });
  }
}
