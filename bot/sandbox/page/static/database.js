// The Database tab: the bot's own tables, as an operator would read them. Encrypted secrets are shown encrypted.

import { get } from "./api.js";
import { byId, el, fill, icon, showDialog } from "./dom.js";

const REFRESH_MS = 1500;

/** Encrypted secrets have the form `version.key.ciphertext`. */
const isEncrypted = (value) => /^v\d+\.[\w-]+\.[\w-]{30,}$/.test(value);

const asText = (value) => (typeof value === "object" ? `${value.hex}… (${value.bytes} bytes)` : String(value));

function shownValue(column, value) {
  if (value === null) return el("span", { class: "null" }, "–");
  const text = asText(value);
  if (column.name === "status") return el("span", { class: "status", data: { status: text } }, text);
  if (isEncrypted(text)) return el("span", { class: "sealed", title: "Sealed: the key is not in the database" }, icon("lock"), el("span", {}, text));
  return el("span", { class: "value", title: text.length > 40 ? text : null }, text);
}

/** Shows a whole row, with empty columns and types. */
function showRow(table, row) {
  showDialog(table.name, el("dl", { class: "fields-all" }, table.columns.map((column, number) => [
    el("dt", {}, el("code", {}, column.name), el("span", {}, column.type.toLowerCase())),
    el("dd", {}, row[number] === null ? el("span", { class: "null" }, "–") : asText(row[number])),
  ])));
}

function record(table, row) {
  const filled = table.columns.map((column, number) => [column, row[number]]).filter(([, value]) => value !== null);
  const empty = table.columns.length - filled.length;
  return el("li", { class: "record" },
    el("dl", {}, filled.map(([column, value]) => el("div", {}, el("dt", {}, column.name), el("dd", {}, shownValue(column, value))))),
    el("button", { class: "record-more", type: "button", onclick: () => showRow(table, row) },
      empty ? `Whole row, with ${empty} empty ${empty === 1 ? "column" : "columns"}` : "Whole row"));
}

export function createDatabase() {
  let tables = [];
  let chosen = null;
  let shown = "";
  let timer = null;
  let busy = false;

  const picker = el("div", { class: "table-picker", role: "group", "aria-label": "Tables" });
  const body = el("div", { class: "panel-scroll" });

  function choose(name) {
    chosen = name;
    drawPicker();
    load();
  }

  function drawPicker() {
    const others = tables.filter((table) => !table.promised);
    const select = el("select", { class: "pill", "aria-label": "Other tables and views", onchange: (event) => choose(event.target.value) },
      el("option", { value: "", disabled: true }, "more…"),
      others.map((table) => el("option", { value: table.name }, `${table.name} ${table.count}`)));
    select.value = others.some((table) => table.name === chosen) ? chosen : "";
    select.setAttribute("aria-pressed", String(select.value !== ""));
    // A redraw would close the list while a visitor has it open.
    if (picker.contains(document.activeElement) && document.activeElement.tagName === "SELECT") return;
    fill(picker, tables.filter((table) => table.promised).map((table) => el("button", {
      class: "pill", type: "button", "aria-pressed": String(table.name === chosen), onclick: () => choose(table.name),
    }, table.name, el("span", { class: "pill-count" }, String(table.count)))), others.length ? select : null);
  }

  function drawTable(table) {
    const number = table.rows.length;
    fill(body,
      number ? el("ul", { class: "records", "aria-label": `Rows of ${table.name}, newest first` }, table.rows.map((row) => record(table, row)))
        : el("div", { class: "empty-panel" }, icon("database"), el("h3", {}, "No rows yet"), el("p", {}, table.name)),
      el("p", { class: "table-foot" }, `${number < table.count ? `The newest ${number} of ${table.count} rows` : `${number} ${number === 1 ? "row" : "rows"}`}, read-only from the bot's own file.`));
  }

  async function load() {
    if (busy) return;
    busy = true;
    try {
      const answer = await get("database");
      tables = answer.tables;
      if (!tables.length) {
        fill(picker);
        fill(body, el("div", { class: "empty-panel" }, icon("database"), el("h3", {}, "No database yet"), el("p", {}, answer.note)));
        shown = "";
        return;
      }
      if (!tables.some((table) => table.name === chosen)) chosen = tables[0].name;
      drawPicker();
      const table = await get(`database/${encodeURIComponent(chosen)}`);
      const fresh = JSON.stringify(table);
      if (fresh !== shown) { drawTable(table); shown = fresh; }
    } catch (problem) {
      fill(body, el("p", { class: "table-foot" }, problem.message));
      shown = "";
    } finally {
      busy = false;
    }
  }

  return {
    draw: () => fill(byId("database"), picker, body),
    /** Reads the tables periodically while the tab is visible. */
    watch: (visible) => {
      clearInterval(timer);
      if (!visible) return;
      load();
      timer = setInterval(() => { if (document.visibilityState === "visible") load(); }, REFRESH_MS);
    },
  };
}
