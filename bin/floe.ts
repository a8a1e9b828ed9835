#!/usr/bin/env node
/**
 * The `floe` command: the producers' commands, those that look after the store, the two daemons, and `doctor`. What the latter do is imported when asked for, so that
 * submitting a job loads neither the checkpoint engine nor a web server.
 */
import type { Command } from 'commander';
import { loadConfig } from '../jobs/config.ts';
import {
  type CommonOptions,
  connectionFlags,
  createProgram,
  finishCommand,
  runAtEdge,
  withFloe,
} from '../producers/cli.ts';
import { addCheckpoints, addDu, addGc, addRm, addVerify } from '../upkeep/cli.ts';
import { addDoctor } from './doctor.ts';

function addWorker(program: Command): void {
  const command = program
    .command('worker')
    .description('Run jobs on this machine until it is told to stop.')
    .option('--name <name>', 'name of this worker (FLOE_WORKER_NAME; default: the host name)')
    .option('--pools <pools>', 'pools whose jobs it takes, with commas between (FLOE_POOLS; default: default)')
    .option('--slots <number>', 'jobs that it runs at once (FLOE_SLOTS; default: number of cores)')
    .option('--notice-source <source>', 'auto, ec2 or none (FLOE_NOTICE_SOURCE; default: auto)')
    .option('--toolbox <folder>', 'folder with CRIU and the supervisor (FLOE_TOOLBOX)')
    .option('--log-level <level>', 'how much it logs (FLOE_LOG_LEVEL; default: info)')
    .action(async ({ name, pools, slots, noticeSource, toolbox, logLevel, ...common }: WorkerFlags) => {
      const flags = { ...connectionFlags(common), toolbox, logLevel, worker: { name, pools, slots, noticeSource } };
      const config = loadConfig({ flags });
      const { runWorker } = await import('../workers/index.ts');
      await runWorker(config);
      // All is given back; the SDK's metadata client would hold the process, and so the machine, for seconds more.
      process.exit(0);
    });
  finishCommand(command, ['floe worker', 'floe worker --pools gpu,default --slots 1 --store s3://bucket/floe']);
}

interface WorkerFlags extends CommonOptions {
  readonly name?: string;
  readonly pools?: string;
  readonly slots?: string;
  readonly noticeSource?: string;
  readonly toolbox?: string;
  readonly logLevel?: string;
}

function addDashboard(program: Command): void {
  const command = program
    .command('dashboard')
    .description('Serve the dashboard until it is told to stop.')
    .option('--host <address>', 'address to listen on (FLOE_DASHBOARD_HOST; default: 127.0.0.1)')
    .option('--port <number>', 'port, 0 for any free one (FLOE_DASHBOARD_PORT; default: 3000)')
    .option('--log-level <level>', 'how much it logs (FLOE_LOG_LEVEL; default: info)')
    .action(async ({ host, port, logLevel, ...common }: DashboardFlags) => {
      const config = loadConfig({ flags: { ...connectionFlags(common), logLevel, dashboard: { host, port } } });
      const { runDashboard } = await import('../dashboard/index.ts');
      await withFloe(common, (floe) => runDashboard(config, { cancel: (id) => floe.cancel(id) }));
    });
  finishCommand(command, ['floe dashboard', 'FLOE_DASHBOARD_PASSWORD=… floe dashboard --host 0.0.0.0 --port 8080']);
}

interface DashboardFlags extends CommonOptions {
  readonly host?: string;
  readonly port?: string;
  readonly logLevel?: string;
}

const program = createProgram();
addWorker(program);
addDashboard(program);
addDoctor(program);
for (const add of [addCheckpoints, addVerify, addRm, addDu, addGc]) add(program);
process.exitCode = await runAtEdge(process.argv.slice(2), () => program.parseAsync());
