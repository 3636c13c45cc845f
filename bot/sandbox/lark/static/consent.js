// The consent page: the signed-in account, the app and its scopes; allow, refuse, or switch accounts.

import { get, post } from "/sandbox/static/api.js";
import { avatar, botAvatar, byId, el, fill, icon } from "/sandbox/static/dom.js";

const WORDS = {
  en: {
    title: (app) => `${app} asks for your permission`, reason: "It will act in your name, and only with what you allow here.",
    signedIn: "Signed in as", signedOut: "Not signed in", choose: "Choose an account", switch: "Switch account", fresh: "New permissions", already: (count) => `Already allowed (${count})`,
    allow: "Allow", refuse: "Refuse", signIn: (app) => `Sign in to ${app}`, signInReason: "It will learn who you are, and nothing else.",
    back: (host) => `Afterwards you go back to ${host}. This page stands in for the platform's own.`,
    device: (code) => `Your chat shows the code ${code}, too? Then this request is yours. This page stands in for the platform's own.`,
    errorTitle: "This request cannot be shown", code: "Error code", close: "You can close this page.",
    done: "Done",
    gone: "This page is no longer valid", again: "Open the link in the chat again.",
    errors: {
      20027: "The app asks for a permission that it has not enabled.",
      20029: "The address to go back to is not on the app's list of redirect URLs.",
      20043: "The request names a permission that does not exist, or that people cannot grant.",
      20010: "The app is not available to you. Ask the administrator of your company.",
    },
  },
  zh: {
    title: (app) => `${app} 请求获得你的授权`, reason: "它将以你的身份操作，且仅限你在此允许的权限。",
    signedIn: "当前账号", signedOut: "未登录", choose: "请选择账号", switch: "切换账号", fresh: "新增权限", already: (count) => `已授权（${count}）`,
    allow: "允许", refuse: "拒绝", signIn: (app) => `登录 ${app}`, signInReason: "它只会知道你是谁。",
    back: (host) => `完成后将返回 ${host}。此页面模拟平台的授权页。`,
    device: (code) => `请确认会话中的验证码也是 ${code}，这样才是你本人的请求。此页面模拟平台的授权页。`,
    errorTitle: "无法显示此授权请求", code: "错误码", close: "你可以关闭此页面。",
    done: "已完成",
    gone: "此页面已失效", again: "请在会话中重新打开链接。",
    errors: {
      20027: "应用请求了尚未开通的权限。",
      20029: "重定向 URL 有误：该地址不在应用的重定向 URL 列表中。",
      20043: "请求中包含不存在的权限，或无法由用户授予的权限。",
      20010: "你无权使用此应用，请联系企业管理员。",
    },
  },
};

const sheet = byId("sheet");
const hostOf = (address) => (address ? new URL(address, location.href).host : location.host);
const id = new URLSearchParams(location.search).get("id") ?? "";
const path = `consents/${encodeURIComponent(id)}`;

function choose(person) {
  const chinese = (person?.locale ?? navigator.language).startsWith("zh");
  document.documentElement.lang = chinese ? "zh" : "en";
  return { words: chinese ? WORDS.zh : WORDS.en, language: chinese ? "zh" : "en" };
}

const shownName = (person, language) => (language === "zh" ? person.name : person.en_name || person.name);

function notice(title, ...lines) {
  document.title = title;
  fill(sheet, el("div", { class: "notice", role: "alert" }, el("span", { class: "mark" }, icon("warning")),
    el("h1", {}, title), lines.map((line) => (line ? el("p", {}, line) : null))));
}

/** Signs the browser in to another account and reloads the consent. */
async function switchTo(person) {
  await fetch(`/sandbox/login?person=${encodeURIComponent(person.open_id)}`, { redirect: "manual" });
  await load();
}

function draw(consent) {
  const person = consent.people.find((each) => each.open_id === consent.person);
  const { words, language } = choose(person);
  const others = consent.people.filter((each) => each !== person);
  const accounts = el("div", { class: "accounts", id: "accounts", hidden: Boolean(person) }, others.map((each) =>
    el("button", { type: "button", onclick: () => switchTo(each) }, avatar(each, "small"), el("span", {}, shownName(each, language)))));
  const account = el("div", { class: "account" },
    person ? avatar(person) : null,
    el("div", { class: "account-words" }, el("span", {}, person ? words.signedIn : words.signedOut), el("span", {}, person ? shownName(person, language) : words.choose)),
    el("button", { class: "button quiet small", type: "button", "aria-expanded": String(!accounts.hidden), "aria-controls": "accounts",
      onclick: (event) => { accounts.hidden = !accounts.hidden; event.currentTarget.setAttribute("aria-expanded", String(!accounts.hidden)); } }, words.switch));
  if (consent.error) {
    const { code, text } = consent.error;
    notice(words.errorTitle, words.errors[code] ?? null, code === 20010 ? null : text, `${words.code} ${code}`, words.close);
    // Another account can solve error 20010; no account can solve an error of the link.
    if (code === 20010) sheet.prepend(account, accounts);
    return;
  }
  if (consent.decided) {
    notice(words.gone, words.again);
    return;
  }
  const appName = (language === "zh" && consent.app.name_zh) || consent.app.name;
  const signIn = consent.scopes.length === 0;
  document.title = signIn ? words.signIn(appName) : words.title(appName);
  const boxes = new Map();
  const permission = ({ scope, description }) => {
    const box = el("input", { type: "checkbox", checked: true, name: scope, onchange: () => { allow.disabled = !signIn && ![...boxes.values()].some((each) => each.checked); } });
    boxes.set(scope, box);
    return el("li", {}, el("label", {}, box, el("span", { class: "words" }, el("span", {}, description?.[language] || scope), el("span", { class: "scope-name" }, scope))));
  };
  const allow = el("button", { class: "button primary", type: "button", onclick: () => decide("allow", [...boxes].filter(([, box]) => box.checked).map(([scope]) => scope)) }, words.allow);
  const refuse = el("button", { class: "button", type: "button", onclick: () => decide("refuse") }, words.refuse);

  async function decide(decision, scopes) {
    allow.disabled = refuse.disabled = true;
    try {
      const every = scopes?.length === consent.scopes.length;
      // Scopes that were granted before cannot be deselected here; they stay part of the request.
      const kept = consent.already ?? [];
      const { redirect } = await post(path, { person: person.open_id, decision, ...(scopes && !every ? { scopes: [...scopes, ...kept] } : {}) });
      if (redirect) location.replace(redirect);
      else notice(words.done, words.close);
    } catch (problem) {
      notice(words.gone, problem.message, words.again);
    }
  }

  fill(sheet,
    account,
    accounts,
    el("div", { class: "request" }, botAvatar("large"),
      el("h1", {}, signIn ? words.signIn(appName) : words.title(appName)), el("p", {}, signIn ? words.signInReason : words.reason)),
    signIn ? null : el("section", { class: "scopes" }, el("h2", {}, words.fresh), el("ul", {}, consent.scopes.map(permission))),
    consent.already?.length ? el("details", { class: "already" }, el("summary", {}, icon("chevron"), words.already(consent.already.length)),
      el("ul", {}, consent.already.map((scope) => el("li", { class: "scope-name" }, scope)))) : null,
    el("div", { class: "decision" }, refuse, allow),
    el("p", { class: "fine" }, consent.user_code ? words.device(consent.user_code) : words.back(hostOf(consent.redirect_uri))));
  allow.disabled = refuse.disabled = !person;
}

async function load() {
  try {
    draw(await get(path));
  } catch (problem) {
    const { words } = choose(null);
    notice(words.gone, problem.message, words.again);
  }
}

load();
