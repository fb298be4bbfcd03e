// Latencies of the searches that this page made.

import { ask } from "./api.js";
import { h, table } from "./dom.js";

const STAGE = "search.";
const TOTAL = `${STAGE}total.`;

const duration = (us) => us >= 1e6 ? `${(us / 1e6).toFixed(2)} s` : us >= 1e3 ? `${(us / 1e3).toFixed(2)} ms` : `${us.toFixed(0)} µs`;

function span(row, most) {
  const share = (us) => `${(us / most) * 100}%`;
  return h("div", { class: "spread", "aria-hidden": "true" }, h("span", { class: "p99", style: { width: share(row.p99_us) } }),
    h("span", { class: "p95", style: { width: share(row.p95_us) } }), h("span", { class: "p50", style: { width: share(row.p50_us) } }));
}

const key = (name) => [h("span", { class: `swatch ${name}`, "aria-hidden": "true" }), ` ${name} `];

function group(caption, first, rows) {
  const most = Math.max(...rows.map(([, row]) => row.p99_us));
  return table(caption, [[first], ["Samples", "number"], ["p50", "number"], ["p95", "number"], ["p99", "number"], [["p50", "p95", "p99"].map(key), "wide"]],
    rows.map(([name, row]) => [name, row.count.toLocaleString("en"), duration(row.p50_us), duration(row.p95_us), duration(row.p99_us), span(row, most)]));
}

export async function latency() {
  const { stages } = await ask("latency");
  const rows = Object.entries(stages);
  const below = (prefix) => rows.filter(([name]) => name.startsWith(prefix)).map(([name, row]) => [name.slice(prefix.length), row]);
  const totals = below(TOTAL);
  const steps = below(STAGE).filter(([name]) => !name.startsWith("total.")).sort(([, left], [, right]) => right.p50_us - left.p50_us);
  return [h("h1", { tabindex: "-1" }, "Latencies"),
    h("p", { class: "soft" }, "Of the searches that this page made since it was started: other processes measure their own."),
    totals.length ? group("Whole searches, by mechanism", "Mechanism", totals) : h("p", {}, "There were none yet. ", h("a", { href: "#/search" }, "Search"), " for something first."),
    steps.length ? group("Stages of a search", "Stage", steps) : null].filter(Boolean);
}
