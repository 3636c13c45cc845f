// Emulates the client's JavaScript SDK: h5sdk and tt, as a page inside the client knows them.
// The page's policy allows this script and no other connection. So each call to the client is this script's own address
// with a query, which policies ignore.

(() => {
  const kind = "$KIND"; // new, old, or broken
  const own = document.currentScript.src;
  const waiting = new Map();
  let calls = 0;

  window.sandboxClient = {
    answered: (number, answer) => {
      waiting.get(number)?.(answer);
      waiting.delete(number);
    },
  };

  function call(api, parameters) {
    return new Promise((resolve) => {
      calls += 1;
      waiting.set(calls, resolve);
      const query = new URLSearchParams({ api, ...parameters, page_url: location.href, question: String(calls) });
      const script = document.createElement("script");
      script.src = `${own}?${query}`;
      script.addEventListener("error", () => resolve({ errno: -1, errString: "the client does not answer" }));
      script.addEventListener("load", () => script.remove());
      document.head.append(script);
    });
  }

  // --- the client's sheet over the page

  const STYLE = `
    :host { all: initial; }
    .shade { position: fixed; inset: 0; z-index: 9; display: flex; align-items: end; justify-content: center; background: rgb(0 0 0 / 45%); font: 15px/1.5 system-ui, "PingFang SC", "Noto Sans CJK SC", sans-serif; }
    .sheet { box-sizing: border-box; width: min(480px, 100%); max-height: 90vh; overflow: auto; padding: 24px 22px calc(22px + env(safe-area-inset-bottom)); border-radius: 18px 18px 0 0; background: #fff; color: #1c2026; }
    h2 { margin: 0 0 4px; font-size: 18px; line-height: 1.35; }
    p { margin: 0; color: #5d6673; }
    ul { margin: 16px 0; padding: 0; list-style: none; }
    li { padding: 10px 0; border-top: 1px solid #e4e6eb; font-weight: 500; }
    code { display: block; color: #5d6673; font: 12px/1.5 ui-monospace, Menlo, Consolas, monospace; }
    .buttons { display: grid; grid-auto-flow: column; grid-auto-columns: 1fr; gap: 10px; margin-top: 18px; }
    button { min-height: 44px; border: 1px solid #d0d4dc; border-radius: 11px; background: #fff; color: inherit; font: inherit; font-weight: 600; cursor: pointer; }
    button.primary { border-color: #2a62e4; background: #2a62e4; color: #fff; }
    button:focus-visible { outline: 3px solid #2a62e4; outline-offset: 2px; }
    @media (prefers-color-scheme: dark) {
      .sheet { background: #1d2127; color: #e7eaee; } p, code { color: #a0a9b6; } li { border-color: #282d35; }
      button { border-color: #3a414c; background: #282d35; }
    }`;
  const WORDS = {
    en: { title: (app) => `${app} asks for your permission`, who: (person) => `as ${person}`, allow: "Allow", refuse: "Refuse", error: "This request cannot be shown", close: "Close" },
    zh: { title: (app) => `${app} 请求获得你的授权`, who: (person) => `当前账号：${person}`, allow: "允许", refuse: "拒绝", error: "无法显示此授权请求", close: "关闭" },
  };

  const el = (tag, properties, ...children) => {
    const node = Object.assign(document.createElement(tag), properties);
    node.append(...children);
    return node;
  };

  // Shows a sheet over the page; resolves to the name of the clicked button.
  function showSheet(title, lines, buttons) {
    return new Promise((resolve) => {
      const host = document.createElement("div");
      const root = host.attachShadow({ mode: "open" });
      const style = new CSSStyleSheet();
      style.replaceSync(STYLE);
      root.adoptedStyleSheets = [style];
      const pressed = (name) => () => {
        host.remove();
        resolve(name);
      };
      const row = el("div", { className: "buttons" }, ...buttons.map(([name, words, className]) =>
        el("button", { type: "button", className, onclick: pressed(name) }, words)));
      const sheet = el("div", { className: "sheet", role: "dialog", ariaModal: "true", ariaLabel: title }, el("h2", {}, title), ...lines, row);
      root.append(el("div", { className: "shade" }, sheet));
      document.body.append(host);
      row.lastElementChild.focus();
    });
  }

  function askPerson({ language, app, person, scopes }) {
    const words = WORDS[language];
    const list = el("ul", {}, ...scopes.map(({ scope, words: described }) => el("li", {}, described, el("code", {}, scope))));
    return showSheet(words.title(app), [el("p", {}, words.who(person)), list],
      [["refuse", words.refuse, ""], ["allow", words.allow, "primary"]]);
  }

  function showError(text) {
    const words = navigator.language.startsWith("zh") ? WORDS.zh : WORDS.en;
    return showSheet(words.error, [el("p", {}, text)], [["close", words.close, ""]]);
  }

  // --- the APIs

  async function settle(answer, { success, fail, state }, name) {
    if (answer.error) await showError(answer.error);
    if (answer.code) success?.({ code: answer.code, ...(state === undefined ? {} : { state }), errMsg: `${name}:ok` });
    else fail?.({ errno: answer.errno, errString: answer.errString, errMsg: `${name}:fail` });
  }

  async function requestAccess({ appID = "", scopeList = [], state = "", ...handlers }) {
    const parameters = { app_id: appID, scopes: scopeList.join(" ") };
    let answer = await call("requestAccess", parameters);
    if (answer.sheet) answer = await call("requestAccess", { ...parameters, decision: await askPerson(answer.sheet) });
    await settle(answer, { ...handlers, state }, "requestAccess");
  }

  async function requestAuthCode({ appId = "", ...handlers }) {
    await settle(await call("requestAuthCode", { app_id: appId }), handlers, "requestAuthCode");
  }

  // The client closes the page. A browser does not let a script close a window that no script opened: it is emptied.
  function closeWindow({ success } = {}) {
    success?.({ errMsg: "closeWindow:ok" });
    window.close();
    document.title = "Closed by the client";
    document.body.replaceChildren();
  }

  // As in the client, the SDK is usable only after `ready` has called back.
  const later = (callback) => setTimeout(callback, 30);
  window.h5sdk = {
    ready: (go) => later(() => {
      if (kind === "broken") return;
      window.tt = kind === "old" ? { requestAuthCode, closeWindow } : { requestAccess, requestAuthCode, closeWindow };
      go();
    }),
    error: (callback) => later(() => { if (kind === "broken") callback({ errno: 1, errString: "the client's bridge failed" }); }),
  };
})();
