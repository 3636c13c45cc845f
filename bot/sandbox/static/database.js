// The Database tab: the bot's own tables, as an operator would read them. Secrets are sealed, and shown sealed.

import { get } from "./api.js";
import { byId, el, fill, icon, showDialog } from "./dom.js";

const REFRESH_MS = 1500;
const LONG = 42;

export function createDatabase() {
  let tables = [];
  let chosen = null;
  let shown = "";
  let timer = null;
  let busy = false;

  const picker = el("div", { class: "table-picker", role: "group", "aria-label": "Tables" });
  const body = el("div", { class: "panel-scroll table-body" });

  const isSealed = (value) => typeof value === "string" && /^(v\d|sealed|k\d|[\w-]{2,16})[:.][\w+/=:.-]{30,}$/.test(value);

  function cell(value) {
    if (value === null) return el("span", { class: "null" }, "–");
    if (typeof value === "object" && value.bytes !== undefined) {
      return el("span", { class: "sealed", title: `${value.bytes} bytes, sealed` }, icon("lock"), value.hex);
    }
    const text = String(value);
    const short = text.length > LONG ? `${text.slice(0, LONG)}…` : text;
    if (isSealed(text)) return el("span", { class: "sealed" }, icon("lock"), short);
    return el("span", { class: "value" }, short);
  }

  const statusOf = (column, value) => (column === "status" || column.endsWith("_status")) && value
    ? el("span", { class: "status", data: { status: value } }, value) : null;

  function showRow(table, row) {
    showDialog(table.name, el("dl", { class: "record" }, table.columns.map((column, number) => [
      el("dt", {}, el("code", {}, column.name), column.comment ? el("span", {}, column.comment) : null),
      el("dd", {}, row[number] === null ? el("span", { class: "null" }, "–")
        : el("span", { class: "value" }, typeof row[number] === "object" ? `${row[number].hex} (${row[number].bytes} bytes)` : String(row[number]))),
    ])));
  }

  function drawTable(table) {
    const rows = table.rows;
    fill(body, 
      table.comment ? el("p", { class: "table-comment" }, table.comment) : null,
      rows.length === 0 ? el("div", { class: "empty-panel" }, icon("database"), el("h3", {}, "No rows yet")) : el("div", { class: "grid-scroll", tabindex: "0" },
        el("table", { class: "grid" },
          el("thead", {}, el("tr", {}, table.columns.map((column) =>
            el("th", { scope: "col", title: [column.comment, column.type].filter(Boolean).join(" – ") }, column.name)))),
          el("tbody", {}, rows.map((row) => el("tr", {
            tabindex: "0", role: "button", "aria-label": `Row of ${table.name}`,
            onclick: () => showRow(table, row),
            onkeydown: (event) => { if (event.key === "Enter") showRow(table, row); },
          }, row.map((value, number) => el("td", {}, statusOf(table.columns[number].name, value) ?? cell(value)))))))),
      el("p", { class: "table-foot" }, `${rows.length === table.count ? table.count : `newest ${rows.length} of ${table.count}`} ${table.count === 1 ? "row" : "rows"} · read from the bot's own file, read-only`));
  }

  function drawPicker() {
    picker.replaceChildren(...tables.map((table) => el("button", {
      class: "pill", type: "button", "aria-pressed": String(table.name === chosen),
      onclick: () => { chosen = table.name; shown = ""; drawPicker(); load(); },
    }, table.name, el("span", { class: "pill-count" }, String(table.count)))));
  }

  async function load() {
    if (busy) return;
    busy = true;
    try {
      const answer = await get("database");
      tables = answer.tables;
      if (!tables.length) {
        picker.replaceChildren();
        fill(body, el("div", { class: "empty-panel" }, icon("database"), el("h3", {}, "No database yet"),
          el("p", {}, answer.note ?? "The bot makes its tables when it starts.")));
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
    /** Reads the tables again and again for as long as the tab is looked at. */
    watch: (visible) => {
      clearInterval(timer);
      timer = null;
      if (!visible) return;
      load();
      timer = setInterval(() => { if (document.visibilityState === "visible") load(); }, REFRESH_MS);
    },
  };
}
