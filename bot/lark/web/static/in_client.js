// Authorizes or signs in inside the client: gets an attempt from the bot and a code from the client, and posts the code.
// Shows the results as text only, never as markup.

const SDK_TIMEOUT = 3000; // milliseconds; then the page continues in the browser
const CLOSE_DELAY = 3000; // milliseconds that a page of success stays open
const DECLINED_BY_USER = 2700002;
const NOT_SUPPORTED = 103;
const SIGN_IN = "sign-in";

const subject = location.hash.slice(1); // a ticket, or SIGN_IN
const signIn = subject === SIGN_IN;
const browserLink = signIn ? "/login?browser" : `/authorize/${encodeURIComponent(subject)}?browser`;
const marks = { good: "✓", calm: "→", bad: "!" };

function show({ tone, title, text, again = false }) {
  document.body.className = tone;
  document.querySelector(".mark").textContent = marks[tone];
  document.title = title;
  document.querySelector("h1").textContent = title;
  document.querySelector(".text").textContent = text;
  document.getElementById("again").parentElement.hidden = !again;
}

// Closes this page if the client can; otherwise opens the chat.
function goBack() {
  if (window.tt?.closeWindow) window.tt.closeWindow({});
  else if (document.body.dataset.chat) location.href = document.body.dataset.chat;
}

// Shows how it ended, with a way back to the chat. A success closes by itself.
function showResult(result) {
  show(result);
  const canClose = Boolean(window.tt?.closeWindow);
  document.getElementById("ways-back").hidden = !canClose && !document.body.dataset.chat;
  if (result.tone === "good" && canClose) setTimeout(goBack, CLOSE_DELAY);
}

function showError(code) {
  const { errorTitle: title, errorText } = document.body.dataset;
  show({ tone: "bad", title, text: errorText.replace("{code}", String(code)), again: true });
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

// Resolves to the client's API once the SDK is ready, or to null if it fails or does not load in time.
function clientReady() {
  return new Promise((resolve) => {
    const poll = setInterval(() => {
      if (!window.h5sdk) return;
      clearInterval(poll);
      window.h5sdk.error?.(() => resolve(null));
      window.h5sdk.ready(() => resolve(window.tt));
    }, 50);
    setTimeout(() => {
      clearInterval(poll);
      resolve(null);
    }, SDK_TIMEOUT);
  });
}

async function finish(fields) {
  const { result } = await post("results", fields);
  if (result.location) location.replace(result.location);
  else showResult(result);
}

function requestCode(client, attempt) {
  const sendResult = (fields) => finish({ state: attempt.state, ...fields }).catch(() => showError("network"));
  const onFailure = (fallback) => ({ errno, errString }) => {
    if (errno === DECLINED_BY_USER) sendResult({ error: "access_denied" });
    else if (errno === NOT_SUPPORTED) fallback();
    else showError(errno ?? errString ?? "unknown");
  };
  // The older API returns a code that identifies the user, without scopes.
  const requestIdentity = () => {
    if (!signIn || !client.requestAuthCode) return continueInBrowser();
    client.requestAuthCode({ appId: attempt.appID, success: ({ code }) => sendResult({ code }), fail: onFailure(continueInBrowser) });
  };
  if (!client.requestAccess) return requestIdentity();
  client.requestAccess({
    appID: attempt.appID,
    scopeList: attempt.scopeList,
    state: attempt.state,
    success: ({ code, state }) => sendResult({ code, state: state ?? attempt.state }),
    fail: onFailure(requestIdentity),
  });
}

async function run() {
  const { waitingTitle: title, waitingText, signInText } = document.body.dataset;
  document.getElementById("ways-back").hidden = true;
  show({ tone: "calm", title, text: signIn ? signInText : waitingText });
  const client = await clientReady();
  if (!client || !(client.requestAccess || (signIn && client.requestAuthCode))) return continueInBrowser();
  const { ok, result } = signIn ? await post("sign-ins", {}) : await post("attempts", { ticket: subject });
  if (ok) requestCode(client, result);
  else showResult(result);
}

document.getElementById("back").addEventListener("click", goBack);
document.getElementById("browser").href = browserLink;
document.getElementById("again").addEventListener("click", () => run().catch(() => showError("network")));
run().catch(() => showError("network"));
