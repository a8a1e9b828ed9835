/** The dashboard: the fleet, its jobs, and Bull Board behind a login. */
export type { CancelJob } from './actions.ts';
export { runDashboard } from './run.ts';
export { type Dashboard, type DashboardOptions, startDashboard } from './server.ts';
