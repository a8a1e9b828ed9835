import { expect, test } from 'vitest';
import { controllersFor, hasKilled, hasRefused, ownPlace, settingsFor } from './controllers.ts';

const VERSION_1 = `31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
`;
const IN_VERSION_1 = '4:memory:/system.slice/a:b\n2:cpuacct,cpu:/\n1:name=systemd:/init\n0::/init\n';
const VERSION_2 = '30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n';

test('a controller is found in its own tree of version 1', () => {
  expect(ownPlace(VERSION_1, IN_VERSION_1, 'memory')).toEqual({
    version: 1,
    directory: '/sys/fs/cgroup/memory/system.slice/a:b',
  });
  expect(ownPlace(VERSION_1, IN_VERSION_1, 'cpu')).toEqual({ version: 1, directory: '/sys/fs/cgroup/cpu,cpuacct' });
});

test('a controller that version 1 does not have is looked for in version 2, also beside version 1', () => {
  const unified = { version: 2, directory: '/sys/fs/cgroup/unified/init' };
  expect(ownPlace(VERSION_1, '3:cpuset:/\n0::/init\n', 'memory')).toEqual(unified);
  const service = { version: 2, directory: '/sys/fs/cgroup/system.slice/floe.service' };
  expect(ownPlace(VERSION_2, '0::/system.slice/floe.service\n', 'cpu')).toEqual(service);
  expect(ownPlace(VERSION_2, '0::/\n', 'cpu')).toEqual({ version: 2, directory: '/sys/fs/cgroup' });
});

test('a container that sees only its own part of the tree is at the top of what it sees', () => {
  const mount = '35 31 0:32 /docker/c1 /sys/fs/cgroup/mem\\040ory rw - cgroup cgroup rw,memory\n';
  const here = { version: 1, directory: '/sys/fs/cgroup/mem ory' };
  expect(ownPlace(mount, '4:memory:/docker/c1\n', 'memory')).toEqual(here);
  expect(ownPlace(mount, '4:memory:/docker/c1/inner\n', 'memory')?.directory).toBe(`${here.directory}/inner`);
});

test.each([
  ['nothing is mounted', '', '4:memory:/\n0::/\n'],
  [
    'another part of the tree is mounted',
    '35 31 0:32 /docker/c1 /m rw - cgroup cgroup rw,memory\n',
    '4:memory:/docker/c12\n',
  ],
  ['the group is outside of the namespace', VERSION_2, '0::/../other\n'],
  ['the files make no sense', 'x - cgroup\n - \n', 'nonsense\n'],
])('none is found where %s', (_, mountInfo, membership) => {
  expect(ownPlace(mountInfo, membership, 'memory')).toBeNull();
});

test('limits are written as each version wants them', () => {
  const limits = { cpus: 1.5, memoryBytes: 2 ** 30 };
  const written = (version: 1 | 2) =>
    controllersFor(limits).flatMap((controller) =>
      settingsFor(version, controller, limits).map(({ file, value }) => `${file} ${value}`),
    );
  expect(written(2)).toEqual(['cpu.max 150000 100000', 'memory.max 1073741824', 'memory.swap.max 0']);
  expect(written(1)).toEqual([
    'cpu.cfs_period_us 100000',
    'cpu.cfs_quota_us 150000',
    'memory.limit_in_bytes 1073741824',
    'memory.memsw.limit_in_bytes 1073741824',
  ]);
});

test('only what is limited is asked of the kernel, and no less CPU than it takes', () => {
  expect(controllersFor({})).toEqual([]);
  expect(controllersFor({ memoryBytes: 1 })).toEqual(['memory']);
  expect(controllersFor({ processes: 7 })).toEqual(['pids']);
  expect(settingsFor(1, 'pids', { processes: 7 })).toEqual([{ file: 'pids.max', value: '7' }]);
  expect(settingsFor(2, 'cpu', { cpus: 0.001 })).toEqual([{ file: 'cpu.max', value: '1000 100000' }]);
});

test('a process that was refused is told from none', () => {
  expect(hasRefused('max 3\n')).toBe(true);
  expect(hasRefused('max 0\n')).toBe(false);
  expect(hasRefused('')).toBe(false);
});

test('a kill for the group’s own use of memory is told from one for the machine’s', () => {
  expect(hasKilled(2, 'low 0\nhigh 0\nmax 12\noom 1\noom_kill 1\noom_group_kill 0\n')).toBe(true);
  expect(hasKilled(2, 'low 0\nhigh 0\nmax 12\noom 0\noom_kill 1\n')).toBe(false);
  expect(hasKilled(2, 'max 12\noom 1\noom_kill 0\n')).toBe(false);
  expect(hasKilled(1, 'oom_kill_disable 0\nunder_oom 0\noom_kill 2\n')).toBe(true);
  expect(hasKilled(1, 'oom_kill_disable 0\nunder_oom 0\noom_kill 0\n')).toBe(false);
  expect(hasKilled(1, '')).toBe(false);
});
