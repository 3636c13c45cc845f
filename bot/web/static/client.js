// Authorizes inside the client: asks the bot for an attempt, the client for the person's consent, and hands over the code.
// What comes back is shown as text only.

const SDK_PATIENCE = 3000; // milliseconds; then the platform's own page takes over
const REFUSED_BY_PERSON = 2700002;
const NOT_SUPPORTED = 103;

const ticket = location.hash.slice(1);
const browserLink = `/authorize/${encodeURIComponent(ticket)}?browser`;
const marks = { good: "✓", calm: "→", bad: "!" };

function show({ tone, title, text }, { again = false } = {}) {
  document.body.className = tone;
  document.querySelector(".mark").textContent = marks[tone];
  document.querySelector("h1").textContent = title;
  document.querySelector(".text").textContent = text;
  document.querySelector(".actions").hidden = !again;
}

function trouble(code) {
  const { trouble: title, troubleText } = document.body.dataset;
  show({ tone: "bad", title, text: troubleText.replace("{code}", String(code)) }, { again: true });
}

async function post(path, fields) {
  const response = await fetch(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(fields),
  });
  return { ok: response.ok, said: await response.json() };
}

// Resolves when the client's SDK is ready; false when it is not there in time.
function sdkReady() {
  return new Promise((resolve) => {
    const givenUp = setTimeout(() => resolve(false), SDK_PATIENCE);
    const look = setInterval(() => {
      if (!window.h5sdk) return;
      clearInterval(look);
      window.h5sdk.ready(() => {
        clearTimeout(givenUp);
        resolve(Boolean(window.tt));
      });
    }, 50);
    setTimeout(() => clearInterval(look), SDK_PATIENCE);
  });
}

async function finish(fields) {
  const { said } = await post("/oauth/lark/client/results", fields);
  show(said, { again: said.again });
}

async function run() {
  const { waiting: title, waitingText: text } = document.body.dataset;
  show({ tone: "calm", title, text });
  if (!(await sdkReady()) || !window.tt.requestAccess) {
    location.replace(browserLink);
    return;
  }
  const { ok, said: attempt } = await post("/oauth/lark/client/attempts", { ticket });
  if (!ok) {
    show(attempt);
    return;
  }
  window.tt.requestAccess({
    appID: attempt.appID,
    scopeList: attempt.scopeList,
    state: attempt.state,
    success: ({ code }) => finish({ state: attempt.state, code }).catch(() => trouble("network")),
    fail: ({ errno, errString }) => {
      if (errno === REFUSED_BY_PERSON) {
        finish({ state: attempt.state, error: "access_denied" }).catch(() => trouble("network"));
      } else if (errno === NOT_SUPPORTED) {
        location.replace(browserLink);
      } else {
        trouble(errno ?? errString ?? "unknown");
      }
    },
  });
}

document.getElementById("browser").href = browserLink;
document.getElementById("again").addEventListener("click", () => run().catch(() => trouble("network")));
run().catch(() => trouble("network"));
