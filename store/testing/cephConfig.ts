/** The smallest Ceph cluster that serves S3: one monitor, one disk of a sparse file, one gateway, one copy of everything. */

export const clusterId = '5d1c0a35-5a0f-4f1e-9f5e-0c3a7b1f0e01';

const everything = ['--cap', 'mon', 'allow *', '--cap', 'osd', 'allow *'];

/** Who may do what: `ceph-authtool` arguments, one entry per identity in the cluster's keyring. */
export const identities: readonly (readonly string[])[] = [
  ['-n', 'mon.', '--cap', 'mon', 'allow *'],
  ['-n', 'client.admin', ...everything],
  ['-n', 'client.rgw', ...everything],
  ['-n', 'osd.0', '--cap', 'mon', 'allow profile osd', '--cap', 'osd', 'allow *'],
];

/** The `ceph.conf` for a cluster whose data is in `folder`, as seen from inside the chroot. */
export function clusterConfig(folder: string, ports: { monitor: number; gateway: number }, hasSts: boolean): string {
  const settings: Record<string, Record<string, string | number | boolean>> = {
    global: {
      fsid: clusterId,
      mon_host: `v2:127.0.0.1:${ports.monitor}/0`,
      mon_initial_members: 'a',
      public_addr: '127.0.0.1',
      cluster_addr: '127.0.0.1',
      keyring: `${folder}/keyring`,
      run_dir: `${folder}/run`,
      admin_socket: `${folder}/run/$name.asok`,
      pid_file: '',
      log_to_file: false,
      log_to_stderr: true,
      mon_cluster_log_to_file: false,
      // With one disk there is nowhere to put a second copy; Ceph has to be told that this is meant.
      osd_pool_default_size: 1,
      osd_pool_default_min_size: 1,
      osd_pool_default_pg_num: 1,
      osd_pool_default_pgp_num: 1,
      osd_pool_default_pg_autoscale_mode: 'off',
      osd_crush_chooseleaf_type: 0,
      mon_allow_pool_size_one: true,
      mon_max_pg_per_osd: 1000,
      // The monitor stops when the file system is 95 % full, which a developer's often is.
      mon_data_avail_warn: 1,
      mon_data_avail_crit: 1,
      mon_client_hunt_interval: 0.5,
      paxos_propose_interval: 0.05,
      // What a start waits for after the last one's programs were killed; at the defaults: leases 16 s, cache watches
      // 30 s, and 10 s until the gateway asks where the disk is now.
      osd_pool_default_read_lease_ratio: 0.05,
      rgw_cache_enabled: false,
      objecter_timeout: 0.5,
      objecter_tick_interval: 0.25,
    },
    mon: { mon_data: `${folder}/mon` },
    osd: {
      osd_data: `${folder}/osd`,
      osd_objectstore: 'bluestore',
      bluestore_block_size: 20 * 2 ** 30,
      osd_memory_target: 896 * 2 ** 20,
      // The gateway works through server-side classes that are off by default.
      osd_class_load_list: '*',
      osd_class_default_list: '*',
    },
    'client.rgw': {
      rgw_frontends: `beast endpoint=127.0.0.1:${ports.gateway}`,
      rgw_enable_ops_log: false,
      // A key that session tokens are encrypted with, 16 characters. With STS an unknown access key is an AccessDenied.
      ...(hasSts ? { rgw_s3_auth_use_sts: true, rgw_sts_key: 'floe-test-sts-00' } : {}),
      rgw_run_sync_thread: false,
      rgw_rados_pool_pg_num_min: 1,
    },
  };
  return Object.entries(settings)
    .map(([section, values]) => {
      const lines = Object.entries(values).map(([name, value]) => `${name} = ${value}\n`);
      return `[${section}]\n${lines.join('')}`;
    })
    .join('');
}
