// What the chat page has to know about DingTalk: its error codes, requests, events, links and messages, and typical
// faults. Every emulator serves such a module as /sandbox/platform.js.

export { STORIES, SUGGESTIONS } from "/sandbox/dingtalk/static/guide.js";
export { changedWords, isCard, renderBody, summarize } from "/sandbox/dingtalk/static/messages.js";

export const REFUSED = "Forbidden.AccessDenied.AccessTokenPermissionDenied";
export const NOT_ENABLED = Symbol("DingTalk has no separate code for this");
export const RATE_LIMITED = "Forbidden.AccessDenied.QpsLimitForAppkeyAndApi";
export const TOKEN_CODES = new Set(["InvalidAuthentication", "AuthenticationFailed.MissingParameter"]);
export const DEVICE_WAITS = new Set();

/**
 * What a request of the bot does, by method and path; the first match counts. `noise`: hidden by default, because it is
 * housekeeping or the request behind a message that is shown.
 */
export const REQUESTS = [
  ["POST", /\/oauth2\/accessToken$/, "fetched its own app token", { icon: "key", noise: true }],
  ["POST", /\/oauth2\/userAccessToken$/, "exchanged the code for a token", { icon: "key" }],
  ["POST", /\/oauth2\/[^/]+\/token$/, "fetched its own app token", { icon: "key", noise: true }],
  ["POST", /\/gateway\/connections\/open$/, "asked for a stream connection", { icon: "arrow-in", noise: true }],
  ["POST", /\/topapi\/v2\/user\/getuserinfo$/, "looked up who opened its page", { icon: "user", noise: true }],
  ["POST", /\/topapi\//, "looked up an id", { icon: "user", noise: true }],
  ["POST", /\/robot\/sendBySession$/, "answered", { icon: "chat", noise: true }],
  ["POST", /\/robot\/oToMessages\/batchSend$/, "sent a message", { icon: "chat", noise: true }],
  ["POST", /\/robot\/groupMessages\/send$/, "sent a message to the group", { icon: "chat", noise: true }],
  ["POST", /\/robot\/.*[rR]ecall$/, "took back a message", { icon: "chat", noise: true }],
  ["POST", /\/card\/instances\/createAndDeliver$/, "sent a card", { icon: "card", noise: true }],
  ["PUT", /\/card\/instances$/, "changed a card", { icon: "card", noise: true }],
  ["POST", /\/card\/callbacks\/register$/, "registered its address for card callbacks", { icon: "arrow-in", noise: true }],
];

/** What a call of the bot as a user does, by path and, where there are several, by method. */
export const API_CALLS = [
  [/\/contact\/users\/me$/, "read the profile"],
  [/\/contact\/users\//, "read a profile"],
  [/\/org\/tasks\/query$/, "read the to-dos"],
  [/\/(personalTasks|tasks)$/, "created a to-do"],
  [/\/calendars\/.*\/events$/, "read the calendar's events"],
];

export const EVENTS = { message: "a message", "card callback": "a click on a card" };

/** Paths that browsers open; the feed has no requests to them. */
export const BROWSER_PATHS = /\/oauth2\/auth|\/connect$/;

/** Shortens a path for display. */
export const shortPath = (path) => String(path).split("?")[0].replace(/\/(?=[A-Za-z_-]*\d)[A-Za-z0-9_-]{14,}(?=\/|$)/g, "/…");

/** Faults with a button. `own`: applies only to calls as the current person. */
export const FAULT_PRESETS = [
  { label: "Slow: 4 s a call", own: true, fault: { kind: "delay", seconds: 4 } },
  { label: "Next call fails (504)", own: true, fault: { kind: "status", status: 504, times: 1 } },
  { label: "Rate limit, once", own: true, fault: { kind: "rate_limit", times: 1 } },
  { label: "Work done, answer lost", own: true, fault: { kind: "drop_after", times: 1 } },
  { label: "No tokens: that endpoint is down", fault: { kind: "down", match: { path: "/v1.0/oauth2/userAccessToken" } } },
  { label: "The new API is down", fault: { kind: "down", match: { path: "/v1.0/" } } },
];

/** An example of a path that a custom fault matches. */
export const EXAMPLE_PATH = "/v1.0/todo/*";

const RESULTS = [["ask", "is what you press"], ["ok", "is always ok"], ["cancel", "is always cancel"], ["failed", "is always failed"],
  ["closed", "is missing: closed"], ["unreadable", "is unreadable"]];
const CODES = [400001, 400006, 400007, 400008, 500101, 500102, 500103, 500104, 500105, 500201, 500202, 500203, 500204, 500205, 500401, 500402, 500403, 500404];

/** Settings with a choice on the page: name, label, and options as [value, label]. */
export const CLIENT_CHOICES = [
  ["links_open", "Links open", [["in a browser", "in a browser"], ["in the client", "in the client"]]],
  ["client_sdk", "The client", [["new", "is new: 7.6"], ["old", "is old: without getAuthInfo"], ["oldest", "is older: without openAuth"], ["unsigned", "refuses pages that are not signed"], ["broken", "fails"], ["absent", "has no script"]]],
  ["client_platform", "It runs", [["by width", "as wide as the window"], ["pc", "on a PC"], ["android", "on Android"], ["ios", "on iOS"]]],
  ["panel_result", "openAuth's result", RESULTS],
  ["panel_error", "Its panel shows", [["0", "no error"], ...CODES.map((code) => [String(code), `error ${code}`])]],
  ["consents_as", "Signed in to DingTalk", [["", "the chosen person"], ["ada0001", "Ada Meyer"], ["sam0107", "Sam Rivera"], ["wei0042", "Wei Lan"], ["niko9001", "Niko Virtanen"]]],
  ["callback_parameter", "The code is called", [["authCode", "authCode"], ["code", "code"], ["both", "both"]]],
  ["honours_scope_codes", "Scope codes of a link", [["false", "are ignored: all are asked for"], ["true", "decide what is asked for"]]],
  ["consent_spreads_seconds", "A consent spreads", [["0", "at once"], ["3", "in 3 seconds"], ["15", "in 15 seconds"]]],
  ["refusal_wording", "A refusal's wording", [["old", "old"], ["new", "new, with a link"]]],
  ["access_denied_detail", "It names the scopes", [["true", "in accessdenieddetail"], ["false", "in its message only"]]],
  ["quota_exhausted", "The monthly quota", [["false", "is not used up"], ["true", "is used up"]]],
];
/** Settings of the bot itself, which is started again with them. */
export const BOT_CHOICES = [
  ["DINGTALK_CARD_TEMPLATE_ID", "Its cards are", [["", "plain, with one link"], ["1366a1eb-bc54-4859-ac88-517c56a9acb1.schema", "interactive"]]],
];
export const TOKEN_CHOICES = [
  ["refresh_token_seconds", "Refresh tokens live", [["2592000", "30 days"], ["31622400", "a year"]]],
  ["session_webhook_seconds", "Session webhooks live", [["5400", "90 minutes"], ["30", "30 seconds"]]],
];

/** Returns the path of the link that opens a web address in the client or the browser, as the sandbox is set. */
export const webLink = (address) => `/dingtalkclient/page/link?url=${encodeURIComponent(address)}`;
