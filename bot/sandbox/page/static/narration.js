// Describes changes at the platform in plain language: takes a change, returns {icon, tone, words, noise}. No DOM here.

import { API_CALLS, BROWSER_PATHS, DEVICE_WAITS, EVENTS, isCard, NOT_ENABLED, RATE_LIMITED, REFUSED, REQUESTS, shortPath, TOKEN_CODES } from "../platform.js";

const INFINITIVES = {
  fetched: "fetch", asked: "ask", looked: "look", exchanged: "exchange", refreshed: "refresh", ended: "end", answered: "answer", sent: "send",
  changed: "change", added: "add", removed: "remove", edited: "edit", took: "take", updated: "update",
};
const infinitive = (words) => words.replace(/^\w+/, (verb) => INFINITIVES[verb] ?? verb);

const duration = (seconds) => (seconds < 60 ? `${seconds} seconds` : seconds < 3600 ? `${seconds / 60} minutes` : seconds === 3600 ? "an hour" : `${seconds / 3600} hours`);
const NOT_WHOLE = { truncate: "cut off its answer to", html: "sent a web page in answer to", drop_after: "lost its answer to" };

const list = (scopes) => (scopes ?? []).join(", ");
const alternatives = (scopes) => (scopes.length > 1 ? `${scopes[0]} (or another of ${scopes.length}) is missing` : `${scopes[0]} is missing`);

/**
 * `names`: who(open_id), audience(message), asker(message), owner(message), summary(message), news(message, before),
 * recalled(id), words(text), isPerson(identity). `seen`: a Set of refused calls, by which a retry is recognized.
 */
export function narrate(change, names, seen) {
  const describe = DESCRIPTIONS[change.kind];
  return describe ? describe(change, names, seen) : null;
}

const DESCRIPTIONS = {
  message: ({ message }, names) => {
    if (message.sender.type !== "bot") return { heading: true, words: `${names.who(message.sender.open_id)} asked`, quote: names.summary(message) };
    const card = isCard(message);
    const seen = message.ephemeral_for ? `, which only ${names.who(message.ephemeral_for)} sees` : "";
    const action = message.reply_to ? `answered ${names.asker(message)}${seen}` : `sent ${names.audience(message)} ${card ? "a card" : "a message"}${seen}`;
    return { icon: card ? "card" : "chat", tone: card ? "card" : "plain", words: `The bot ${action}`, detail: `“${names.summary(message)}”` };
  },
  message_updated: ({ message, before }, names) => isCard(message)
    ? { icon: "card", tone: "card", words: `${names.owner(message)} card updated: “${names.summary(message)}”`, detail: names.news(message, before) }
    : { icon: "chat", tone: "plain", words: "The bot edited a message", detail: `“${names.summary(message)}”` },
  reaction: ({ message, reaction, added }, names) => ({
    icon: "chat", tone: "plain",
    words: `The bot ${added ? "marked" : "unmarked"} a message of ${names.who(message.sender.open_id)}: ${reaction.reaction_type.emoji_type}`,
    detail: `“${names.summary(message)}”`,
  }),
  message_recalled: (change, names) => ({ icon: "block", tone: "plain", words: names.recalled(change.message_id) }),
  event: (change, names) => {
    const what = EVENTS[change.type] ?? change.type;
    const attempt = change.attempt > 1 ? ` (attempt ${change.attempt})` : "";
    const described = { detail: [change.type, change.status, change.problem].filter(Boolean).join(" · "), ms: change.ms };
    const button = change.button ? names.words(change.button) : null;
    if (change.ok && button) return { ...described, icon: "arrow-in", tone: "in", words: `${names.who(change.person)} pressed “${button}”` };
    if (change.ok) return { ...described, icon: "arrow-in", tone: "in", words: `The bot was told of ${what}${attempt}` };
    const next = change.type === "card.action.trigger" ? "clicks are not repeated" : change.again_in ? `the platform tries again in ${duration(change.again_in)}` : "the platform gives up";
    return { ...described, icon: "warning", tone: "bad", words: `The bot did not take ${what}${attempt}; ${next}` };
  },
  request: narrateRequest,
  consent: (change, names) => {
    const who = names.who(change.person) ?? "Somebody";
    const what = list(change.scopes) || "to be signed in";
    if (change.event === "allowed") return { icon: "unlock", tone: "good", words: `${who} allowed ${what}` };
    if (change.event === "refused") return { icon: "block", tone: "warn", words: `${who} refused ${what}` };
    if (change.error) return { icon: "warning", tone: "bad", words: `The consent page shows error ${change.error}` };
    return { icon: "lock", tone: "violet", words: `${who} opened the consent page`, detail: list(change.scopes) };
  },
  token: (change, names) => {
    const who = names.who(change.person) ?? "a person";
    const expired = change.access && change.refresh ? "tokens were" : `${change.refresh ? "refresh" : "access"} token was`;
    const words = {
      issued: `The platform issued a token for ${who}`, refreshed: `The platform renewed ${who}'s token`,
      revoked: `${who}'s token was revoked`, expired: `${who}'s ${expired} made to expire`,
    }[change.event] ?? `${who}'s token: ${change.event}`;
    const fresh = change.event === "issued" || change.event === "refreshed";
    return { icon: change.event === "refreshed" ? "refresh" : "key", tone: fresh ? "violet" : "warn", words, detail: list(change.scopes) };
  },
  scope: (change, names) => change.scope
    ? { icon: "shield", tone: "plain", words: `The app's ${change.scope} is now ${change.user ? "enabled" : "disabled"} for users` }
    : { icon: "shield", tone: "plain", words: `What ${names.who(change.person) ?? "a person"} granted changed`, detail: list(change.granted), noise: true },
  fault: (change) => {
    if (change.event === "struck") return { icon: "trouble", tone: "warn", words: `Fault applied: ${faultName(change)}`, detail: change.path, noise: !BROWSER_PATHS.test(change.path) };
    if (change.event === "added") return { icon: "trouble", tone: "warn", words: `Fault on: ${faultName(change)}` };
    return { icon: "trouble", tone: "plain", words: change.fault ? `Fault off: ${faultName(change)}` : "All faults off" };
  },
  bot: (change) => ({ icon: "power", tone: change.running ? "good" : "bad", words: change.words }),
};

const faultName = ({ fault }) => String(fault).replace("_", " ");
const faultOf = (change) => (change.fault ? `your fault “${faultName(change)}”` : null);

function requestOf({ method, path, grant_type }) {
  const known = REQUESTS.find(([verb, pattern]) => verb === method && pattern.test(path));
  if (!known) return null;
  const [, , words, look] = known;
  if (grant_type === "refresh_token") return { words: "refreshed a token", icon: "refresh" };
  return { words, ...look };
}

function narrateRequest(change, names, seen) {
  const asPerson = names.isPerson(change.identity);
  const who = asPerson ? names.who(change.identity) : null;
  const call = `${change.method} ${change.path}`;
  const line = `${change.method} ${shortPath(change.path)}`;
  const status = [change.status, change.code ? `code ${change.code}` : null].filter(Boolean).join(" · ");
  const described = { detail: [`${line} → ${status || "no answer"}`, faultOf(change)].filter(Boolean).join(" · "), ms: change.ms, who: asPerson ? change.identity : null };
  const scopes = change.scopes_refused;

  if (NOT_WHOLE[change.fault]) return { ...described, icon: "warning", tone: "bad", words: `The platform ${NOT_WHOLE[change.fault]} the bot` };
  if (!change.status) return { ...described, icon: "warning", tone: "bad", words: "The platform did not answer the bot" };
  if (change.code === REFUSED) {
    seen.add(`${change.identity} ${call}`);
    return { ...described, icon: "lock", tone: "bad", words: `The platform refused: ${scopes.length ? alternatives(scopes) : "a permission is missing"}` };
  }
  if (change.code === NOT_ENABLED) {
    return { ...described, icon: "block", tone: "bad", words: `The app itself lacks ${scopes.length ? list(scopes) : "a permission"}; only an administrator can help` };
  }
  if (change.code === RATE_LIMITED) return { ...described, icon: "clock", tone: "warn", words: "The platform said: slow down" };
  if (TOKEN_CODES.has(change.code)) return { ...described, icon: "clock", tone: "warn", words: asPerson ? `${who}'s token was rejected` : "The token was rejected" };
  if (DEVICE_WAITS.has(change.code)) return { ...described, icon: "clock", tone: "plain", words: "The bot asked whether the code was confirmed: not yet", noise: true };
  const request = requestOf(change);
  const whose = who ? ` as ${who}` : "";
  if (change.status === 404 && change.code === null) return { ...described, icon: "warning", tone: "bad", words: "The platform does not know this address" };
  if (change.status >= 500) return { ...described, icon: "warning", tone: "bad", words: `The platform failed with ${change.status}` };
  if (request && (change.code || change.status >= 400)) return { ...described, icon: "warning", tone: "warn", words: `The platform did not let the bot ${infinitive(request.words)} (${change.code || change.status})` };
  if (request) return { ...described, icon: request.icon, tone: "plain", words: `The bot ${request.words}`, noise: request.noise };
  if (change.code || change.status >= 400) {
    return { ...described, icon: "warning", tone: "warn", words: `The platform refused: ${change.code ? `code ${change.code}` : `HTTP ${change.status}`}${whose}` };
  }

  const again = seen.delete(`${change.identity} ${call}`);
  const subject = API_CALLS.find(([pattern]) => pattern.test(change.path))?.[1];
  const action = (typeof subject === "object" ? subject[change.method] : subject) ?? `called ${line}`;
  return { ...described, icon: again ? "refresh" : "check", tone: "good", words: `${again ? "Tried again: the" : "The"} bot ${action}${whose}` };
}
