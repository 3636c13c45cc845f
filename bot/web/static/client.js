// Authorizes or signs in inside the client: asks the bot for an attempt, the client for a code, and hands the code over.
// What comes back is shown as text only.

const SDK_PATIENCE = 3000; // milliseconds; then the platform's own page takes over
const READ_FOR = 3000; // milliseconds that a page with good news stays
const REFUSED_BY_PERSON = 2700002;
const NOT_SUPPORTED = 103;
const SIGN_IN = "sign-in";

const subject = location.hash.slice(1); // a ticket, or that somebody wants to sign in
const signIn = subject === SIGN_IN;
const browserLink = signIn ? "/login?browser" : `/authorize/${encodeURIComponent(subject)}?browser`;
const marks = { good: "✓", calm: "→", bad: "!" };

function show({ tone, title, text, again = false }) {
  document.body.className = tone;
  document.querySelector(".mark").textContent = marks[tone];
  document.querySelector("h1").textContent = title;
  document.querySelector(".text").textContent = text;
  document.getElementById("again").parentElement.hidden = !again;
}

// Closes this page, where the client can; else leads to the chat.
function goBack() {
  if (window.tt?.closeWindow) window.tt.closeWindow({});
  else if (document.body.dataset.chat) location.href = document.body.dataset.chat;
}

// The last word: a way back to the chat, which is taken by itself when all is well.
function end(said) {
  show(said);
  const canClose = Boolean(window.tt?.closeWindow);
  document.getElementById("ways-back").hidden = !canClose && !document.body.dataset.chat;
  if (said.tone === "good" && canClose) setTimeout(goBack, READ_FOR);
}

function trouble(code) {
  const { trouble: title, troubleText } = document.body.dataset;
  show({ tone: "bad", title, text: troubleText.replace("{code}", String(code)), again: true });
}

function goOnInBrowser() {
  location.replace(browserLink);
}

async function post(path, fields) {
  const response = await fetch(`/oauth/lark/client/${path}`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(fields),
  });
  return { ok: response.ok, said: await response.json() };
}

// Resolves to the client's APIs when its SDK is ready; to nothing when it is not there in time, or says that it failed.
function clientReady() {
  return new Promise((resolve) => {
    const look = setInterval(() => {
      if (!window.h5sdk) return;
      clearInterval(look);
      window.h5sdk.error?.(() => resolve(null));
      window.h5sdk.ready(() => resolve(window.tt));
    }, 50);
    setTimeout(() => {
      clearInterval(look);
      resolve(null);
    }, SDK_PATIENCE);
  });
}

async function finish(fields) {
  const { said } = await post("results", fields);
  if (said.location) location.replace(said.location);
  else end(said);
}

function ask(client, attempt) {
  const finished = (fields) => finish({ state: attempt.state, ...fields }).catch(() => trouble("network"));
  const failed = (otherwise) => ({ errno, errString }) => {
    if (errno === REFUSED_BY_PERSON) finished({ error: "access_denied" });
    else if (errno === NOT_SUPPORTED) otherwise();
    else trouble(errno ?? errString ?? "unknown");
  };
  // The older API gives a code for whoever uses the client, and knows no scopes.
  const askWho = () => {
    if (!signIn || !client.requestAuthCode) return goOnInBrowser();
    client.requestAuthCode({ appId: attempt.appID, success: ({ code }) => finished({ code }), fail: failed(goOnInBrowser) });
  };
  if (!client.requestAccess) return askWho();
  client.requestAccess({
    appID: attempt.appID,
    scopeList: attempt.scopeList,
    state: attempt.state,
    success: ({ code, state }) => finished({ code, state: state ?? attempt.state }),
    fail: failed(askWho),
  });
}

async function run() {
  const { waiting: title, waitingText, signInText } = document.body.dataset;
  document.getElementById("ways-back").hidden = true;
  show({ tone: "calm", title, text: signIn ? signInText : waitingText });
  const client = await clientReady();
  if (!client || !(client.requestAccess || (signIn && client.requestAuthCode))) return goOnInBrowser();
  const { ok, said } = signIn ? await post("sign-ins", {}) : await post("attempts", { ticket: subject });
  if (ok) ask(client, said);
  else end(said);
}

document.getElementById("back").addEventListener("click", goBack);
document.getElementById("browser").href = browserLink;
document.getElementById("again").addEventListener("click", () => run().catch(() => trouble("network")));
run().catch(() => trouble("network"));
