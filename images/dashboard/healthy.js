/** Exit status 0 when the dashboard in this container answers and has its Redis, 1 when not. */
const port = process.env.FLOE_DASHBOARD_PORT || '3000';
const answer = await fetch(`http://127.0.0.1:${port}/healthz`).catch((error) => ({ ok: false, text: () => String(error.cause) }));
if (!answer.ok) {
  process.stderr.write(`${await answer.text()}\n`);
  process.exitCode = 1;
}
