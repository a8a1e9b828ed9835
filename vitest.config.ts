import { defineConfig } from 'vitest/config';

/** How soon what a test waits for comes is the machine's affair; vitest's own default is one second. */
const expectations = { poll: { timeout: 25_000 } };

/**
 * Three layers. `unit` needs nothing but Node and is for daily use. `system` works on the real parts (CRIU, Redis, an S3
 * server, container engines, processes that get killed). They wait for those for much of their time, so two files run at once.
 * `large` is what takes gigabytes and minutes; `npm test` leaves it out.
 */
export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: 'unit',
          expect: expectations,
          sequence: { groupOrder: 0 },
          include: ['{base,bench,jobs,producers,dashboard,workers,upkeep,freezer,store,scripts,test}/**/*.test.ts'],
          exclude: ['**/*.{system,large}.test.ts'],
          testTimeout: 30_000,
        },
      },
      {
        test: {
          name: 'system',
          expect: expectations,
          sequence: { groupOrder: 1 },
          include: [
            '{base,bench,compose,images,jobs,producers,dashboard,workers,upkeep,freezer,store,test}/**/*.system.test.ts',
          ],
          maxWorkers: 2,
          testTimeout: 120_000,
          hookTimeout: 120_000,
        },
      },
      {
        test: {
          name: 'large',
          expect: expectations,
          sequence: { groupOrder: 2 },
          include: ['test/**/*.large.test.ts'],
          fileParallelism: false,
          testTimeout: 1_800_000,
          hookTimeout: 600_000,
        },
      },
    ],
  },
});
