/** The dashboard: the fleet, its jobs, and Bull Board behind a login. */
export { type Dashboard, type DashboardOptions, startDashboard } from './server.ts';
