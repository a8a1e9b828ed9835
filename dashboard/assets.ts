/** Style, script and icon, served as files because the content security policy allows nothing inline. */
import { Router } from 'express';
import { STYLE } from './style.ts';

export function assetRoutes(): Router {
  const router = Router();
  const serve = (path: string, type: string, text: string) =>
    router.get(path, (_request, response) => {
      response.set('Cache-Control', 'public, max-age=300').type(type).send(text);
    });
  serve('/style.css', 'text/css', STYLE);
  serve('/live.js', 'text/javascript', LIVE);
  serve('/floe.svg', 'image/svg+xml', ICON);
  return router;
}

/** An ice floe with its larger part under water. */
const ICON = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">
<rect width="32" height="32" rx="8" fill="#0b3a5e"/>
<path d="M0 17h32v7a8 8 0 0 1-8 8H8a8 8 0 0 1-8-8z" fill="#0f5b8d"/>
<path d="M7 17l4-7 4 2 3-4 7 9z" fill="#f2fbff"/><path d="M15 12l3-4 7 9h-6z" fill="#c5e8f7"/>
<path d="M6 19h20l-5 6-5 3-6-4z" fill="#7cc4e6" opacity=".75"/>
</svg>`;

/**
 * Every two seconds fetches the page again and exchanges the parts marked `data-live` that have changed, unless somebody is
 * about to use or copy them. In between it counts deadlines down. Pages work without it.
 */
const LIVE = `'use strict';
const REFRESH_MS = 2000;

const inUse = (part) => {
  const selection = getSelection();
  return part.contains(document.activeElement) || (selection.type === 'Range' && part.contains(selection.anchorNode));
};

async function refresh() {
  const answer = await fetch(location.href, { redirect: 'manual', headers: { accept: 'text/html' } });
  if (answer.type === 'opaqueredirect') return location.reload();
  if (!answer.ok) throw new Error(String(answer.status));
  const fresh = new DOMParser().parseFromString(await answer.text(), 'text/html');
  for (const part of document.querySelectorAll('[data-live]')) {
    const other = fresh.getElementById(part.id);
    if (!other) return location.reload();
    if (part.innerHTML !== other.innerHTML && !inUse(part)) part.replaceChildren(...other.childNodes);
  }
}

async function keepFresh() {
  if (!document.hidden) {
    try {
      await refresh();
      document.body.classList.remove('stale');
    } catch {
      document.body.classList.add('stale');
    }
  }
  setTimeout(keepFresh, REFRESH_MS);
}

function countDown() {
  for (const element of document.querySelectorAll('[data-until]')) {
    const seconds = Math.max(0, Math.round((Number(element.dataset.until) - Date.now()) / 1000));
    element.textContent = seconds < 60 ? seconds + ' s' : Math.floor(seconds / 60) + ' min ' + (seconds % 60) + ' s';
  }
}

setTimeout(keepFresh, REFRESH_MS);
setInterval(countDown, 1000);
`;
