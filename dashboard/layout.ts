/** The frame around every page of ours. */

import type { Role } from './accounts.ts';
import { type Html, html } from './html.ts';

export interface Page {
  title: string;
  /** Null on pages that need no login. */
  role: Role | null;
  /** Reload without JavaScript every so many seconds; with it, `live.js` refreshes the parts marked `data-live`. */
  live?: boolean;
  body: Html;
}

export function layout(page: Page): string {
  const { title, role, live, body } = page;
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${title} · Floe</title>
<link rel="icon" href="/assets/floe.svg" type="image/svg+xml">
<link rel="stylesheet" href="/assets/style.css">
${live && html`<script src="/assets/live.js" defer></script><noscript><meta http-equiv="refresh" content="5"></noscript>`}
</head>
<body>
${role !== null && header(role)}
<main>${body}</main>
</body>
</html>`.text;
}

const EVERYWHERE = html`<button class="quiet" formaction="/logout/everywhere" title="Ends every session, those of viewers too">Log out everywhere</button>`;

function header(role: Role): Html {
  return html`<header class="top">
<a class="brand" href="/"><img src="/assets/floe.svg" alt="" width="26" height="26">Floe</a>
<nav><a href="/">Fleet</a><a href="/queues/">Queues</a></nav>
<span class="stale-note" role="status">not up to date: no answer</span>
<form method="post" action="/logout" class="who"><span class="role">${role === 'operator' ? 'operator' : 'read-only'}</span><button class="quiet">Log out</button>${role === 'operator' && EVERYWHERE}</form>
</header>`;
}

/** A page that says one thing: what is wrong and what to do. */
export function messagePage(title: string, message: string, remedy: string, role: Role | null): string {
  return layout({
    title,
    role,
    body: html`<section class="card message"><h1>${title}</h1><p>${message}</p><p class="dim">${remedy}</p><p><a href="/">Back to the fleet</a></p></section>`,
  });
}
