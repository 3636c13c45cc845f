// The Timeline tab: changes at the platform as they happen, each described in plain language, with its data below.

import { byId, clockTime, el, icon } from "./dom.js";
import { narrate } from "./narration.js";
import { words } from "./card.js";
import { newWords, summary } from "./messages.js";

const LIMIT = 600;
const FOLDED = new Set(["bad", "warn"]);

export function createTimeline(model) {
  const seen = new Set();
  const list = el("ol", { class: "events", "aria-label": "Events, newest last" });
  const noise = el("input", { type: "checkbox", id: "show-noise", onchange: () => list.classList.toggle("with-noise", noise.checked) });
  const scroller = el("div", { class: "panel-scroll", tabindex: "0" }, el("div", { class: "empty-panel", id: "timeline-empty" },
    icon("timeline"), el("h3", {}, "Nothing yet"),
    el("p", {}, "Send a message: each request, refusal, card, consent and retry appears here as it happens.")), list);

  const name = (openId) => {
    if (!openId) return null;
    if (openId === model.app.bot_open_id) return model.app.name;
    const person = model.person(openId);
    return person ? person.en_name || person.name : null;
  };
  const context = { language: "en_us", nameOf: name, botId: model.app.bot_open_id };
  const names = {
    who: name,
    audience: (message) => {
      const chat = model.chats.find((entry) => entry.chat_id === message.chat_id);
      return chat?.kind === "group" ? `“${chat.name}”` : name(chat?.members[0]) ?? "a person";
    },
    isPerson: (identity) => Boolean(model.person(identity)),
    summary: (message) => summary(message, context),
    words: (text) => words(text, context.language),
    /** The sender of the message that this one answers. */
    asker: (message) => name(model.messages.get(message.reply_to)?.sender.open_id) ?? "a message",
    /** The owner of a card: its only reader, the person it answers, or the chat it is in. */
    owner: (message) => {
      const asked = model.messages.get(message.reply_to)?.sender.open_id;
      const alone = message.ephemeral_for ?? (asked === model.app.bot_open_id ? null : asked);
      return alone ? `${name(alone)}'s` : `${names.audience(message)}'s`;
    },
    news: (message, before) => newWords(message.content, before, context.language),
    recalled: (messageId) => {
      const message = model.messages.get(messageId);
      if (!message) return "A message was recalled";
      return message.sender.type === "bot" ? `The bot took back “${summary(message, { ...context, recalled: true })}”` : `${name(message.sender.open_id)} recalled a message`;
    },
  };

  function draw() {
    byId("timeline").replaceChildren(
      el("div", { class: "panel-tools" },
        el("label", { class: "check" }, noise, el("span", {}, "Every request")),
        el("button", { class: "button quiet small", type: "button", onclick: () => { list.replaceChildren(); byId("timeline-empty").hidden = false; } }, "Clear")),
      scroller);
  }

  let follow = true;
  scroller.addEventListener("scroll", () => {
    if (scroller.clientHeight) follow = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < 60;
  });
  const toEnd = () => { if (follow) scroller.scrollTop = scroller.scrollHeight; };

  function add(change) {
    const described = narrate(change, names, seen);
    if (!described) return;
    byId("timeline-empty").hidden = true;
    if (!folded(described, change)) insert(described.heading ? heading(described, change) : entry(described, change), change.place);
    while (list.childElementCount > LIMIT) list.firstElementChild.remove();
    toEnd();
  }

  /** Inserts by the time of beginning: a request is announced at its end, and stands above its effects. */
  function insert(node, place) {
    node.dataset.place = String(place);
    let above = list.lastElementChild;
    while (above && Number(above.dataset.place) > place) above = above.previousElementSibling;
    if (above) above.after(node);
    else list.prepend(node);
  }

  /** Counts a repeated failure in its entry, so that an outage does not displace all other entries. */
  function folded(described, change) {
    if (!FOLDED.has(described.tone) || described.heading) return false;
    const latest = [...list.children].findLast((node) => node.classList.contains("noise") === Boolean(described.noise));
    if (latest?.dataset.words !== described.words) return false;
    const times = Number(latest.dataset.times ?? 1) + 1;
    latest.dataset.times = String(times);
    latest.querySelector(".event-times").textContent = `× ${times}`;
    latest.querySelector(".event-detail")?.replaceChildren(described.detail ?? "");
    latest.querySelector("time").textContent = clockTime(change.at, true);
    return true;
  }

  const heading = (described, change) => el("li", { class: "story" },
    el("span", { class: "story-who" }, described.words), el("q", {}, described.quote),
    el("time", {}, clockTime(change.at, true)));

  function entry(described, change) {
    const { kind, at, sequence, ...rest } = change;
    return el("li", { class: described.noise ? "event noise" : "event", data: { tone: described.tone, kind, words: described.words } },
      el("details", {},
        el("summary", {},
          el("span", { class: "event-icon" }, icon(described.icon)),
          el("span", { class: "event-words" }, el("span", { class: "event-title" }, described.words, " ", el("span", { class: "event-times" })),
            described.detail ? el("span", { class: "event-detail" }, described.detail) : null),
          el("span", { class: "event-meta" }, el("time", {}, clockTime(at, true)),
            described.ms === undefined || described.ms === null ? null : el("span", {}, described.ms < 1 ? "<1 ms" : `${Math.round(described.ms)} ms`))),
        el("pre", { class: "source", tabindex: "0" }, JSON.stringify(rest, null, 2))));
  }

  /** `watch(true)`: the tab has become visible; scrolls to what was added meanwhile. */
  return { draw, add, watch: (visible) => { if (visible) toEnd(); } };
}
