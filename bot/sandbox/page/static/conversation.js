// The middle column: the messages of one chat as one person sees them, and the message field.

import { linkAs, post } from "./api.js";
import { callbackValue } from "./card.js";
import { avatar, botAvatar, byId, el, groupAvatar, icon, toast } from "./dom.js";
import { renderMessage, summary } from "./messages.js";
import { bothNames } from "./sidebar.js";
import { SUGGESTIONS } from "../platform.js";

const MENTION = "@Helper";

/** Distance from the end, in pixels, within which a new message scrolls the reader along. */
const NEAR_END = 80;

export function createConversation(model, { switchPerson }) {
  const log = byId("log");
  const field = byId("composer-text");
  const drafts = new Map();

  const nameOf = (openId) => {
    if (openId === model.app.bot_open_id || openId === model.app.app_id) return model.app.name;
    const person = model.person(openId);
    if (!person) return null;
    return model.language === "zh_cn" ? person.name : person.en_name || person.name;
  };
  const mentionWord = () => MENTION.replace("Helper", model.app.name);

  const context = () => ({
    language: model.language,
    viewer: model.viewer,
    timeZone: model.person(model.viewer)?.timezone,
    botId: model.app.bot_open_id,
    nameOf: (openId) => nameOf(openId) ?? "someone",
    person: (openId) => model.person(openId) ?? { name: "?" },
    messageOf: (id) => model.messages.get(id),
    linkFor: (address) => linkAs(model.viewer, address),
    click, recall,
    show: (id) => {
      const node = byId(id);
      node?.scrollIntoView({ block: "center", behavior: "smooth" });
      node?.classList.add("flash");
      setTimeout(() => node?.classList.remove("flash"), 1200);
    },
  });

  async function click(message, element, node) {
    node.setAttribute("aria-busy", "true");
    const viewer = model.viewer;
    try {
      const answer = await post("clicks", {
        person: viewer, message_id: message.message_id, value: callbackValue(element), ...(element.element_id ? { element_id: element.element_id } : {}),
      });
      if (answer.code) toast(`The client shows: something went wrong (${answer.code})`, "error");
      const shown = answer.response?.toast;
      if (shown) toast(shown.i18n?.[model.language] ?? shown.content ?? "", shown.type);
    } catch (problem) {
      toast(problem.message, "error");
    } finally {
      node.removeAttribute("aria-busy");
    }
  }

  async function recall(message) {
    try {
      await post("recall", { message_id: message.message_id });
    } catch (problem) {
      toast(problem.message, "error");
    }
  }

  const nearEnd = () => log.scrollHeight - log.scrollTop - log.clientHeight < NEAR_END;
  const toEnd = () => { log.scrollTop = log.scrollHeight; byId("jump").hidden = true; };

  function emptyChat() {
    const direct = model.currentChat()?.kind === "p2p";
    return el("div", { class: "empty" },
      botAvatar("large"),
      el("h3", {}, direct ? `Say something to ${model.app.name}` : `Ask ${model.app.name} in the group`),
      el("p", {}, direct && outsider() ? `${nameOf(model.viewer)} works for another organization. ${model.app.name} serves only the one that installed it, and says so.` : direct
        ? "It acts as you, with your permissions, and asks for exactly the one it lacks, when it lacks it."
        : `Messages here reach it only when they mention ${mentionWord()}.`),
      el("div", { class: "empty-actions" }, (direct ? SUGGESTIONS.slice(0, 2) : [`${mentionWord()} /agenda`]).map((text) =>
        el("button", { class: "button", type: "button", onclick: () => fill(text) }, text))));
  }

  const outsider = () => model.person(model.viewer)?.tenant_key !== model.app.tenant_key;

  /** Draws the whole chat, after a switch of person or chat. */
  function draw() {
    drawHead();
    const shown = model.visibleMessages();
    log.replaceChildren(...(shown.length
      ? shown.map((message, number) => renderMessage(message, shown[number - 1], context()))
      : [emptyChat()]));
    toEnd();
    model.markRead();
    field.value = drafts.get(draftKey()) ?? "";
    grow();
  }

  function drawHead() {
    const chat = model.currentChat();
    const viewer = model.person(model.viewer);
    const group = chat?.kind === "group";
    byId("chat-avatar").replaceWith(Object.assign(group ? groupAvatar() : botAvatar(), { id: "chat-avatar" }));
    byId("chat-title").textContent = group ? chat.name : model.app.name;
    byId("chat-subtitle").textContent = group
      ? [...chat.members.map((member) => nameOf(member)), model.app.name].join(", ")
      : "Acts in your name";
    byId("person-chip").replaceChildren(avatar(viewer, "small"), el("span", {}, bothNames(viewer)));
    byId("person-chip").setAttribute("aria-label", `You are ${bothNames(viewer)}. Switch person`);
    byId("mention").hidden = !group;
    field.placeholder = group ? `Message the group – mention ${mentionWord()} to ask it` : `Message ${model.app.name} as ${nameOf(model.viewer)}`;
    drawMention();
  }

  /** Draws a new or changed message, and nothing else. */
  function drawMessage(message, isNew) {
    if (!model.isVisible(message)) {
      byId(message.message_id)?.remove();
      return;
    }
    const stay = nearEnd();
    const shown = model.visibleMessages();
    const place = shown.findIndex((entry) => entry.message_id === message.message_id);
    const node = renderMessage(message, shown[place - 1], context());
    const old = byId(message.message_id);
    if (old) {
      if (!isNew) node.classList.add("changed");
      old.replaceWith(node);
    } else {
      log.querySelector(".empty")?.remove();
      node.classList.add("new");
      const next = shown.slice(place + 1).map((entry) => byId(entry.message_id)).find(Boolean);
      log.insertBefore(node, next ?? null);
    }
    const mine = message.sender.open_id === model.viewer;
    if (stay || (isNew && mine)) toEnd();
    else if (isNew) byId("jump").hidden = false;
    if (!mine) {
      const what = isNew ? "" : "changed: ";
      byId("announcer").textContent = `${nameOf(message.sender.open_id) ?? ""}: ${what}${summary(message, context())}`;
    }
    if (document.visibilityState === "visible") model.markRead();
  }

  const draftKey = () => `${model.viewer} ${model.chat}`;
  const mentions = () => field.value.includes(mentionWord());

  function drawMention() {
    const button = byId("mention");
    button.replaceChildren(icon("at"));
    button.setAttribute("aria-pressed", String(mentions()));
    button.setAttribute("aria-label", `Mention ${mentionWord()}`);
    button.title = `Mention ${mentionWord()}`;
  }

  function grow() {
    field.style.height = "auto";
    field.style.height = `${Math.min(field.scrollHeight, 160)}px`;
    byId("send").disabled = !field.value.trim();
    drawMention();
  }

  function fill(text) {
    const chat = model.currentChat();
    field.value = chat?.kind === "group" && !text.includes(mentionWord()) ? `${mentionWord()} ${text}` : text;
    field.focus();
    field.setSelectionRange(field.value.length, field.value.length);
    grow();
  }

  async function send() {
    const text = field.value.trim();
    if (!text) return;
    const [person, chat, mention_bot] = [model.viewer, model.chat, mentions()];
    drafts.delete(draftKey());
    field.value = "";
    grow();
    try {
      const plain = mention_bot ? text.replaceAll(mentionWord(), " ").trim() : text;
      await post("messages", { person, chat_id: chat, text: plain, mention_bot });
    } catch (problem) {
      toast(problem.message, "error");
      if (!field.value) fill(text);
    }
  }

  function bind() {
    byId("send").append(icon("send"));
    byId("jump").addEventListener("click", toEnd);
    log.addEventListener("scroll", () => { if (nearEnd()) byId("jump").hidden = true; });
    byId("composer").addEventListener("submit", (event) => { event.preventDefault(); send(); });
    byId("person-chip").addEventListener("click", switchPerson);
    byId("mention").addEventListener("click", () => {
      if (mentions()) { field.value = field.value.replace(mentionWord(), "").trimStart(); field.focus(); grow(); } else fill(`${mentionWord()} ${field.value}`);
    });
    field.addEventListener("input", () => { drafts.set(draftKey(), field.value); grow(); });
    field.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); send(); }
      if (event.key === "@" && model.currentChat()?.kind === "group" && !mentions()) { event.preventDefault(); fill(`${field.value}${mentionWord()} `); }
    });
    document.addEventListener("click", (event) => {
      for (const open of document.querySelectorAll("details.menu[open]")) if (!open.contains(event.target)) open.open = false;
    });
    byId("chips").replaceChildren(...SUGGESTIONS.map((text) =>
      el("button", { class: "chip", type: "button", onclick: () => fill(text) }, text)));
  }

  return { bind, draw, drawHead, drawMessage, fill };
}
