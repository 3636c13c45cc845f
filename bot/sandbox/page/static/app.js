// Starts the chat page: reads the platform's state, follows its changes and updates the columns.

import { follow, get, post } from "./api.js";
import { createConversation } from "./conversation.js";
import { createDatabase } from "./database.js";
import { botAvatar, byId, el, fill, icon, toast } from "./dom.js";
import { createModel } from "./model.js";
import { renderChats, renderGuide, renderPeople } from "./sidebar.js";
import { createTimeline } from "./timeline.js";
import { createTrouble } from "./trouble.js";
import { STORIES } from "../platform.js";

const VIEWS = [["people", "people", "People"], ["chat", "chat", "Chat"], ["timeline", "timeline", "Timeline"],
  ["database", "database", "Database"], ["trouble", "trouble", "Trouble"]];
const PANELS = ["timeline", "database", "trouble"];
const BOT_MS = 2000;
const SLOW_START_MS = 1500;

const remembered = (name) => sessionStorage.getItem(`sandbox.${name}`);
const remember = (name, value) => sessionStorage.setItem(`sandbox.${name}`, value);

async function start() {
  const model = createModel(await get("state"));
  const greeted = new Set();
  const conversation = createConversation(model, { switchPerson: nextPerson });
  const timeline = createTimeline(model);
  const database = createDatabase();
  const trouble = createTrouble(model);
  const narrow = matchMedia("(max-width: 820px)");

  document.title = `${model.app.name} · sandbox`;
  byId("brand-name").textContent = model.app.name;
  fill(byId("brand-avatar"), icon("bot"));
  byId("widen").append(icon("wide"));

  function drawSides() {
    renderPeople(model, switchTo);
    renderChats(model, openChat);
    const elsewhere = model.people.reduce((sum, person) => sum + model.unreadOf(person.open_id), 0);
    for (const dot of document.querySelectorAll("[data-unread]")) dot.hidden = elsewhere === 0;
  }

  /** Switches to a person and signs the browser in as them, for the consent page and links. */
  function switchTo(openId, chatId) {
    model.viewer = openId;
    remember("person", openId);
    fetch(`/sandbox/login?person=${encodeURIComponent(openId)}`, { redirect: "manual" }).catch(() => {});
    const chats = model.chatsOf(openId);
    openChat(chats.some((chat) => chat.chat_id === chatId) ? chatId : chats[0]?.chat_id);
    trouble.drawFor();
  }

  function openChat(chatId) {
    model.chat = chatId;
    remember("chat", chatId);
    // First, because what is hidden has no size to measure.
    if (narrow.matches) show("chat");
    conversation.draw();
    drawSides();
    enter();
  }

  /** Tells the bot that a person has opened an empty direct chat for the first time, as the platform does. */
  function enter() {
    const chat = model.currentChat();
    if (chat?.kind !== "p2p" || greeted.has(model.viewer) || model.visibleMessages().length || !botRuns) return;
    greeted.add(model.viewer);
    post("enter", { person: model.viewer }).catch((problem) => toast(problem.message, "error"));
  }

  function nextPerson() {
    if (narrow.matches) { show("people"); return; }
    document.querySelector("#people [aria-current]")?.focus();
  }

  /** Selects the column that a phone shows, and the tab of the side panel. */
  function show(view) {
    byId("shell").dataset.view = view;
    for (const button of document.querySelectorAll("#tabbar button")) {
      button.toggleAttribute("aria-current", false);
      if (button.dataset.view === view) button.setAttribute("aria-current", "page");
    }
    if (PANELS.includes(view)) showPanel(view);
    else if (narrow.matches) { database.watch(false); trouble.watch(false); }
  }

  function showPanel(panel) {
    remember("panel", panel);
    for (const name of PANELS) {
      const selected = name === panel;
      byId(name).hidden = !selected;
      byId(`tab-${name}`).setAttribute("aria-selected", String(selected));
      byId(`tab-${name}`).tabIndex = selected ? 0 : -1;
    }
    database.watch(panel === "database");
    trouble.watch(panel === "trouble");
    timeline.watch(panel === "timeline");
  }

  function bindTabs() {
    for (const panel of PANELS) byId(`tab-${panel}`).addEventListener("click", () => showPanel(panel));
    byId("tabs").addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      const at = PANELS.findIndex((panel) => byId(`tab-${panel}`).tabIndex === 0);
      const next = PANELS[(at + step + PANELS.length) % PANELS.length];
      showPanel(next);
      byId(`tab-${next}`).focus();
    });
    fill(byId("tabbar"), ...VIEWS.map(([view, glyph, label]) => el("button", {
      type: "button", data: { view }, onclick: () => show(view),
    }, el("span", { class: "tabbar-icon" }, icon(glyph), view === "people" ? el("span", { class: "unread-dot", data: { unread: "" }, hidden: true }) : null), el("span", {}, label))));
    byId("widen").addEventListener("click", (event) => {
      const wide = byId("shell").classList.toggle("wide");
      event.currentTarget.setAttribute("aria-pressed", String(wide));
    });
  }

  /** Follows a link of the platform in the fragment: to a person's chat with the bot, or to the switches of scopes. */
  function followLink() {
    const wanted = new URLSearchParams(location.hash.slice(1));
    if (!wanted.size) return;
    history.replaceState(null, "", location.pathname);
    if (model.person(wanted.get("person"))) switchTo(wanted.get("person"), model.directChat(wanted.get("person"))?.chat_id);
    if (wanted.has("scopes")) {
      show("trouble");
      trouble.find(wanted.get("scopes"));
    }
  }

  function startStory(story) {
    const person = model.personNamed(story.who) ?? model.people[0];
    const chat = model.chatsOf(person.open_id).find((entry) => entry.kind === (story.chat ?? "p2p"));
    switchTo(person.open_id, chat?.chat_id);
    if (story.panel && !narrow.matches) showPanel(story.panel);
    conversation.fill(story.say);
  }

  // The stream of changes

  let waiting = null;
  /** Reads scopes, grants, people and faults again, at most a few times a second. */
  function refreshSoon() {
    clearTimeout(waiting);
    waiting = setTimeout(() => {
      // A failure shows in the lamp beside the bot's name.
      get("state").then((state) => {
        model.refresh(state);
        trouble.refresh();
      }, () => {});
    }, 120);
  }

  function onChange(change) {
    switch (change.kind) {
      case "message":
        model.put(change.message, true);
        conversation.drawMessage(change.message, true);
        drawSides();
        break;
      case "message_updated": case "reaction":
        model.put(change.message, false);
        conversation.drawMessage(change.message, false);
        break;
      case "message_recalled": {
        const message = model.recall(change.message_id);
        if (message) conversation.drawMessage(message, false);
        break;
      }
      case "request": case "event": case "bot": break;
      default: refreshSoon();
    }
    timeline.add(change);
  }

  // The bot's process

  let botRuns = false;
  let startingSince = null;
  async function refreshBot() {
    let status;
    try {
      status = await get("bot");
    } catch {
      status = { state: "unreachable", words: "The sandbox does not answer. Is it still running?" };
    }
    const was = botRuns;
    botRuns = status.state === "ready";
    const lamp = byId("bot-status");
    lamp.dataset.status = status.state;
    byId("bot-status-text").textContent = { ready: "running", starting: "starting…", stopped: "stopped", failed: "did not start", external: "started elsewhere", unreachable: "sandbox is gone" }[status.state] ?? status.state;
    const banner = byId("banner");
    startingSince = status.state === "starting" ? startingSince ?? Date.now() : null;
    const slow = startingSince !== null && Date.now() - startingSince >= SLOW_START_MS;
    const quiet = ["ready", "external"].includes(status.state) || (startingSince !== null && !slow);
    banner.hidden = quiet;
    if (!quiet && banner.dataset.words !== status.words) {
      banner.dataset.words = status.words;
      fill(banner, icon("warning"), el("div", {}, el("strong", {}, status.words),
        status.state === "failed" && status.log?.length ? el("pre", { class: "source" }, status.log.slice(-5).join("\n")) : null),
      slow || status.state === "unreachable" ? null : el("button", { class: "button small", type: "button", onclick: () => post("bot", { action: "start" }).then(refreshBot).catch((problem) => toast(problem.message, "error")) }, "Start it"));
    }
    if (botRuns && !was) enter();
  }

  /** Shows the introduction until it is closed. */
  function introduce() {
    const intro = byId("intro");
    intro.hidden = remembered("introduced") === "yes";
    const done = () => { remember("introduced", "yes"); intro.hidden = true; };
    fill(intro,
      el("p", {}, "An emulated tenant, a real bot.", el("span", {}, " Nothing here reaches a real account.")),
      el("button", { class: "button small", type: "button", onclick: () => { startStory(STORIES[0]); done(); } }, "Start here"),
      el("button", { class: "icon-button", type: "button", "aria-label": "Hide this line", onclick: done }, icon("close")));
  }

  byId("brand-avatar").replaceWith(Object.assign(botAvatar(), { id: "brand-avatar" }));
  introduce();
  bindTabs();
  conversation.bind();
  timeline.draw();
  database.draw();
  trouble.draw();
  renderGuide(startStory);
  showPanel(PANELS.includes(remembered("panel")) ? remembered("panel") : "timeline");
  switchTo(model.person(remembered("person"))?.open_id ?? (model.personNamed("Sam") ?? model.people[0]).open_id, remembered("chat"));
  show("chat");
  followLink();
  addEventListener("hashchange", followLink);
  follow(model.sequence, replayThen(onChange, model.sequence, timeline));
  refreshBot();
  setInterval(() => { if (document.visibilityState === "visible") refreshBot(); }, BOT_MS);
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "visible") { model.markRead(); drawSides(); refreshBot(); }
  });
}

/** Passes changes from before the page was loaded to the timeline only: the state already has their effects. */
function replayThen(onChange, loadedAt, timeline) {
  return (change, sequence) => (sequence <= loadedAt ? timeline.add(change) : onChange(change));
}

start().catch((problem) => {
  byId("banner").hidden = false;
  fill(byId("banner"), icon("warning"), el("strong", {}, `The sandbox could not be read: ${problem.message}`));
});
