// The Markdown of cards and posts as DOM nodes. A safe subset: unknown markup stays text.

import { el, externalLink, webAddress } from "./dom.js";

const ENTITIES = { lt: "<", gt: ">", amp: "&", quot: '"', apos: "'", nbsp: "\u00a0", sim: "~", ast: "*" };
const NAMED_COLOURS = new Set(["blue", "wathet", "turquoise", "green", "yellow", "orange", "red", "carmine", "violet",
  "purple", "indigo", "grey", "neutral", "default", "lime"]);

const colourName = (text) => (NAMED_COLOURS.has(text) ? text : "default");

const INLINE = [
  [/^\\([!-/:-@[-`{-~])/, (m) => m[1]],
  [/^(`+)([^`]|[^`][\s\S]*?[^`])\1(?!`)/, (m) => el("code", {}, m[2])],
  [/^\*\*(?=\S)([\s\S]*?\S)\*\*/, (m, c) => el("strong", {}, inline(m[1], c))],
  [/^~~(?=\S)([\s\S]*?\S)~~/, (m, c) => el("s", {}, inline(m[1], c))],
  [/^\*(?=[^\s*])([^*]*?[^\s*])\*(?!\*)/, (m, c) => el("em", {}, inline(m[1], c))],
  [/^!\[([^\]]*)\]\(([^)\s]*)\)/, (m) => el("span", { class: "image-word" }, m[1] || "image")],
  [/^\[((?:\\.|[^\]\\])+)\]\(([^)\s]+)\)/, (m, c) => link(m[2], inline(m[1], c))],
  [/^<local_datetime\s+millisecond=["']?(\d{1,15})["']?\s+format_type=["']?(\w+)["']?\s*>\s*<\/local_datetime>/i,
    (m, c) => localTime(Number(m[1]), m[2], c)],
  [/^<br\s*\/?>/i, () => el("br")],
  [/^<at\s+(?:id|user_id|ids)=["']?([\w-]+)["']?\s*>([^<]*)<\/at>/i, (m, c) => mention(m[1], m[2], c)],
  [/^<font\s+color=["']?([\w-]+)["']?\s*>([\s\S]*?)<\/font>/i,
    (m, c) => el("span", { class: "ink", data: { colour: colourName(m[1]) } }, inline(m[2], c))],
  [/^<text_tag\s+color=["']?([\w-]+)["']?\s*>([\s\S]*?)<\/text_tag>/i,
    (m, c) => el("span", { class: "tag", data: { colour: colourName(m[1]) } }, inline(m[2], c))],
  [/^<link\s+[^>]*?url=["']?([^"'\s>]+)["']?[^>]*>([\s\S]*?)<\/link>/i, (m, c) => link(m[1], inline(m[2], c))],
  [/^https?:\/\/[^\s<>()\u3000-\u303f\uff00-\uffef]*[^\s<>().,;:!?'"\u3000-\u303f\uff00-\uffef]/, (m) => link(m[0], [m[0]])],
  [/^&(#\d{1,7}|#x[\da-f]{1,6}|[a-z]+);/i, (m) => entity(m)],
];
const TIME_FORMATS = {
  date_num: { year: "numeric", month: "2-digit", day: "2-digit" },
  date_short: { month: "short", day: "numeric" },
  date: { year: "numeric", month: "short", day: "numeric" },
  week: { weekday: "long" },
  week_short: { weekday: "short" },
  time: { hour: "2-digit", minute: "2-digit", hour12: false },
  time_sec: { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false },
  timezone: { timeZoneName: "short" },
};

/** Formats a time as the reader's client does: in their time zone and language. */
function localTime(moment, format, context) {
  const options = TIME_FORMATS[format] ?? TIME_FORMATS.date_num;
  const language = context.language?.startsWith("zh") ? "zh-CN" : "en-US";
  const at = new Date(moment);
  if (Number.isNaN(at.getTime())) return "";
  return el("time", { datetime: at.toISOString() },
    new Intl.DateTimeFormat(language, { ...options, timeZone: context.timeZone }).format(at));
}

const ORDINARY = /^[^\\`*~![<&h]+|^[\s\S]/;

function entity(match) {
  const name = match[1].toLowerCase();
  if (!name.startsWith("#")) return ENTITIES[name] ?? match[0];
  const point = name.startsWith("#x") ? parseInt(name.slice(2), 16) : Number(name.slice(1));
  return point > 0 && point <= 0x10ffff ? String.fromCodePoint(point) : match[0];
}

function link(address, children) {
  const target = webAddress(address);
  return target ? externalLink(target, {}, ...children) : el("span", {}, ...children);
}

export function mention(openId, shownName, context) {
  const everyone = openId === "all";
  const name = everyone ? "everyone" : (context.nameOf?.(openId) ?? (shownName || "someone"));
  return el("span", { class: "mention", data: { self: String(openId === context.viewer || everyone) } }, `@${name}`);
}

/** Parses inline markup into a list of nodes and strings. */
export function inline(text, context) {
  const nodes = [];
  let rest = String(text);
  let plain = "";
  const flush = () => { if (plain) nodes.push(plain); plain = ""; };
  while (rest) {
    let taken = null;
    for (const [pattern, build] of INLINE) {
      const match = pattern.exec(rest);
      if (!match) continue;
      const node = build(match, context);
      if (typeof node === "string") plain += node;
      else { flush(); nodes.push(node); }
      taken = match[0];
      break;
    }
    if (taken === null) {
      taken = ORDINARY.exec(rest)[0];
      plain += taken;
    }
    rest = rest.slice(taken.length);
  }
  flush();
  return nodes;
}

const withBreaks = (lines, context) =>
  lines.flatMap((line, number) => [...(number ? [el("br")] : []), ...inline(line, context)]);

const LIST_ITEM = /^(\s*)([-*+]|\d{1,9}[.)])\s+(.*)$/;
const FENCE = /^\s*```\s*([\w+-]*)\s*$/;
const RULE = /^\s*(?:-{3,}|\*{3,}|_{3,}|<hr\s*\/?>)\s*$/;
const HEADING = /^\s*(#{1,6})\s+(.*?)\s*#*\s*$/;
const TABLE_ROW = /^\s*\|(.*)\|\s*$/;
const TABLE_LINE = /^\s*\|[\s:|-]+\|\s*$/;

const startsBlock = (line) =>
  FENCE.test(line) || RULE.test(line) || HEADING.test(line) || LIST_ITEM.test(line) || /^\s*>/.test(line) || !line.trim();

/** Parses blocks: paragraphs, headings, lists, quotes, code, rules and tables. */
export function markdown(text, context = {}) {
  const lines = String(text ?? "").replaceAll("\r\n", "\n").split("\n");
  const root = el("div", { class: "markdown" });
  let at = 0;
  while (at < lines.length) {
    const line = lines[at];
    const heading = HEADING.exec(line);
    if (!line.trim()) at += 1;
    else if (FENCE.test(line)) at = codeBlock(lines, at, root);
    else if (RULE.test(line)) { root.append(el("hr")); at += 1; }
    else if (heading) { root.append(el("p", { class: `heading level-${heading[1].length}` }, inline(heading[2], context))); at += 1; }
    else if (LIST_ITEM.test(line)) at = list(lines, at, root, context);
    else if (/^\s*>/.test(line)) at = quote(lines, at, root, context);
    else if (TABLE_ROW.test(line) && TABLE_LINE.test(lines[at + 1] ?? "")) at = table(lines, at, root, context);
    else at = paragraph(lines, at, root, context);
  }
  return root;
}

function paragraph(lines, start, root, context) {
  let end = start + 1;
  while (end < lines.length && !startsBlock(lines[end])) end += 1;
  root.append(el("p", {}, withBreaks(lines.slice(start, end), context)));
  return end;
}

function codeBlock(lines, start, root) {
  let end = start + 1;
  while (end < lines.length && !/^\s*```\s*$/.test(lines[end])) end += 1;
  root.append(el("pre", { tabindex: "0" }, el("code", {}, lines.slice(start + 1, end).join("\n"))));
  return end + 1;
}

function quote(lines, start, root, context) {
  let end = start;
  while (end < lines.length && /^\s*>/.test(lines[end])) end += 1;
  root.append(el("blockquote", {}, markdown(lines.slice(start, end).map((line) => line.replace(/^\s*>\s?/, "")).join("\n"), context)));
  return end;
}

function list(lines, start, root, context) {
  const open = [];
  let at = start;
  for (; at < lines.length; at += 1) {
    const match = LIST_ITEM.exec(lines[at]);
    if (!match) {
      if (!lines[at].trim() || !/^\s{2,}/.test(lines[at])) break;
      open.at(-1).item.append(el("br"), ...inline(lines[at].trim(), context));
      continue;
    }
    const indent = match[1].length;
    while (open.length > 1 && indent < open.at(-1).indent) open.pop();
    if (!open.length || indent > open.at(-1).indent) {
      const number = parseInt(match[2], 10);
      const node = el(Number.isNaN(number) ? "ul" : "ol", number > 1 ? { start: number } : {});
      (open.at(-1)?.item ?? root).append(node);
      open.push({ indent, node });
    }
    const item = el("li", {}, inline(match[3], context));
    open.at(-1).item = item;
    open.at(-1).node.append(item);
  }
  return at;
}

function table(lines, start, root, context) {
  const cells = (line) => TABLE_ROW.exec(line)[1].split(/(?<!\\)\|/).map((cell) => cell.trim());
  const row = (line, tag) => el("tr", {}, cells(line).map((cell) => el(tag, {}, inline(cell, context))));
  let end = start + 2;
  while (end < lines.length && TABLE_ROW.test(lines[end])) end += 1;
  root.append(el("div", { class: "table-scroll", tabindex: "0" }, el("table", {},
    el("thead", {}, row(lines[start], "th")),
    el("tbody", {}, lines.slice(start + 2, end).map((line) => row(line, "td"))))));
  return end;
}
