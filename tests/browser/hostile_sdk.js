// What a script from elsewhere may try, once it runs on the page that authorizes inside the client. What it gets hold of,
// or why it does not, is left in an attribute of the page, by what it tried.

(async () => {
  // The page waits for the client, and stays.
  window.tt = { requestAccess() {} };
  window.h5sdk = { ready: (go) => go() };
  const got = {};
  const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

  async function attempt(name, trial) {
    try {
      got[name] = String(await Promise.race([trial(), pause(3000).then(() => "nothing")]));
    } catch (error) {
      got[name] = `refused: ${error}`;
    }
  }

  const read = (response) => response.text().then((text) => `${response.status} ${response.type} ${text}`);
  const form = { method: "POST", body: new URLSearchParams({ proof: "x" }), credentials: "include" };

  for (const path of ["/permissions", "/permissions/continue", "/login", "/healthz"]) {
    await attempt(`fetch ${path}`, () => fetch(path, { credentials: "include" }).then(read));
    await attempt(`no-cors ${path}`, () => fetch(path, { mode: "no-cors", credentials: "include" }).then(read));
  }
  for (const path of ["/permissions/revoke", "/permissions/cancel", "/logout"]) {
    await attempt(`post ${path}`, () => fetch(path, form).then(read));
    await attempt(`beacon ${path}`, () => navigator.sendBeacon(path, new URLSearchParams({ proof: "x" })));
  }
  for (const path of ["../../../permissions", "x/../../../../permissions", "%2e%2e/%2e%2e/%2e%2e/permissions", "x"]) {
    await attempt(`below ${path}`, () => fetch(`/oauth/lark/client/${path}`, { credentials: "include" }).then(read));
  }

  await attempt("xhr", () => new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("GET", "/permissions");
    request.onload = () => resolve(request.responseText);
    request.onerror = () => reject(new Error("xhr"));
    request.send();
  }));

  const loaded = (element) => new Promise((resolve, reject) => {
    element.addEventListener("load", () => resolve(element));
    element.addEventListener("error", () => reject(new Error(element.tagName)));
    document.body.append(element);
  });
  const framed = (tag, attribute) => () => {
    const frame = document.createElement(tag);
    frame[attribute] = "/permissions";
    return loaded(frame).then(() => frame.contentDocument.documentElement.outerHTML);
  };
  await attempt("iframe", framed("iframe", "src"));
  await attempt("object", framed("object", "data"));
  await attempt("blank frame", async () => {
    const frame = document.createElement("iframe");
    document.body.append(frame);
    return frame.contentWindow.fetch("/permissions").then(read);
  });
  await attempt("script", () => loaded(Object.assign(document.createElement("script"), { src: "/permissions" })).then(() => "loaded"));
  await attempt("module", () => import("/permissions").then((module) => JSON.stringify(module)));
  await attempt("image", () => loaded(Object.assign(document.createElement("img"), { src: "/permissions" })).then(() => "loaded"));
  await attempt("style", () => loaded(Object.assign(document.createElement("link"), { rel: "stylesheet", href: "/permissions" })).then(() => "loaded"));

  await attempt("service worker", () => navigator.serviceWorker.register("/static/lark/in_client.js").then(() => "registered"));
  await attempt("worker", () => new Promise((resolve, reject) => {
    const worker = new Worker("/static/lark/in_client.js");
    worker.onerror = () => reject(new Error("worker"));
    setTimeout(() => resolve("started"), 1000);
  }));
  await attempt("blob worker", () => new Promise((resolve, reject) => {
    const source = "fetch('/permissions').then((r) => r.text()).then(postMessage, (e) => postMessage('refused: ' + e))";
    const worker = new Worker(URL.createObjectURL(new Blob([source])));
    worker.onmessage = ({ data }) => resolve(data);
    worker.onerror = () => reject(new Error("worker"));
  }));

  // A window: of the page itself, and of an address that the server refuses before any page of ours is asked.
  const windowOn = async (path) => {
    const opened = window.open(path);
    if (!opened) return null;
    await pause(1000);
    return opened;
  };
  await attempt("window", async () => (await windowOn("/permissions"))?.document.documentElement.outerHTML);
  await attempt("window of ours", async () => (await windowOn("/nowhere"))?.fetch("/permissions").then(read));
  await attempt("window refused", async () => (await windowOn(`/${"a".repeat(9000)}`))?.fetch("/permissions").then(read));
  await attempt("window refused, post", async () => (await windowOn(`/${"a".repeat(9000)}`))?.fetch("/logout", form).then(read));
  await attempt("window refused, frame", async () => {
    const opened = await windowOn(`/${"a".repeat(9000)}`);
    const frame = opened.document.createElement("iframe");
    frame.src = "/permissions";
    opened.document.body.append(frame);
    await pause(1000);
    return frame.contentDocument?.documentElement.outerHTML;
  });
  await attempt("window refused, window", async () => {
    const opened = await windowOn(`/${"a".repeat(9000)}`);
    const further = opened.open("/permissions");
    await pause(1000);
    return further?.document.documentElement.outerHTML;
  });

  for (const path of ["/permissions/revoke", "/permissions/cancel", "/logout"]) {
    await attempt(`form ${path}`, async () => {
      const posted = Object.assign(document.createElement("form"), { method: "post", action: path, target: "_blank" });
      document.body.append(posted);
      posted.submit();
      await pause(500);
      return "submitted";
    });
  }
  await attempt("cookies", () => Promise.resolve(document.cookie));
  await attempt("storage", () => Promise.resolve(JSON.stringify({ ...localStorage, ...sessionStorage })));
  document.documentElement.dataset.got = JSON.stringify(got);
})();
