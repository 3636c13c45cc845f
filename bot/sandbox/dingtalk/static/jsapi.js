// The emulated JavaScript API of DingTalk's client, as the page of an app sees it: `window.dd`. Whatever a call needs
// from the client is another script: the script's own address with a query, which policies ignore.

(() => {
  const kind = "$KIND"; // new, old, oldest, unsigned, or broken
  const given = "$PLATFORM"; // pc, ios, android, by width, or notInDingTalk
  const version = "$VERSION";
  const own = document.currentScript.src;
  const waiting = new Map();
  let calls = 0;

  const AUTH_MODAL = "https://n.dingtalk.com/dingding/h5-common-authority/auth/index.html";
  const AUTH_MINI_PROGRAM = "5000000000174977";
  const AUTH_PAGE = "pages/auth/index";

  const narrow = matchMedia("(max-width: 700px)").matches;
  const phone = /iPhone|iPad/.test(navigator.userAgent) ? "ios" : "android";
  const platform = given === "by width" ? (narrow || /Mobile/.test(navigator.userAgent) ? phone : "pc") : given;
  const inClient = platform !== "notInDingTalk";

  window.sandboxClient = {
    answered: (number, answer) => {
      waiting.get(number)?.(answer);
      waiting.delete(number);
    },
  };

  function ask(api, parameters) {
    return new Promise((resolve, reject) => {
      calls += 1;
      waiting.set(calls, resolve);
      const query = new URLSearchParams({ api, ...parameters, question: String(calls) });
      const script = document.createElement("script");
      script.src = `${own}?${query}`;
      script.addEventListener("error", () => reject(failure("-1", "the client does not answer")));
      script.addEventListener("load", () => script.remove());
      document.head.append(script);
    });
  }

  const failure = (errorCode, errorMessage) => ({ errorCode, errorMessage });
  const unsupported = (name) => failure("1", `${name} is not supported by DingTalk ${version} on ${platform}`);

  // --- the authorization panel over the page

  const STYLE = `
    :host { all: initial; }
    .shade { position: fixed; inset: 0; z-index: 9; display: flex; align-items: end; justify-content: center; background: rgb(0 0 0 / 45%); font: 15px/1.5 system-ui, "PingFang SC", "Noto Sans CJK SC", sans-serif; }
    .shade.pc { align-items: center; }
    .sheet { box-sizing: border-box; display: flex; flex-direction: column; width: min(480px, 100%); min-height: 50vh; max-height: 88vh; border-radius: 16px 16px 0 0; background: #fff; color: #171a1d; }
    .pc .sheet { min-height: 420px; border-radius: 10px; box-shadow: 0 12px 40px rgb(0 0 0 / 25%); }
    header { display: flex; align-items: center; justify-content: space-between; padding: 14px 12px 10px 20px; border-bottom: 1px solid #eceef2; font-weight: 600; }
    .body { flex: 1; overflow: auto; padding: 18px 20px 8px; }
    h2 { margin: 0 0 2px; font-size: 18px; line-height: 1.35; }
    p { margin: 0; color: #747677; font-size: 13px; }
    ul { margin: 14px 0 0; padding: 0; list-style: none; }
    li { display: flex; justify-content: space-between; gap: 12px; padding: 9px 0; border-top: 1px solid #eceef2; }
    li:first-child { border-top: 0; }
    code { display: block; color: #747677; font: 12px/1.5 ui-monospace, Menlo, Consolas, monospace; overflow-wrap: anywhere; }
    .already { flex: none; color: #747677; font-size: 12px; }
    .mark { width: 52px; height: 52px; display: grid; place-items: center; margin: 20px auto 12px; border-radius: 50%; background: #fff1f0; color: #e5484d; font: 700 26px/1 system-ui; }
    .centred { text-align: center; }
    .buttons { display: grid; grid-auto-flow: column; grid-auto-columns: 1fr; gap: 10px; padding: 14px 20px calc(18px + env(safe-area-inset-bottom)); }
    button, select { min-height: 44px; border: 1px solid #d5d8dd; border-radius: 8px; background: #fff; color: inherit; font: inherit; cursor: pointer; }
    .buttons button { font-weight: 600; }
    button.primary { border-color: #1269f0; background: #1269f0; color: #fff; }
    button.close { min-height: 36px; width: 36px; border: 0; background: none; font-size: 20px; color: #747677; }
    button:focus-visible, select:focus-visible, summary:focus-visible { outline: 3px solid #1269f0; outline-offset: 2px; }
    details { margin-top: 14px; border-top: 1px dashed #d5d8dd; padding-top: 8px; color: #747677; font-size: 12px; }
    summary { cursor: pointer; }
    .other { display: flex; flex-wrap: wrap; gap: 6px; padding: 8px 0; }
    .other button, .other select { min-height: 32px; padding: 0 10px; font-size: 12px; max-width: 100%; }
    @media (prefers-color-scheme: dark) {
      .sheet { background: #1d2127; color: #e7eaee; } p, code, .already, details, button.close { color: #a0a9b6; }
      li, header { border-color: #2b3038; } button, select { border-color: #3a414c; background: #282d35; } button.close { background: none; }
      .mark { background: #3a2224; }
    }`;
  const WORDS = {
    en: {
      title: "Authorization request", asks: (app) => `${app} asks for your permission`,
      who: (person, organization) => `${person} · ${organization}`, admin: "For everyone in the organization",
      already: "allowed", ok: "Agree", cancel: "Cancel", close: "Close", failed: "Authorization failed", code: "Error code",
      other: "More results of this stand-in", results: { failed: "Fail", toAdmin: "Forward to an administrator", closed: "Close without an answer", unreadable: "Answer unreadably" },
      show: "Show an error code…",
    },
    zh: {
      title: "授权申请", asks: (app) => `${app} 申请获得你的授权`,
      who: (person, organization) => `${person} · ${organization}`, admin: "对企业全员生效",
      already: "已授权", ok: "同意授权", cancel: "取消", close: "关闭", failed: "授权失败", code: "错误码",
      other: "模拟其他结果", results: { failed: "失败", toAdmin: "转交管理员", closed: "直接关闭", unreadable: "返回无法解析的内容" },
      show: "显示错误码…",
    },
  };

  const el = (tag, properties, ...children) => {
    const node = Object.assign(document.createElement(tag), properties);
    node.append(...children.filter((child) => child !== null));
    return node;
  };

  // Shows a sheet over the page; resolves to the decision, "closed" for the cross.
  function showSheet(words, content, buttons) {
    return new Promise((resolve) => {
      const host = document.createElement("div");
      host.id = "dingtalk-panel";
      const root = host.attachShadow({ mode: "open" });
      const style = new CSSStyleSheet();
      style.replaceSync(STYLE);
      root.adoptedStyleSheets = [style];
      const choose = (decision) => { host.remove(); resolve(decision); };
      const row = el("div", { className: "buttons" }, ...buttons.map(([decision, label, className]) =>
        el("button", { type: "button", className, onclick: () => choose(decision) }, label)));
      const sheet = el("div", { className: "sheet", role: "dialog", ariaModal: "true", ariaLabel: words.title },
        el("header", {}, words.title, el("button", { type: "button", className: "close", ariaLabel: words.close, onclick: () => choose("closed") }, "×")),
        el("div", { className: "body" }, ...content(choose)), row);
      root.append(el("div", { className: `shade ${platform === "pc" ? "pc" : "phone"}` }, sheet));
      document.body.append(host);
      row.lastElementChild.focus();
    });
  }

  function showError(words, { code, text }) {
    const content = () => [el("div", { className: "mark", ariaHidden: "true" }, "!"),
      el("h2", { className: "centred" }, words.failed), el("p", { className: "centred" }, text), el("p", { className: "centred" }, `${words.code} ${code}`)];
    return showSheet(words, content, [["failed", words.close, "primary"]]).then(() => "failed");
  }

  async function showPanel(panel) {
    const words = WORDS[panel.language];
    if (panel.error) return showError(words, panel.error);
    const list = el("ul", {}, ...panel.scopes.map(({ scope, words: described, already }) =>
      el("li", {}, el("span", {}, described, el("code", {}, scope)), already ? el("span", { className: "already" }, words.already) : null)));
    const others = (choose) => el("details", {}, el("summary", {}, words.other), el("div", { className: "other" },
      ...Object.entries(words.results).filter(([name]) => name !== "toAdmin" || panel.type === "1")
        .map(([name, label]) => el("button", { type: "button", onclick: () => choose(name) }, label)),
      el("select", { ariaLabel: words.show, onchange: (event) => choose(Number(event.target.value)) },
        el("option", { value: "" }, words.show), ...panel.codes.map(([code, text]) => el("option", { value: String(code) }, `${code} ${text}`)))));
    const content = (choose) => [el("h2", {}, words.asks(panel.app)), el("p", {}, words.who(panel.person, panel.organization)),
      panel.type === "1" ? el("p", {}, words.admin) : null, list, others(choose)].filter(Boolean);
    const decision = await showSheet(words, content, [["cancel", words.cancel, ""], ["ok", words.ok, "primary"]]);
    if (typeof decision !== "number") return decision;
    return showError(words, { code: decision, text: panel.codes.find(([code]) => code === decision)[1] });
  }

  // Resolves to {result}, {closed} or {unreadable}.
  async function authorize(query) {
    let answer = await ask("panel", query);
    if (answer.panel) answer = await ask("panel", { ...query, decision: await showPanel(answer.panel) });
    return answer;
  }

  // --- the APIs: each takes an object and resolves, or rejects with {errorCode, errorMessage}

  const since = (minimum) => minimum.split(".").map(Number).reduce((decided, part, place) =>
    decided || Math.sign(Number(version.split(".")[place]) - part), 0) >= 0;

  function requireSignature() {
    if (kind === "unsigned") throw failure("7", "no permission: dd.config has not signed this page");
  }

  async function openModal({ url = "", title = "", size = "" }) {
    if (platform !== "pc" || !since("6.3.35")) throw unsupported("biz.util.openModal");
    requireSignature();
    const [address, query = ""] = url.split("?");
    if (address !== AUTH_MODAL) throw failure("2", "this client opens the authorization modal only");
    if (!title || !size) throw failure("2", "a modal has a title and a size");
    const answer = await authorize(Object.fromEntries(new URLSearchParams(query)));
    if (answer.closed) throw failure("3", "the modal was closed");
    return answer.unreadable ? "<html>" : JSON.stringify(answer.result);
  }

  async function callComponent({ componentType, params = {} }) {
    if (!since("6.3.35")) throw unsupported("biz.util.callComponent");
    requireSignature();
    const [page, query = ""] = String(params.page ?? "").split("?");
    if (componentType !== "miniProgram" || params.miniAppId !== AUTH_MINI_PROGRAM || page !== AUTH_PAGE) {
      throw failure("2", "this client opens the authorization mini program only");
    }
    if (params.target !== "float") throw failure("2", "the authorization mini program is a panel: target is float");
    const answer = await authorize(Object.fromEntries(new URLSearchParams(query)));
    if (answer.closed) throw failure("3", "the panel was closed");
    return answer.unreadable ? {} : { detail: { extraData: answer.result } };
  }

  async function getAuthInfo({ type = 0, corpId = "", clientId = "", rpcScope = [], fieldScope = [] }) {
    if (!since("7.5.26")) throw unsupported("runtime.permission.getAuthInfo");
    requireSignature();
    if (!Array.isArray(rpcScope) || !Array.isArray(fieldScope)) throw failure("2", "rpcScope and fieldScope are lists");
    const answer = await authorize({ type: String(type), corpId, clientId, rpcScope: rpcScope.join(","), fieldScope: fieldScope.join(",") });
    if (answer.closed || answer.unreadable) throw failure("3", "the panel was closed");
    const { status, result } = answer.result;
    return { status: status === "ok", authCode: result?.authCode ?? "" };
  }

  async function requestAuthCode({ corpId = "" }) {
    return codeOf(await ask("requestAuthCode", { corpId }));
  }

  async function requestAuthCodeV2({ corpId = "", clientId = "" }) {
    if (!since(platform === "pc" ? "7.0.50" : "7.0.45")) throw unsupported("runtime.permission.requestAuthCodeV2");
    return codeOf(await ask("requestAuthCode", { corpId, clientId }));
  }

  function codeOf(answer) {
    if (answer.failure) throw answer.failure;
    return { code: answer.code };
  }

  // The client closes the page. A browser does not let a script close a window that no script opened: it is emptied.
  async function close() {
    window.close();
    document.title = "Closed by the client";
    document.body.replaceChildren();
    return {};
  }

  const APIS = {
    "biz.util.openModal": openModal,
    "biz.util.callComponent": callComponent,
    "biz.navigation.close": close,
    "runtime.permission.getAuthInfo": getAuthInfo,
    "runtime.permission.requestAuthCode": requestAuthCode,
    "runtime.permission.requestAuthCodeV2": requestAuthCodeV2,
  };

  // Calls an API as the client's own script does: with a promise, and with callbacks in the parameters.
  function invokeAPI(name, parameters = {}) {
    const api = APIS[name];
    const called = !inClient ? Promise.reject(failure("7", "not in DingTalk"))
      : api ? api(parameters) : Promise.reject(unsupported(name));
    const { success, onSuccess, fail, onFail, complete } = parameters;
    called.then((result) => { (success ?? onSuccess)?.(result); complete?.(result); }, (problem) => { (fail ?? onFail)?.(problem); complete?.(problem); });
    if (fail ?? onFail) called.catch(() => {});
    return called;
  }

  const bound = (name) => (parameters) => invokeAPI(name, parameters);
  const later = (callback) => setTimeout(callback, 30);

  window.dd = {
    version: "3.2.9",
    env: { platform, version: inClient ? version : undefined, appType: "WEB", language: navigator.language },
    ready: (callback) => later(() => { if (kind !== "broken") callback(); }),
    error: (callback) => later(() => { if (kind === "broken") callback(failure("9", "the client's bridge failed")); }),
    config: () => {},
    invokeAPI,
    getAuthInfo: bound("runtime.permission.getAuthInfo"),
    requestAuthCode: (parameters) => invokeAPI(parameters?.clientId && since("7.0.50") ? "runtime.permission.requestAuthCodeV2" : "runtime.permission.requestAuthCode", parameters),
    closePage: bound("biz.navigation.close"),
    biz: {
      util: { openModal: bound("biz.util.openModal"), callComponent: bound("biz.util.callComponent") },
      navigation: { close: bound("biz.navigation.close") },
    },
    runtime: {
      permission: {
        getAuthInfo: bound("runtime.permission.getAuthInfo"),
        requestAuthCode: bound("runtime.permission.requestAuthCode"),
        requestAuthCodeV2: bound("runtime.permission.requestAuthCodeV2"),
      },
    },
  };
})();
