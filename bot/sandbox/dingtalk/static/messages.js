// Messages and cards as DingTalk's client draws them: text, Markdown, links, action cards, feed cards, interactive cards.

import { el, externalLink, icon, webAddress } from "/sandbox/static/dom.js";
import { markdown } from "/sandbox/static/markdown.js";

// The page scrolls to its newest message once, so it must not be drawn without its styles.
await new Promise((resolve) => {
  document.head.append(el("link", { rel: "stylesheet", href: "/sandbox/dingtalk/static/messages.css", onload: resolve, onerror: resolve }));
});

const CLIENT_LINK = "dingtalk://dingtalkclient/";

/** Returns the web address behind a link; those of the client itself are served by the sandbox. */
function addressOf(text) {
  const link = String(text ?? "");
  return webAddress(link.startsWith(CLIENT_LINK) ? `${location.origin}/dingtalkclient/${link.slice(CLIENT_LINK.length)}` : link);
}

/** Returns a message in one form: kind, title, text, and buttons as {title, url} or {title, value}. */
function normal({ msg_type: type, content }) {
  const { title = "", text = "" } = content;
  switch (type) {
    case "text": case "sampleText": return { kind: "text", text: content.content ?? "" };
    case "markdown": case "sampleMarkdown": return { kind: "markdown", title, text };
    case "link": case "sampleLink": return { kind: "link", title, text, url: content.messageUrl };
    case "actionCard": return { kind: "actionCard", title, text, across: content.btnOrientation === "1", buttons: sessionButtons(content) };
    case "feedCard": return { kind: "feedCard", links: content.links ?? [] };
    case "richText": return { kind: "text", text: (content.richText ?? []).map((part) => part.text ?? "[picture]").join("") };
    case "card": return { kind: "card" };
    default: return type.startsWith("sampleActionCard")
      ? { kind: "actionCard", title, text, across: type === "sampleActionCard6", buttons: sampleButtons(content) }
      : { kind: "other", text: `[${type}]` };
  }
}

function sessionButtons({ singleTitle, singleURL, btns = [] }) {
  if (singleTitle) return [{ title: singleTitle, url: singleURL }];
  return btns.map(({ title, actionURL }) => ({ title, url: actionURL }));
}

function sampleButtons(content) {
  if (content.singleTitle) return [{ title: content.singleTitle, url: content.singleURL }];
  return [1, 2, 3, 4, 5].map((n) => ({
    title: content[`actionTitle${n}`] ?? content[`buttonTitle${n}`], url: content[`actionURL${n}`] ?? content[`buttonUrl${n}`],
  })).filter(({ title }) => title);
}

export const isCard = (message) => ["actionCard", "feedCard", "card"].includes(normal(message).kind);

/** Summarizes a message in one line. */
export function summarize(message, context) {
  const shown = normal(message);
  if (shown.kind === "card") {
    const data = dataFor(message.content, context.viewer);
    return (data.title || firstText(data) || "a card").slice(0, 140);
  }
  const mention = message.content.mentions_bot ? `@${context.nameOf(context.botId)} ` : "";
  return `${mention}${shown.title || shown.text || shown.links?.[0]?.title || ""}`.replace(/[*`#>]/g, "").slice(0, 140);
}

/** Returns the first text of an interactive card that is new, or null. */
export function changedWords(content, before) {
  const fresh = Object.entries(content.data ?? {}).find(([name, value]) => value && !isJson(value) && before.data?.[name] !== value);
  return fresh ? `“${fresh[1].replace(/[*`#>]/g, "").slice(0, 140)}”` : null;
}

const isJson = (value) => /^\s*[[{]/.test(value);
const firstText = (data) => Object.values(data).find((value) => value && !isJson(value));

export function renderBody(message, context) {
  const shown = normal(message);
  switch (shown.kind) {
    case "text": return el("div", { class: "bubble" }, el("p", { class: "plain" },
      message.content.mentions_bot ? el("span", { class: "mention" }, `@${context.nameOf(context.botId)}`) : null,
      message.content.mentions_bot ? " " : null, withLinks(shown.text, context)));
    case "markdown": return el("div", { class: "bubble" }, markdown(shown.text, inClient(context)));
    case "link": return linkMessage(shown, context);
    case "actionCard": return actionCard(shown, context);
    case "feedCard": return el("div", { class: "card dt-card" }, shown.links.map((link) => rowLink(link.title, link.messageURL, context)));
    case "card": return interactiveCard(message, context);
    default: return el("div", { class: "bubble" }, el("p", { class: "card-unknown" }, `This client cannot show a “${message.msg_type}” message.`));
  }
}

/** Links inside Markdown go through the same translation as buttons. */
const inClient = (context) => ({ ...context, linkFor: (address) => context.linkFor(addressOf(address) ?? address) });

function withLinks(text, context) {
  return String(text).split(/((?:https?|dingtalk):\/\/[^\s<>]+)/).filter(Boolean).map((part) => {
    const address = /^(https?|dingtalk):\/\//.test(part) ? addressOf(part) : null;
    return address ? externalLink(context.linkFor(address), {}, part) : part;
  });
}

function linkMessage({ title, text, url }, context) {
  const address = addressOf(url);
  const inside = [el("h3", {}, title), el("p", {}, text)];
  return el("div", { class: "card dt-card dt-link" }, address ? externalLink(context.linkFor(address), {}, inside) : inside);
}

function rowLink(title, url, context) {
  const address = addressOf(url);
  return address ? externalLink(context.linkFor(address), { class: "dt-button" }, title) : el("span", { class: "dt-button" }, title);
}

function actionCard({ title, text, across, buttons }, context) {
  // Clients show the title in the list of chats only; most texts begin with it as a heading.
  return el("div", { class: "card dt-card" },
    el("div", { class: "dt-body" }, text ? markdown(text, inClient(context)) : el("h3", {}, title)),
    el("div", { class: `dt-buttons ${across ? "across" : ""}` }, buttons.map((button) => rowLink(button.title, button.url, context))));
}

// Interactive cards. A template's layout is not part of the API; this one shows a title, Markdown, a status line and the
// buttons of `sys_full_json_obj` or of variables whose values are lists of buttons.

const dataFor = (content, viewer) => ({ ...content.data, ...content.private?.[viewer] });

function parsed(value) {
  try {
    return JSON.parse(value);
  } catch {
    return null;
  }
}

/** Returns the buttons of a card: lists of objects with a text, wherever its variables hold them. */
function buttonsOf(data) {
  const found = [];
  for (const value of Object.values(data)) {
    const list = isJson(value) ? parsed(value) : null;
    for (const each of Array.isArray(list) ? [list] : Object.values(list ?? {})) {
      if (Array.isArray(each)) found.push(...each.filter((button) => button?.text ?? button?.title));
    }
  }
  return [...found, ...numberedButtons(data)];
}

/** Returns the buttons of variables with a number: button1_text, button1_url, button1_action. */
function numberedButtons(data) {
  return [1, 2, 3].map((n) => ({
    text: data[`button${n}_text`], url: data[`button${n}_url`], action: data[`button${n}_action`] ?? data[`button${n}_id`],
  })).filter(({ text }) => text);
}

function interactiveCard(message, context) {
  const data = dataFor(message.content, context.viewer);
  const buttons = buttonsOf(data);
  const status = data.status || data.tips;
  const named = new Set(["title", "status", "tips", "markdown", "text", "content"]);
  const rest = Object.entries(data).filter(([name, value]) => !named.has(name) && !/^button\d/.test(name) && value && !isJson(value) && !/^(https?|dingtalk):/.test(value) && /\s|[\u4e00-\u9fff]/.test(value));
  const text = data.markdown || data.text || data.content;
  return el("div", { class: "card dt-card" },
    data.title ? el("header", { class: "dt-title" }, el("h3", {}, data.title)) : null,
    el("div", { class: "dt-body" }, text ? markdown(text, inClient(context)) : null,
      rest.map(([, value]) => markdown(value, inClient(context))),
      status ? el("p", { class: "dt-status" }, icon("dot"), status) : null),
    buttons.length ? el("div", { class: "dt-buttons" }, buttons.map((button) => cardButton(message, button, context))) : null);
}

function cardButton(message, button, context) {
  const label = button.text ?? button.title;
  const url = button.url || button.pcUrl || button.iosUrl || button.androidUrl;
  const address = url ? addressOf(url) : null;
  if (address) return externalLink(context.linkFor(address), { class: "dt-button", data: { colour: button.color ?? "" } }, label);
  if (button.disabled || button.status === "disabled") return el("button", { type: "button", class: "dt-button", "aria-disabled": "true" }, label);
  const params = { ...button.params };
  const id = button.actionId ?? button.action ?? button.id ?? params.action ?? "button";
  const value = { actionIds: [String(id)], params, text: label };
  const node = el("button", { type: "button", class: "dt-button", onclick: () => context.click(message, { value }, node) }, label);
  return node;
}
