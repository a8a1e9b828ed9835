import { describe, expect, it } from 'vitest';
import { boardData, boardReturnValue } from './boardFormat.ts';
import { MASK, maskCommand, maskEnv } from './secrets.ts';

describe('secrets', () => {
  it('masks values of secret-looking variables and passwords in URLs', () => {
    const env = { AWS_SECRET_ACCESS_KEY: 'a', api_token: 'b', DB_PASSWORD: 'c', DB: 'pg://me:d@host/x', THREADS: '8' };
    expect(maskEnv(env)).toEqual({
      AWS_SECRET_ACCESS_KEY: MASK,
      api_token: MASK,
      DB_PASSWORD: MASK,
      DB: `pg://me:${MASK}@host/x`,
      THREADS: '8',
    });
  });

  it('masks secrets among arguments, and nothing else', () => {
    const command = [
      'run',
      '--token=a',
      'API_KEY=b',
      '--password',
      'c',
      '--secret',
      '--fast',
      '--out=d',
      'https://u:e@h/',
    ];
    expect(maskCommand(command)).toEqual([
      'run',
      `--token=${MASK}`,
      `API_KEY=${MASK}`,
      '--password',
      MASK,
      '--secret',
      '--fast',
      '--out=d',
      `https://u:${MASK}@h/`,
    ]);
  });

  it("keeps them out of Bull Board's data, also when the data is of no known form", () => {
    const spec = { command: ['x', '--token=hunter2'], env: { TOKEN: 'hunter2' } };
    const data = { spec, input: null, submittedAt: 1 };
    expect(JSON.stringify(boardData(data))).not.toContain('hunter2');
    expect(JSON.stringify(boardData({ ...data, submittedAt: 'hunter2' }))).not.toContain('hunter2');
    expect(JSON.stringify(boardReturnValue({ odd: 'hunter2' }))).not.toContain('hunter2');
  });
});
