// Client of the sandbox's API: JSON over HTTP and the stream of changes.

import { webLink } from "../platform.js";

const ROOT = "/sandbox/api";

/** Returns the response's JSON. Throws an Error with the server's message unless it is a success. */
async function send(method, path, body) {
  const response = await fetch(`${ROOT}/${path}`, {
    method,
    headers: body === undefined ? {} : { "Content-Type": "application/json" },
    body: body === undefined ? undefined : JSON.stringify(body),
    cache: "no-store",
  });
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(answer.error ?? `the sandbox answered ${response.status}`);
  return answer;
}

export const get = (path) => send("GET", path);
export const post = (path, body = {}) => send("POST", path, body);
export const remove = (path) => send("DELETE", path);

/**
 * Calls `onChange` for every past and future change, and reconnects after failures. A restarted sandbox without saved
 * state numbers changes from 1, below what the page has `seen`; the page is then outdated and reloads.
 */
export function follow(seen, onChange) {
  let last = 0;
  const connect = () => {
    const source = new EventSource(`${ROOT}/stream?after=${last}`);
    source.onopen = () => {
      // Changes may overtake the answer. If this request fails, the next connection repeats it.
      const known = Math.max(seen, last);
      get("state").then((state) => { if (state.sequence < known) location.reload(); }, () => {});
    };
    source.onmessage = (event) => {
      last = Number(event.lastEventId) || last;
      onChange(JSON.parse(event.data), last);
    };
    source.onerror = () => {
      source.close();
      setTimeout(connect, 1000);
    };
  };
  connect();
}

const LOOPBACK = new Set(["127.0.0.1", "localhost", "[::1]"]);

/**
 * Returns the address that a link in a chat opens for this person. Several people share this browser, so links to the
 * sandbox and to the bot sign it in as this person first. The bot is another origin and is reached through a link of the platform.
 */
export function linkAs(openId, address) {
  const url = new URL(address);
  if (!LOOPBACK.has(url.hostname)) return address;
  const next = url.origin === location.origin ? url.pathname + url.search
    : webLink(address);
  return `/sandbox/login?person=${encodeURIComponent(openId)}&next=${encodeURIComponent(next)}`;
}
