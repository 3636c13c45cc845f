// The login page: the account, its organization, the app and what it asks for; allow, refuse, or switch accounts.

import { get, post } from "/sandbox/static/api.js";
import { avatar, botAvatar, byId, el, fill, icon } from "/sandbox/static/dom.js";

const WORDS = {
  en: {
    title: (app) => `${app} asks for your permission`, reason: "It will act in your name, and only with what you allow here.",
    signedIn: "Signed in to DingTalk as", signedOut: "Not signed in", choose: "Choose an account", switch: "Switch account",
    organization: "Organization", fresh: "It will be able to", already: (count) => `Already allowed (${count})`,
    allow: "Agree", refuse: "Refuse", nothing: "Nothing new: agree to sign in again.",
    back: (host) => `Afterwards you go back to ${host}. This page stands in for DingTalk's own.`,
    errorTitle: "This request cannot be shown", close: "You can close this page.",
    gone: "This page is no longer valid", again: "Open the link in the chat again.",
  },
  zh: {
    title: (app) => `${app} 申请获得你的授权`, reason: "它将以你的身份操作，且仅限你在此授权的范围。",
    signedIn: "当前钉钉账号", signedOut: "未登录", choose: "请选择账号", switch: "切换账号",
    organization: "所属组织", fresh: "授权后将可以", already: (count) => `已授权（${count}）`,
    allow: "同意", refuse: "拒绝", nothing: "没有新的权限，同意即可重新登录。",
    back: (host) => `完成后将返回 ${host}。此页面模拟钉钉的授权页。`,
    errorTitle: "无法显示此授权请求", close: "你可以关闭此页面。",
    gone: "此页面已失效", again: "请在会话中重新打开链接。",
  },
};

const sheet = byId("sheet");
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

function accountPart(consent, person, words, language) {
  const others = consent.people.filter((each) => each !== person);
  const accounts = el("div", { class: "accounts", id: "accounts", hidden: Boolean(person) }, others.map((each) =>
    el("button", { type: "button", onclick: () => switchTo(each) }, avatar(each, "small"), el("span", {}, `${shownName(each, language)} · ${each.organization}`))));
  const account = el("div", { class: "account" },
    person ? avatar(person) : null,
    el("div", { class: "account-words" }, el("span", {}, person ? words.signedIn : words.signedOut),
      el("span", {}, person ? `${shownName(person, language)} · ${person.organization}` : words.choose)),
    el("button", { class: "button quiet small", type: "button", "aria-expanded": String(!accounts.hidden), "aria-controls": "accounts",
      onclick: (event) => { accounts.hidden = !accounts.hidden; event.currentTarget.setAttribute("aria-expanded", String(!accounts.hidden)); } }, words.switch));
  return [account, accounts];
}

function draw(consent) {
  const person = consent.people.find((each) => each.open_id === consent.person);
  const { words, language } = choose(person);
  const account = accountPart(consent, person, words, language);
  if (consent.error) {
    notice(words.errorTitle, consent.error, words.close);
    // Another account can solve what concerns the person; no account can solve an error of the link.
    if (!consent.link_error) sheet.prepend(...account);
    return;
  }
  if (consent.decided) {
    notice(words.gone, words.again);
    return;
  }
  const appName = (language === "zh" && consent.app.name_zh) || consent.app.name;
  document.title = words.title(appName);
  const allow = el("button", { class: "button primary", type: "button", onclick: () => decide("allow") }, words.allow);
  const refuse = el("button", { class: "button", type: "button", onclick: () => decide("refuse") }, words.refuse);

  async function decide(decision) {
    allow.disabled = refuse.disabled = true;
    try {
      const { redirect } = await post(path, { person: person.open_id, decision });
      location.replace(redirect);
    } catch (problem) {
      notice(words.gone, problem.message, words.again);
    }
  }

  const permission = ({ scope, description }) => el("li", {}, el("label", {},
    el("span", { class: "words" }, el("span", {}, description[language]), el("span", { class: "scope-name" }, scope))));
  fill(sheet, account,
    el("div", { class: "request" }, botAvatar("large"), el("h1", {}, words.title(appName)), el("p", {}, words.reason)),
    el("section", { class: "scopes" }, el("h2", {}, words.fresh),
      consent.scopes.length ? el("ul", {}, consent.scopes.map(permission)) : el("p", {}, words.nothing)),
    consent.already.length ? el("details", { class: "already" }, el("summary", {}, icon("chevron"), words.already(consent.already.length)),
      el("ul", {}, consent.already.map((scope) => el("li", { class: "scope-name" }, scope)))) : null,
    el("div", { class: "decision" }, refuse, allow),
    el("p", { class: "fine" }, words.back(new URL(consent.redirect_uri).host)));
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
