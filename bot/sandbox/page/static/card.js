// Cards (JSON 2.0, and the parts of the older form that are still sent) as DOM nodes.

import { confirmDialog, el, externalLink, icon, webAddress } from "./dom.js";
import { inline, markdown } from "./markdown.js";

// The platform has hundreds of icon tokens; each is drawn as the glyph that is closest in meaning.
const GLYPHS = [
  [/unlock/, "unlock"], [/lock|encrypt|privacy/, "lock"], [/calendar|agenda/, "calendar"],
  [/check|yes|done|succeed|approve|ok/, "check"], [/warn|alert|caution|maybe/, "warning"], [/error|close|no_|reject|ban|decline|fail/, "block"],
  [/time|clock|history|hourglass|wait|expire/, "clock"], [/doc|file|wiki|sheet|note/, "doc"], [/search|find/, "search"],
  [/key|token|safe-pass/, "key"], [/safe|shield|security|admin|permission/, "shield"],
  [/chat|message|buzz/, "chat"], [/robot|bot|app/, "bot"], [/refresh|replace|update|loading/, "refresh"],
  [/group|members|people|team/, "people"], [/user|person|member|contact/, "user"], [/image|picture/, "image"],
];
const glyphFor = (token) => GLYPHS.find(([pattern]) => pattern.test(token ?? ""))?.[1] ?? "dot";

const TEMPLATES = new Set(["blue", "wathet", "turquoise", "green", "yellow", "orange", "red", "carmine", "violet", "purple",
  "indigo", "grey"]);

const ALIGNMENTS = new Set(["left", "center", "right"]);

/** Returns the text of a text object in the viewer's language. */
export function words(text, language) {
  if (text === null || text === undefined) return "";
  if (typeof text === "string") return text;
  return String(text.i18n_content?.[language] ?? text.i18n?.[language] ?? text.content ?? "");
}

function textNode(text, context) {
  const shown = words(text, context.language);
  if (text?.tag === "lark_md" || text?.tag === "markdown") return markdown(shown, context);
  return el("p", { class: "plain" }, shown);
}

const iconOf = (spec) => (spec ? el("span", { class: "card-icon", data: { colour: spec.color ?? "" } }, icon(glyphFor(spec.token))) : null);

/** `context`: language, viewer (open_id), nameOf(open_id), linkFor(address), click(element, node). */
export function renderCard(card, context) {
  const header = card.header ? renderHeader(card.header, context) : null;
  const elements = card.body?.elements ?? card.i18n_elements?.[context.language] ?? card.elements ?? [];
  return el("div", { class: "card" }, header,
    elements.length ? el("div", { class: "card-body" }, renderElements(elements, context)) : null);
}

/** Returns a card's title, or else its first text, for screen readers and quotes. */
export function cardTitle(card, language) {
  const title = words(card.header?.title, language);
  if (title) return title;
  const first = (card.body?.elements ?? card.elements ?? []).find((element) => element.content || element.text);
  return words(first?.text ?? first, language).replace(/[*`#>]/g, "").slice(0, 80) || "Card";
}

function renderHeader(header, context) {
  const template = TEMPLATES.has(header.template) ? header.template : "default";
  const subtitle = words(header.subtitle, context.language);
  const tags = (header.text_tag_list ?? []).map((tag) =>
    el("span", { class: "tag", data: { colour: tag.color ?? "neutral" } }, words(tag.text, context.language)));
  return el("header", { class: "card-header", data: { template } },
    iconOf(header.icon),
    el("div", { class: "card-heading" },
      el("h3", {}, words(header.title, context.language), tags),
      subtitle ? el("p", {}, subtitle) : null));
}

const renderElements = (elements, context) => elements.map((element) => renderElement(element, context));

function renderElement(element, context) {
  switch (element.tag) {
    case "markdown": return aligned(element, el("div", { class: `card-text ${element.text_size ?? ""}` },
      iconOf(element.icon), markdown(words(element, context.language), context)));
    case "plain_text":
    case "lark_md": return textNode(element, context);
    case "div": return renderDiv(element, context);
    case "hr": return el("hr");
    case "button": return renderButton(element, context);
    case "column_set": return renderColumns(element, context);
    case "action": return el("div", { class: "card-actions" }, renderElements(element.actions ?? [], context));
    case "note": return el("div", { class: "card-note" }, renderElements(element.elements ?? [], context));
    case "img": return el("div", { class: "card-image" }, icon("image"), el("span", {}, words(element.alt, context.language) || "Image"));
    case "collapsible_panel": return renderCollapsible(element, context);
    case "interactive_container": return renderContainer(element, context);
    case "form": return el("div", { class: "card-body" }, renderElements(element.elements ?? [], context));
    default: return el("p", { class: "card-unknown" }, `This client cannot show a “${element.tag}” element.`);
  }
}

function aligned(element, node) {
  if (ALIGNMENTS.has(element.text_align)) node.dataset.align = element.text_align;
  if (element.text_size === "notation" || element.text_size === "small") node.classList.add("notation");
  return node;
}

function renderDiv(element, context) {
  const fields = (element.fields ?? []).map((field) =>
    el("div", { class: field.is_short ? "field short" : "field" }, textNode(field.text, context)));
  const text = element.text ? textNode(element.text, context) : null;
  if (element.text && text) {
    if (element.text.text_color) text.dataset.colour = element.text.text_color;
    aligned(element.text, text);
  }
  return el("div", { class: "card-text" }, iconOf(element.icon), text, fields.length ? el("div", { class: "fields" }, fields) : null);
}

function renderColumns(element, context) {
  const set = el("div", { class: "columns", data: { flex: element.flex_mode ?? "none" } });
  for (const column of element.columns ?? []) {
    const node = el("div", { class: "column", data: { width: column.width === "auto" ? "auto" : "weighted", align: column.vertical_align ?? "top" } },
      renderElements(column.elements ?? [], context));
    if (column.width === "weighted" || column.weight) node.style.flexGrow = String(Math.min(5, Math.max(1, Number(column.weight) || 1)));
    set.append(node);
  }
  if (element.background_style && element.background_style !== "default") set.classList.add("filled");
  return set;
}

function renderCollapsible(element, context) {
  return el("details", { class: "card-fold", open: Boolean(element.expanded) },
    el("summary", {}, icon("chevron"), el("span", {}, inline(words(element.header?.title, context.language), context))),
    el("div", { class: "card-body" }, renderElements(element.elements ?? [], context)));
}

function renderContainer(element, context) {
  const node = el("div", { class: "card-container" }, renderElements(element.elements ?? [], context));
  const action = behaviour(element, "callback");
  if (action && !element.disabled) {
    node.tabIndex = 0;
    node.setAttribute("role", "button");
    node.addEventListener("click", () => context.click(element, node));
    node.addEventListener("keydown", (event) => { if (event.key === "Enter") context.click(element, node); });
  }
  return node;
}

const behaviour = (element, type) => (element.behaviors ?? []).find((entry) => entry.type === type);

/** Returns the address that a button opens, in any of the platform's notations. */
function buttonAddress(element) {
  const open = behaviour(element, "open_url");
  const urls = [open?.pc_url, open?.default_url, element.multi_url?.pc_url, element.multi_url?.url, element.url];
  return webAddress(urls.find((url) => url && !url.startsWith("lark://")) ?? "");
}

const isCallback = (element) =>
  Boolean(behaviour(element, "callback")) || (element.value !== undefined && !element.behaviors && !element.url && !element.multi_url);

function renderButton(element, context) {
  const label = [element.icon ? icon(glyphFor(element.icon.token)) : null, el("span", {}, words(element.text, context.language))];
  const properties = {
    class: `button card-button ${buttonClass(element.type)} ${element.size === "small" || element.size === "tiny" ? "small" : ""}`,
    title: words(element.hover_tips, context.language) || null,
    data: { width: element.width === "fill" ? "fill" : "default" },
  };
  if (element.disabled) {
    const tips = words(element.disabled_tips, context.language);
    return el("button", { ...properties, type: "button", "aria-disabled": "true", ...(tips ? { title: tips } : {}) }, label);
  }
  const address = buttonAddress(element);
  const node = address
    ? externalLink(context.linkFor(address), properties, label)
    : el("button", { ...properties, type: "button" }, label);
  node.addEventListener("click", (event) => pressed(event, element, node, address, context));
  return node;
}

async function pressed(event, element, node, address, context) {
  if (element.confirm) {
    event.preventDefault();
    const chinese = context.language === "zh_cn";
    const agreed = await confirmDialog(words(element.confirm.title, context.language), words(element.confirm.text, context.language),
      { accept: chinese ? "确定" : "Confirm", cancel: chinese ? "取消" : "Cancel" });
    if (!agreed) return;
    if (address) window.open(context.linkFor(address), "_blank", "noopener,noreferrer");
  }
  if (isCallback(element)) context.click(element, node);
}

function buttonClass(type) {
  if (type === "primary" || type === "primary_filled" || type === "laser") return "primary";
  if (type === "danger_filled") return "danger filled";
  if (type === "danger") return "danger";
  if (type === "text" || type === "primary_text") return "quiet accent";
  if (type === "danger_text") return "quiet danger";
  return "";
}

/** Returns the value that a click on this element sends. */
export const callbackValue = (element) => behaviour(element, "callback")?.value ?? element.value ?? {};
