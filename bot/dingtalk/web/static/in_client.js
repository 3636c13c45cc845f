// Authorizes or signs in inside the client: gets an attempt from the bot and a code from the client, and posts the code.
// Performs `openAuth` as the platform's npm package does, which cannot be loaded as a script: a modal on a PC, a mini
// program on a phone. Shows the results as text only, never as markup.

const SDK_TIMEOUT = 3000; // milliseconds; then the page continues in the browser
const CLOSE_DELAY = 3000; // milliseconds that a page of success stays open
const MODAL = "https://n.dingtalk.com/dingding/h5-common-authority/auth/index.html";
const MINI_PROGRAM = "5000000000174977";
const MINI_PROGRAM_PAGE = "pages/auth/index";
const OPEN_AUTH_SINCE = "6.3.35";
const AUTH_INFO_SINCE = "7.5.26";
const NO_PERMISSION = "7"; // the client's errorCode
const SIGN_IN = "sign-in";

const subject = location.hash.slice(1); // a ticket, or SIGN_IN
const signIn = subject === SIGN_IN;
const browserLink = signIn ? "/login?browser" : `/authorize/${encodeURIComponent(subject)}?browser`;
const marks = { good: "✓", calm: "→", bad: "!" };

const byId = (id) => document.getElementById(id);
const page = document.body.dataset;

class Unsupported extends Error {}

function show({ tone, title, text, again = false, codes = false }) {
  document.body.className = tone;
  document.querySelector(".mark").textContent = marks[tone];
  document.querySelector("h1").textContent = title;
  document.querySelector(".text").textContent = text;
  byId("retry").hidden = !again;
  byId("codes").hidden = !codes;
}

const canClose = () => Boolean(window.dd?.biz?.navigation?.close);

function goBack() {
  if (canClose()) window.dd.biz.navigation.close({});
}

// Shows how it ended, with a way back to the chat. A success closes by itself.
function showResult(result) {
  show(result);
  byId("ways-back").hidden = !canClose();
  if (result.tone === "good" && canClose()) setTimeout(goBack, CLOSE_DELAY);
}

function showError(code) {
  show({ tone: "bad", title: page.errorTitle, text: page.errorText.replace("{code}", String(code)), again: true });
}

const textOf = (code) => byId("code").querySelector(`option[value="${CSS.escape(String(code))}"]`)?.dataset.text;

// The panel says that it failed, and shows its code to the person alone.
function showFailure(code) {
  const text = code ? textOf(code) : undefined;
  byId("code").value = text ? String(code) : "";
  show({ tone: "bad", title: page.failedTitle, text: text ?? page.failedText, again: true, codes: true });
}

function showClosed() {
  show({ tone: "calm", title: page.closedTitle, text: page.closedText, again: true });
}

function continueInBrowser() {
  location.replace(browserLink);
}

async function post(path, fields) {
  const response = await fetch(`${location.pathname}/${path}`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(fields),
  });
  return { ok: response.ok, result: await response.json() };
}

async function finish(fields) {
  const { result } = await post("results", fields);
  if (result.location) location.replace(result.location);
  else showResult(result);
}

// Resolves to the client's API once it is ready, or to null if it fails, does not load in time, or is not in the client.
function clientReady() {
  return new Promise((resolve) => {
    const poll = setInterval(() => {
      if (!window.dd?.ready) return;
      clearInterval(poll);
      if (window.dd.env?.platform === "notInDingTalk") return resolve(null);
      window.dd.error?.(() => resolve(null));
      window.dd.ready(() => resolve(window.dd));
    }, 50);
    setTimeout(() => {
      clearInterval(poll);
      resolve(null);
    }, SDK_TIMEOUT);
  });
}

// Whether the client is at least of a version. One that does not tell its version is new.
function isSince(client, minimum) {
  const version = client.env?.version;
  if (!version) return true;
  const parts = version.split(".").map(Number);
  for (const [place, least] of minimum.split(".").map(Number).entries()) {
    if ((parts[place] || 0) !== least) return (parts[place] || 0) > least;
  }
  return true;
}

function queryOf({ clientId, corpId, rpcScope, fieldScope }) {
  const fields = { type: "0", clientId, corpId, rpcScope: rpcScope.join(","), fieldScope: fieldScope.join(",") };
  return Object.entries(fields).map(([name, value]) => `${name}=${encodeURIComponent(value)}`).join("&");
}

// What the panel gives: {status, result}. Throws what the client says if it cannot be opened, or is closed.
async function openAuth(client, attempt) {
  const { openModal, callComponent } = client.biz?.util ?? {};
  const onPc = client.env?.platform === "pc";
  if (!isSince(client, OPEN_AUTH_SINCE) || !(onPc ? openModal : callComponent)) throw new Unsupported();
  if (onPc) {
    const answer = await openModal({ url: `${MODAL}?${queryOf(attempt)}`, title: page.panelTitle, size: "middle" });
    return typeof answer === "string" ? JSON.parse(answer) : answer;
  }
  const path = `${MINI_PROGRAM_PAGE}?${queryOf(attempt)}`;
  const panel = { miniAppId: MINI_PROGRAM, page: path, target: "float", panelHeight: "percent50" };
  // The npm package gives the parameters by both names.
  const answer = await callComponent({ componentType: "miniProgram", params: panel, IMiniProgramParams: panel });
  return answer?.detail?.extraData;
}

// The second way, on new clients: {status, authCode}.
async function getAuthInfo(client, attempt) {
  const call = client.runtime?.permission?.getAuthInfo ?? client.getAuthInfo;
  if (!call || !isSince(client, AUTH_INFO_SINCE)) throw new Unsupported();
  const { clientId, corpId, rpcScope, fieldScope } = attempt;
  const { status, authCode } = await call({ type: 0, clientId, corpId, rpcScope, fieldScope });
  return status && authCode ? { status: "ok", result: { authCode } } : undefined;
}

// Also where the client demands that the page be signed (dd.config), which it is not.
const isUnsupported = (problem) =>
  problem instanceof Unsupported || String(problem?.errorCode) === NO_PERMISSION || /not\s+support|unsupport|no such|not exist|不支持|不存在/i.test(problem?.errorMessage ?? problem?.message ?? "");

async function askClient(client, attempt) {
  try {
    return await openAuth(client, attempt);
  } catch (problem) {
    if (!isUnsupported(problem)) throw problem;
    return getAuthInfo(client, attempt);
  }
}

async function authorize(client, attempt) {
  let answer;
  try {
    answer = await askClient(client, attempt);
  } catch (problem) {
    if (isUnsupported(problem)) return continueInBrowser();
    const code = problem?.errorCode ?? problem?.code;
    return textOf(code) ? showFailure(code) : showClosed();
  }
  const code = answer?.result?.authCode;
  if (answer?.status === "ok" && typeof code === "string" && code) return finish({ state: attempt.state, authCode: code });
  if (answer?.status === "cancel") return finish({ state: attempt.state, error: "access_denied" });
  if (answer?.status === "toAdmin") return show({ tone: "calm", title: page.closedTitle, text: page.forwardedText, again: true });
  if (answer?.status === "failed") return showFailure(answer.errorCode ?? answer.code);
  return showClosed();
}

async function run() {
  byId("ways-back").hidden = true;
  show({ tone: "calm", title: page.waitingTitle, text: signIn ? page.signInText : page.waitingText });
  const client = await clientReady();
  if (!client) return continueInBrowser();
  const { ok, result } = signIn ? await post("sign-ins", {}) : await post("attempts", { ticket: subject });
  if (ok) await authorize(client, result);
  else showResult(result);
}

byId("back").addEventListener("click", goBack);
byId("browser").href = browserLink;
byId("again").addEventListener("click", () => run().catch(() => showError("network")));
byId("code").addEventListener("change", ({ target }) => showFailure(target.value));
run().catch(() => showError("network"));
