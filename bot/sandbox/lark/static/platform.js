// What the chat page has to know about Lark: its error codes, requests, events and links, and typical faults.
// Every emulator serves such a module as /sandbox/platform.js.

export const REFUSED = 99991679;
export const NOT_ENABLED = 99991672;
export const RATE_LIMITED = 99991400;
export const TOKEN_CODES = new Set([99991677, 99991668, 99991663, 99991661]);
export const DEVICE_WAITS = new Set(["authorization_pending", "slow_down"]);

/**
 * What a request of the bot does, by method and path; the first match counts. `noise`: hidden by default, because it is
 * housekeeping or the request behind a message that is shown.
 */
export const REQUESTS = [
  ["POST", /\/auth\/v3\/tenant_access_token/, "fetched its own app token", { icon: "key", noise: true }],
  ["POST", /\/auth\/v3\/app_access_token/, "fetched its own app token", { icon: "key", noise: true }],
  ["GET", /\/bot\/v3\/info/, "asked who it is itself", { icon: "bot", noise: true }],
  ["GET", /\/application\/v6\//, "looked up which permissions the app has", { icon: "shield", noise: true }],
  ["POST", /\/jssdk\/ticket/, "fetched a ticket for in-client pages", { icon: "key", noise: true }],
  ["POST", /\/callback\/ws\/endpoint/, "asked for a long connection", { icon: "arrow-in", noise: true }],
  ["POST", /\/(authen\/v2\/oauth\/token|oauth\/v3\/token|authen\/v1\/oidc\/access_token)/, "exchanged the code for a token", { icon: "key" }],
  ["POST", /\/authen\/v1\/oidc\/refresh_access_token/, "refreshed a token", { icon: "refresh" }],
  ["GET", /\/authen\/v1\/user_info/, "asked the platform whose token this is", { icon: "user" }],
  ["POST", /\/oauth\/v\d\/device_authorization/, "asked for a device code", { icon: "key" }],
  ["POST", /\/oauth\/v\d\/revoke|\/authen\/v\d\/.*revoke/, "ended a token at the platform", { icon: "block" }],
  ["POST", /\/im\/v1\/messages\/[^/]+\/reactions/, "added a reaction", { icon: "chat", noise: true }],
  ["DELETE", /\/im\/v1\/messages\/[^/]+\/reactions/, "removed a reaction", { icon: "chat", noise: true }],
  ["POST", /\/im\/v1\/messages\/[^/]+\/reply/, "answered", { icon: "chat", noise: true }],
  ["POST", /\/im\/v1\/messages/, "sent a message", { icon: "chat", noise: true }],
  ["PATCH", /\/im\/v1\/messages/, "changed a card", { icon: "card", noise: true }],
  ["PUT", /\/im\/v1\/messages/, "edited a message", { icon: "refresh", noise: true }],
  ["POST", /\/ephemeral\/v1\/send/, "sent a card that only one person sees", { icon: "eye-off", noise: true }],
  ["POST", /\/ephemeral\/v1\/delete/, "took back a card that only one person saw", { icon: "eye-off" }],
  ["POST", /\/interactive\/v1\/card\/update/, "updated the clicked card", { icon: "card", noise: true }],
];

/** What a call of the bot as a user does, by path and, where there are several, by method. */
export const API_CALLS = [
  [/\/docx\/v1\/documents/, "read the document"],
  [/\/wiki\/v2\//, "looked up the wiki page"],
  [/\/calendar\/v4\/calendars\/primary/, "found the primary calendar"],
  [/\/calendar\/v4\/.*\/events/, "read the calendar's events"],
  [/\/calendar\//, "read calendars"],
  [/\/task\/v2\/tasks/, { GET: "read the tasks", POST: "created a task" }],
  [/\/(search|suite)\//, "searched documents"],
  [/\/mail\//, "read mail"],
  [/\/minutes\//, "read minutes"],
];

export const EVENTS = {
  "im.message.receive_v1": "a message",
  "card.action.trigger": "a click on a card",
  "im.chat.access_event.bot_p2p_chat_entered_v1": "“opened the chat”",
  "auth.user_access_token.revoked_v4": "“the grant was withdrawn”",
  url_verification: "the address check",
};

/** Paths that browsers open; the feed has no requests to them. */
export const BROWSER_PATHS = /\/authen\/v1\/authorize|\/device\/verify/;

/** Shortens a path for display. */
export const shortPath = (path) => String(path).split("?")[0].replace(/^\/open-apis/, "").replace(/\/([A-Za-z]{2,5}[A-Za-z0-9_]{14,})/g, "/…");

/** Faults with a button. `own`: applies only to calls as the current person. */
export const FAULT_PRESETS = [
  { label: "Slow: 4 s a call", own: true, fault: { kind: "delay", seconds: 4 } },
  { label: "Next call fails (500)", own: true, fault: { kind: "status", status: 500, times: 1 } },
  { label: "Rate limit, 5 s", own: true, fault: { kind: "rate_limit", reset: 5, times: 1 } },
  { label: "Work done, answer lost", own: true, fault: { kind: "drop_after", times: 1 } },
  { label: "No tokens: that endpoint is down", fault: { kind: "down", match: { path: "/open-apis/authen/v2/oauth/token" } } },
  { label: "All of the platform is down", fault: { kind: "down", match: { path: "/open-apis/" } } },
];

/** Returns the path of the AppLink that opens a web address in the client or the browser, as the sandbox is set. */
export const webLink = (address) => `/client/web_url/open?mode=window&url=${encodeURIComponent(address)}`;

export { STORIES, SUGGESTIONS } from "/sandbox/lark/static/guide.js";

/** Whether a message is a card, which takes the whole width and changes without being marked as edited. */
export const isCard = (message) => message.msg_type === "interactive";

/** An example of a path that a custom fault matches. */
export const EXAMPLE_PATH = "/open-apis/docx/*";

/** Settings with a choice on the page: name, label, and options as [value, label]. */
export const CLIENT_CHOICES = [
  ["links_open", "Links open", [["in a browser", "in a browser"], ["in the client", "in the client"]]],
  ["client_sdk", "The client's SDK", [["new", "is new"], ["old", "is old: without requestAccess"], ["broken", "fails"], ["absent", "does not load"]]],
];
/** Settings of the bot itself, which is started again with them. */
export const BOT_CHOICES = [];
export const TOKEN_CHOICES = [["refresh_token_seconds", "Refresh tokens live", [["604800", "7 days"], ["31622400", "a year"]]]];
