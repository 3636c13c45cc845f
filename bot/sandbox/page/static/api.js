// The control API: JSON over HTTP and the stream of changes. What the answers mean is decided elsewhere.

const ROOT = "/sandbox/api";

/** The answer's JSON; throws an Error with the server's own words when it is not a success. */
async function ask(method, path, body) {
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

export const get = (path) => ask("GET", path);
export const post = (path, body = {}) => ask("POST", path, body);
export const remove = (path) => ask("DELETE", path);

/**
 * Calls `onChange` for every change there was and will be, reconnecting for as long as the page lives. A sandbox that
 * was started again counts from the beginning, below what the page has `seen`: then nothing on the page is true any
 * more, and it is loaded anew.
 */
export function follow(seen, onChange) {
  let last = 0;
  const connect = () => {
    const source = new EventSource(`${ROOT}/stream?after=${last}`);
    source.onopen = () => {
      // If it is gone again already, the next connection asks anew.
      get("state").then((state) => { if (state.sequence < Math.max(seen, last)) location.reload(); }, () => {});
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
 * Where a link in a chat leads for this person. Links into the sandbox and to the bot sign the browser in as them first,
 * because several persons share it; the bot is another origin, so the way there is an AppLink.
 */
export function linkAs(openId, address) {
  const url = new URL(address);
  if (!LOOPBACK.has(url.hostname)) return address;
  const next = url.origin === location.origin ? url.pathname + url.search
    : `/client/web_url/open?mode=window&url=${encodeURIComponent(address)}`;
  return `/sandbox/login?person=${encodeURIComponent(openId)}&next=${encodeURIComponent(next)}`;
}
