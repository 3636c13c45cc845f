// The Trouble tab: controls that make things go wrong.

import { get, post, remove } from "./api.js";
import { byId, el, fill, icon, toast } from "./dom.js";
import { BOT_CHOICES, CLIENT_CHOICES, EXAMPLE_PATH, FAULT_PRESETS, TOKEN_CHOICES } from "../platform.js";

const KINDS = ["status", "delay", "delay_after", "rate_limit", "drop_before", "drop_after", "html", "truncate", "timeout", "down", "lost_authorization"];

const STEPS = [[300, "5 minutes"], [7200, "2 hours"], [691200, "8 days"], [5270400, "61 days"]];

const WAITING = [["86400", "a day"], ["120", "2 minutes"], ["30", "30 seconds"]];

export function createTrouble(model) {
  const person = el("section", { class: "trouble-section" });
  const bot = el("section", { class: "trouble-section" });
  const faults = el("section", { class: "trouble-section" });
  const faultNote = el("p");
  const faultList = el("div", { class: "fault-list" });
  const links = el("section", { class: "trouble-section" });
  const clock = el("section", { class: "trouble-section" });
  const scopes = el("section", { class: "trouble-section" });
  const filter = el("input", { type: "search", class: "input", placeholder: "Find a permission", "aria-label": "Find a permission", oninput: () => drawScopes() });
  const scopeList = el("ul", { class: "scope-list" });
  let process = null;
  let timer = null;
  let drawn = Promise.resolve();

  /** Runs an action and shows a toast with its label or its error. */
  const act = (label, action) => async (event) => {
    const button = event?.currentTarget;
    button?.setAttribute("aria-busy", "true");
    try {
      await action();
      if (label) toast(label, "success");
    } catch (problem) {
      toast(problem.message, "error");
    } finally {
      button?.removeAttribute("aria-busy");
    }
  };
  const button = (label, done, action, look = "") => el("button", { class: `button small ${look}`, type: "button", onclick: act(done, action) }, label);
  const title = (glyph, words, note) => el("header", { class: "trouble-title" }, icon(glyph), el("h3", {}, words),
    typeof note === "string" ? el("p", {}, note) : note);

  function drawPerson() {
    const viewer = model.person(model.viewer);
    const who = viewer.en_name || viewer.name;
    const shown = [who, ...viewer.granted].join(" ");
    if (person.dataset.shown === shown) return;
    person.dataset.shown = shown;
    const expire = (which) => () => post("tokens/expire", { person: viewer.open_id, which });
    fill(person,
      title("key", `What ${who} granted`),
      viewer.granted.length
        ? el("ul", { class: "granted" }, viewer.granted.map((scope) => el("li", { class: "scope-name" }, scope)))
        : el("p", { class: "hint" }, "Nothing so far."),
      el("div", { class: "button-row" },
        button("Expire access token", "The access token has expired", expire("access")),
        button("Expire both tokens", "Both tokens have expired", expire("both")),
        button("Withdraw everything", "Withdrawn at the platform", () => post("revoke", { person: viewer.open_id }), "danger")));
  }

  function drawBot() {
    if (!process) return;
    if (!process.supervised) {
      fill(bot, title("bot", "The bot"), el("p", { class: "hint" }, "It was started elsewhere, so it cannot be stopped from here."));
      return;
    }
    const log = el("pre", { class: "source bot-log", tabindex: "0" }, process.log.join("\n") || "No output yet.");
    const open = bot.querySelector("details")?.open ?? process.state === "failed";
    const waiting = el("select", { class: "input", id: "waiting", onchange: (event) =>
      act("The bot was started again", () => post("bot", { action: "restart", deferred_ttl: Number(event.target.value) }).then(showBot))() },
      WAITING.map(([value, words]) => el("option", { value }, words)));
    waiting.value = String(process.deferred_ttl);
    const chosen = BOT_CHOICES.map(([name, label, options]) => {
      const select = el("select", { class: "input", id: name, onchange: (event) =>
        act("The bot was started again", () => post("bot", { action: "restart", settings: { [name]: event.target.value } }).then(showBot))() },
        options.map(([value, words]) => el("option", { value }, words)));
      select.value = process.settings[name] ?? "";
      return el("label", { class: "field-row", for: name }, el("span", {}, label), select);
    });
    const running = process.running;
    fill(bot,
      title("bot", "The bot", running ? `running, process ${process.pid}` : process.words),
      el("div", { class: "button-row" },
        running ? button("Kill it (SIGKILL)", "Killed", () => post("bot", { action: "kill" }).then(showBot), "danger") : null,
        running ? button("Stop it (SIGTERM)", "Stopped", () => post("bot", { action: "stop" }).then(showBot)) : null,
        running ? null : button("Start it", "Started", () => post("bot", { action: "start" }).then(showBot), "primary")),
      el("label", { class: "field-row", for: "waiting" }, el("span", {}, "A suspended call waits"), waiting),
      chosen,
      el("details", { class: "fold", open }, el("summary", {}, icon("chevron"), "Its last output"), log));
    log.scrollTop = log.scrollHeight;
  }

  function drawFaults() {
    fill(faults,
      title("trouble", "The platform misbehaves", faultNote),
      el("div", { class: "button-row" }, FAULT_PRESETS.map((preset) => button(preset.label, "Trouble is on", () =>
        post("faults", { ...preset.fault, match: preset.own ? { identity: model.viewer } : preset.fault.match })))),
      customFault(),
      faultList);
  }

  /** Redraws the list alone: a visitor may be filling in the form beside it. */
  function drawFaultList() {
    faultNote.textContent = `The first four strike only calls in ${model.person(model.viewer).en_name}'s name.`;
    fill(faultList,
      model.faults.length ? el("ul", { "aria-label": "Trouble that is on" }, model.faults.map((fault) => el("li", {},
        el("span", {}, faultWords(fault)),
        el("button", { class: "icon-button", type: "button", "aria-label": `End: ${faultWords(fault)}`, onclick: act("Ended", () => remove(`faults/${fault.fault_id}`)) }, icon("close"))))) : null,
      model.faults.length > 1 ? button("End all of it", "All is well", () => remove("faults")) : null);
  }

  function faultWords(fault) {
    const value = { delay: `${fault.seconds} s`, delay_after: `${fault.seconds} s`, status: String(fault.status) }[fault.kind];
    const named = (name, text) => (name === "identity" ? `as ${model.person(text)?.en_name ?? "the app"}` : text);
    const match = Object.entries(fault.match ?? {}).map(([name, text]) => named(name, text)).join(" ") || "every request";
    const left = fault.times ? `${fault.times - (fault.struck ?? 0)} to come` : null;
    return [[fault.kind.replace("_", " "), value].filter(Boolean).join(" "), match, left].filter(Boolean).join(" · ");
  }

  function customFault() {
    const kind = el("select", { class: "input", id: "fault-kind" }, KINDS.map((name) => el("option", {}, name)));
    const path = el("input", { class: "input", id: "fault-path", placeholder: EXAMPLE_PATH });
    const number = el("input", { class: "input", id: "fault-number", type: "number", min: "0", placeholder: "500" });
    const times = el("input", { class: "input", id: "fault-times", type: "number", min: "1", placeholder: "1" });
    const set = () => {
      const value = number.value ? Number(number.value) : undefined;
      const fault = { kind: kind.value, match: path.value ? { path: path.value } : {} };
      if (times.value) fault.times = Number(times.value);
      if (kind.value === "status") fault.status = value ?? 500;
      if (kind.value.startsWith("delay")) fault.seconds = value ?? 3;
      if (kind.value === "rate_limit") fault.reset = value;
      return post("faults", fault);
    };
    const row = (label, input) => el("label", { class: "field-row", for: input.id }, el("span", {}, label), input);
    return el("details", { class: "fold" }, el("summary", {}, icon("chevron"), "Custom fault"),
      el("div", { class: "fold-body" }, row("Kind", kind), row("Path, a prefix or pattern", path),
        row("Status or seconds", number), row("How often", times), button("Set it", "Trouble is on", set)));
  }

  /** Converts an option's value to the type that the setting has. */
  const settingOf = (current, value) => {
    if (typeof current === "number") return Number(value);
    return typeof current === "boolean" ? value === "true" : value || null;
  };

  /** Settings of the client that opens links, of the consent page, and of the lifetime of tokens. */
  async function drawBehaviour() {
    const behaviour = await post("behaviour", {});
    const choice = (name, label, options) => {
      const select = el("select", { class: "input", id: name, onchange: (event) =>
        act("Saved", () => post("behaviour", { [name]: settingOf(behaviour[name], event.target.value) }))() },
        options.map(([value, words]) => el("option", { value }, words)));
      select.value = String(behaviour[name] ?? "");
      return el("label", { class: "field-row", for: name }, el("span", {}, label), select);
    };
    fill(links,
      title("chat", "The client", "Where the links in the chat open, and what a page finds there."),
      CLIENT_CHOICES.map((each) => choice(...each)));
    drawClock(TOKEN_CHOICES.map((each) => choice(...each)));
  }

  function drawClock(lifetime) {
    const later = (path) => STEPS.map(([seconds, words]) => button(`+ ${words}`, `${words} later`, () =>
      post(path, { advance: seconds }).then((state) => (path === "time" ? showBot(state) : null))));
    fill(clock,
      title("clock", "Time", process?.ahead ? `The bot's clock is ahead: ${new Date(Date.now() + process.ahead * 1000).toLocaleString("en-GB")}.` : "Codes live 5 minutes, access tokens 2 hours."),
      process?.supervised ? el("p", { class: "hint" }, "For everybody; the bot is started again:") : null,
      process?.supervised ? el("div", { class: "button-row" }, later("time")) : null,
      el("p", { class: "hint" }, "On the platform's clock alone:"),
      el("div", { class: "button-row" }, later("clock").slice(0, 3)),
      lifetime);
  }

  function drawScopes() {
    const wanted = filter.value.toLowerCase().split(",").map((part) => part.trim()).filter(Boolean);
    const matching = model.app.scopes.filter(({ scope, description }) =>
      !wanted.length || wanted.some((part) => `${scope} ${description.en} ${description.zh}`.toLowerCase().includes(part)));
    // Existing switches are kept, because one of them may have the focus.
    const names = matching.map((entry) => entry.scope).join(" ");
    if (names !== scopeList.dataset.shown) {
      fill(scopeList, matching.map(scopeSwitch), matching.length ? null : el("li", { class: "hint" }, "No such permission."));
      scopeList.dataset.shown = names;
    }
    [...scopeList.querySelectorAll("input")].forEach((input, number) => { input.checked = matching[number].user; });
  }

  const scopeSwitch = ({ scope, description }) => el("li", {},
    el("label", { class: "switch" },
      el("input", { type: "checkbox", role: "switch", name: scope, onchange: (event) =>
        act(null, () => post("app-scopes", { scope, user: event.target.checked }))() }),
      el("span", { class: "switch-track" }),
      el("span", { class: "switch-words" }, el("span", {}, description.en || scope), el("span", { class: "scope-name" }, scope))));

  function showBot(state) {
    const fresh = JSON.stringify(state);
    if (process && fresh === JSON.stringify(process)) return;
    const moved = process && process.ahead !== state.ahead;
    process = state;
    drawBot();
    if (moved) drawBehaviour();
  }

  return {
    draw: () => {
      fill(scopes, title("shield", "What the app may ask for", "Switched on: users can be asked for it."), filter, scopeList);
      fill(byId("trouble"), el("div", { class: "panel-scroll trouble" }, person, bot, faults, links, clock, scopes));
      drawPerson(); drawFaults(); drawFaultList(); drawScopes();
      drawn = get("bot").then(showBot).then(drawBehaviour);
    },
    /** Call after the platform's state has changed. */
    refresh: () => { drawPerson(); drawFaultList(); drawScopes(); },
    watch: (visible) => {
      clearInterval(timer);
      if (!visible) return;
      const look = () => get("bot").then(showBot).catch(() => {});
      look();
      timer = setInterval(look, 2000);
    },
    /** Scrolls to the switches of some scopes (comma-separated), after the sections above have been drawn. */
    find: (wanted) => { filter.value = wanted; drawScopes(); drawn.finally(() => scopes.scrollIntoView()); },
    /** Call after a switch of person. */
    drawFor: () => { drawPerson(); drawFaultList(); },
  };
}
