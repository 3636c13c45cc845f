// One message as a DOM node: text, rich text (post) or card, recalled or not, with the quote of what it answers.

import { cardTitle, renderCard, words } from "./card.js";
import { avatar, botAvatar, clockTime, el, externalLink, icon, showDialog, webAddress } from "./dom.js";
import { markdown, mention } from "./markdown.js";
import * as platform from "../platform.js";

/** Returns a post in the viewer's language; a post may also have no languages. */
function postIn(content, language) {
  if (Array.isArray(content.content)) return content;
  return content[language] ?? content.en_us ?? content.zh_cn ?? Object.values(content).find((part) => part?.content) ?? { content: [] };
}

function postNode(tag, context) {
  switch (tag.tag) {
    case "text": return styled(el("span", {}, tag.text ?? ""), tag.style);
    case "a": {
      const address = webAddress(tag.href);
      return styled(address ? externalLink(context.linkFor(address), {}, tag.text ?? address) : el("span", {}, tag.text ?? ""), tag.style);
    }
    case "at": return mention(tag.user_id, tag.user_name, context);
    case "img": return el("span", { class: "card-image" }, icon("image"), el("span", {}, "Image"));
    case "media": return el("span", { class: "card-image" }, icon("image"), el("span", {}, "Video"));
    case "emotion": return el("span", {}, `[${tag.emoji_type ?? "emoji"}]`);
    case "hr": return el("hr");
    case "code_block": return el("pre", { tabindex: "0" }, el("code", {}, tag.text ?? ""));
    case "md": return markdown(tag.text, context);
    default: return el("span", { class: "card-unknown" }, `[${tag.tag}]`);
  }
}

const STYLES = { bold: "bold", italic: "italic", underline: "underline", lineThrough: "struck" };

function styled(node, style) {
  for (const name of style ?? []) if (STYLES[name]) node.classList.add(STYLES[name]);
  return node;
}

function renderPost(content, context) {
  const part = postIn(content, context.language);
  return el("div", { class: "post markdown" },
    part.title ? el("p", { class: "post-title" }, part.title) : null,
    (part.content ?? []).map((line) => {
      const block = line.some((tag) => ["md", "hr", "code_block"].includes(tag.tag));
      return el(block ? "div" : "p", {}, line.map((tag) => postNode(tag, context)));
    }));
}

const AT_TAG = /<at user_id="([^"]+)">([^<]*)<\/at>/g;
const AT_KEY = /@_user_\d+|@_all/g;

function renderText(message, context) {
  const text = String(message.content.text ?? "");
  const mentions = new Map((message.mentions ?? []).map((entry) => [entry.key, entry]));
  const nodes = [];
  let at = 0;
  const found = [...text.matchAll(AT_TAG), ...text.matchAll(AT_KEY)].sort((a, b) => a.index - b.index);
  for (const match of found) {
    nodes.push(...withLinks(text.slice(at, match.index), context));
    const entry = mentions.get(match[0]);
    nodes.push(match[1] ? mention(match[1], match[2], context) : mention(entry?.id?.open_id ?? entry?.id ?? context.botId, entry?.name, context));
    at = match.index + match[0].length;
  }
  nodes.push(...withLinks(text.slice(at), context));
  return el("p", { class: "plain" }, nodes);
}

function withLinks(text, context) {
  return text.split(/(https?:\/\/[^\s<>]+)/).filter(Boolean).map((part) => {
    const address = /^https?:\/\//.test(part) ? webAddress(part) : null;
    return address ? externalLink(context.linkFor(address), {}, part) : part;
  });
}

/** Yields every text of a card or post, in reading order. */
function* texts(content, language) {
  if (Array.isArray(content)) for (const part of content) yield* texts(part, language);
  else if (content && typeof content === "object") {
    const shown = words(content, language);
    if (shown) yield shown;
    for (const [name, part] of Object.entries(content)) if (!WORDINGS.has(name)) yield* texts(part, language);
  }
}

const WORDINGS = new Set(["content", "i18n_content", "i18n", "value", "behaviors"]);

/** Returns the first text of a card that is new, or null if only its appearance changed. */
export function newWords(content, before, language) {
  if (platform.changedWords) return platform.changedWords(content, before);
  const known = new Set(texts(before, language));
  const fresh = [...texts({ ...content, header: null }, language)].find((text) => !known.has(text));
  return fresh ? `“${fresh.replace(/[*`#>]/g, "").slice(0, 140)}”` : null;
}

/** Summarizes a message in one line. */
export function summary(message, context) {
  if (message.recalled && !context.recalled) return "a recalled message";
  if (platform.summarize) return platform.summarize(message, context);
  if (message.msg_type === "interactive") return cardTitle(message.content, context.language);
  if (message.msg_type === "post") {
    const part = postIn(message.content, context.language);
    const words = (part.content ?? []).flat().map((tag) => tag.text ?? "").join(" ");
    return (part.title || words).slice(0, 140);
  }
  const text = String(message.content.text ?? message.msg_type).replace(AT_TAG, "@$2");
  return text.replace(AT_KEY, (key) => `@${context.nameOf((message.mentions ?? []).find((entry) => entry.key === key)?.id?.open_id ?? context.botId)}`);
}

function bodyOf(message, context) {
  if (platform.renderBody) return platform.renderBody(message, context);
  if (message.msg_type === "interactive") {
    return renderCard(message.content, { ...context, click: (element, node) => context.click(message, element, node) });
  }
  if (message.msg_type === "post") return el("div", { class: "bubble" }, renderPost(message.content, context));
  if (message.msg_type === "text") return el("div", { class: "bubble" }, renderText(message, context));
  return el("div", { class: "bubble" }, el("p", { class: "card-unknown" }, `This client cannot show a “${message.msg_type}” message.`));
}

function quote(message, context) {
  const asked = message.reply_to ? context.messageOf(message.reply_to) : null;
  if (!asked) return null;
  return el("button", { class: "quote", type: "button", onclick: () => context.show(asked.message_id) },
    el("span", { class: "quote-name" }, context.nameOf(asked.sender.open_id)),
    el("span", { class: "quote-text" }, summary(asked, context)));
}

function menu(message, mine, context) {
  const entry = (label, action) => el("button", { type: "button", role: "menuitem", onclick: (event) => {
    event.target.closest("details").open = false;
    action();
  } }, label);
  return el("details", { class: "menu" },
    el("summary", { "aria-label": "What can be done with this message", class: "icon-button" }, icon("more")),
    el("div", { class: "menu-list", role: "menu" },
      mine ? entry("Recall", () => context.recall(message)) : null,
      entry("Show source", () => showDialog(`${message.msg_type} · ${message.message_id}`,
        el("pre", { class: "source", tabindex: "0" }, JSON.stringify(message.content, null, 2))))));
}

const EMOJIS = { Typing: "⌨️", OnIt: "🏃", OK: "👌", DONE: "✅", THUMBSUP: "👍", SMILE: "🙂" };

/** Shows the reactions to a message, and whose they are. */
function reactions(message, context) {
  if (!message.reactions?.length) return null;
  return el("ul", { class: "reactions", "aria-label": "Reactions" }, message.reactions.map((reaction) => {
    const name = reaction.reaction_type.emoji_type;
    const who = context.nameOf(reaction.operator.operator_id) ?? "someone";
    return el("li", { data: { emoji: name }, title: `${name}: ${who}` }, `${EMOJIS[name] ?? name} ${who}`);
  }));
}

/** `context`: as for cards, plus messageOf(id), show(id), recall(message), person(open_id), botId. */
export function renderMessage(message, previous, context) {
  const mine = message.sender.type === "user" && message.sender.open_id === context.viewer;
  const name = context.nameOf(message.sender.open_id);
  const joined = previous && !previous.recalled && previous.sender.open_id === message.sender.open_id && !message.reply_to
    && message.created_at - previous.created_at < 180_000;
  if (message.recalled) {
    return el("article", { class: "message recalled", id: message.message_id }, el("p", {}, `${mine ? "You" : name} recalled a message`));
  }
  const edited = message.updated_at > message.created_at && !platform.isCard(message);
  return el("article", {
    class: `message ${mine ? "mine" : ""} ${joined ? "joined" : ""}`,
    id: message.message_id,
    "aria-label": `${name}, ${clockTime(message.created_at)}`,
    data: { type: platform.isCard(message) ? "interactive" : message.msg_type },
  },
    mine ? null : (message.sender.type === "bot" ? botAvatar() : avatar(context.person(message.sender.open_id))),
    el("div", { class: "message-main" },
      el("p", { class: "byline" },
        el("span", { class: "name" }, mine ? "You" : name),
        message.sender.type === "bot" ? el("span", { class: "bot-mark" }, "bot") : null,
        el("time", { datetime: new Date(message.created_at).toISOString() }, clockTime(message.created_at)),
        edited ? el("span", {}, "edited") : null),
      message.ephemeral_for ? el("p", { class: "only-you" }, icon("eye-off"), "Only visible to you") : null,
      quote(message, context),
      el("div", { class: "message-row" }, bodyOf(message, context), menu(message, mine, context)),
      reactions(message, context)));
}
