// Building DOM nodes. Text from chats always becomes a text node: no markup is ever parsed.

const SVG = "http://www.w3.org/2000/svg";

/** Creates an element with properties and children. Strings become text nodes; null and false are omitted. */
export function el(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "class") node.className = value;
    else if (name === "data") Object.assign(node.dataset, value);
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "value" || name === "checked" || name === "open") node[name] = value;
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...present(children));
  return node;
}

const present = (children) => children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);

/** Replaces a node's children; as in `el`, null and false are omitted. */
export const fill = (node, ...children) => node.replaceChildren(...present(children));

export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `/sandbox/static/icons.svg#${name}`);
  svg.append(use);
  return svg;
}

export const byId = (id) => document.getElementById(id);

/** Returns the link target if it is an http(s) address, else null, for example for javascript: and data:. */
export function webAddress(text) {
  try {
    const url = new URL(String(text));
    return url.protocol === "http:" || url.protocol === "https:" ? url.href : null;
  } catch {
    return null;
  }
}

export function externalLink(address, properties, ...children) {
  return el("a", { href: address, target: "_blank", rel: "noopener noreferrer", ...properties }, ...children);
}

const initials = (name) => {
  const han = name.match(/\p{Script=Han}/u);
  if (han) return han[0];
  return name.split(/\s+/).filter(Boolean).slice(0, 2).map((word) => word[0].toUpperCase()).join("");
};

export function avatar(person, size = "") {
  const node = el("span", { class: `avatar ${size}`, "aria-hidden": "true" }, initials(person.name || person.en_name || "?"));
  if (person.avatar_color) node.style.backgroundColor = person.avatar_color;
  return node;
}

export function botAvatar(size = "") {
  return el("span", { class: `avatar bot ${size}`, "aria-hidden": "true" }, icon("bot"));
}

export function groupAvatar(size = "") {
  return el("span", { class: `avatar group ${size}`, "aria-hidden": "true" }, icon("group"));
}

export function clockTime(milliseconds, seconds = false) {
  return new Date(milliseconds).toLocaleTimeString("en-GB", {
    hour: "2-digit", minute: "2-digit", ...(seconds ? { second: "2-digit" } : {}),
  });
}

let lastToast = 0;

/** Shows a short message at the top of the page for some seconds; `type` as in a card callback's toast. */
export function toast(text, type = "info") {
  const glyph = { success: "check", error: "block", warning: "warning" }[type] ?? "dot";
  const node = el("div", { class: "toast", data: { type, number: String(++lastToast) } }, icon(glyph), el("span", {}, text));
  byId("toasts").append(node);
  setTimeout(() => node.remove(), 4500);
}

/** Asks for confirmation; resolves to true or false. */
export function confirmDialog(title, text, { accept = "Confirm", cancel = "Cancel", danger = false } = {}) {
  const dialog = byId("dialog");
  return new Promise((resolve) => {
    const close = (answer) => () => { dialog.close(); resolve(answer); };
    dialog.oncancel = () => resolve(false);
    dialog.classList.remove("roomy");
    fill(dialog,
      el("h3", { id: "dialog-title" }, title),
      text ? el("p", {}, text) : null,
      el("div", { class: "dialog-actions" },
        el("button", { type: "button", class: "button", onclick: close(false) }, cancel),
        el("button", { type: "button", class: `button primary ${danger ? "danger filled" : ""}`, onclick: close(true) }, accept)),
    );
    dialog.showModal();
  });
}

/** Shows content in a dialog with a close button. */
export function showDialog(title, ...content) {
  const dialog = byId("dialog");
  dialog.oncancel = null;
  dialog.classList.add("roomy");
  fill(dialog,
    el("header", { class: "dialog-head" },
      el("h3", { id: "dialog-title" }, title),
      el("button", { type: "button", class: "icon-button", "aria-label": "Close", onclick: () => dialog.close() }, icon("close"))),
    el("div", { class: "dialog-body" }, ...content),
  );
  dialog.showModal();
}
