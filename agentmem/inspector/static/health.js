// The state of the index, and the check of everything.

import { ask, post } from "./api.js";
import { bytes, count, facts, h, said, table, tell } from "./dom.js";

const POLL = 400;

function parts(index) {
  if (!index.parts.length) return h("p", { class: "soft" }, "There is nothing to index yet.");
  const rows = index.parts.map((part, at) => [part.kind === "tail" ? "tail" : `segment ${at + 1}`, part.rows.toLocaleString("en"),
    part.dead.toLocaleString("en"), part.graph ? "graph" : "scan", bytes(part.bytes)]);
  return table("Parts of the index", [["Part"], ["Rows", "number"], ["Dead", "number"], ["Searched by"], ["Bytes", "number"]], rows);
}

function verdict(state) {
  if (state.state === "failed") return h("p", { class: "bad" }, `The check failed: ${state.error}`);
  if (state.state !== "done") return h("p", { class: "soft" }, "Not checked since the page was started.");
  const { report } = state;
  return [h("p", { class: report.ok ? "good" : "bad" }, report.ok ? "All is well" : count(report.problems.length, "problem"),
    `: ${count(report.records, "record")}, recall@10 of the index ${report.recall.toFixed(3)}, ${state.seconds.toFixed(1)} s.`),
  report.problems.length ? h("ul", {}, report.problems.map((problem) => h("li", {}, said(problem)))) : null,
  report.full ? null : h("p", { class: "soft" }, "The full-text index was left out, which needs a writable store: run ",
    h("code", {}, "agentmem check"), ", or the page with ", h("code", {}, "--write"), ".")];
}

function checking(first) {
  const shown = h("div", {});
  const step = h("p", { id: "step" });
  const running = h("div", { hidden: true }, step, h("progress", { "aria-labelledby": "step" }));
  const button = h("button", { type: "button", class: "primary", onclick: () => follow(post("check"), true) }, "Check everything");
  async function follow(question, mine) {
    try {
      let state = await question;
      if (mine) tell("The check began");
      while (state.state === "running") {
        button.disabled = true;
        running.hidden = false;
        step.textContent = `Checking ${state.step}, ${state.seconds.toFixed(0)} s`;
        await new Promise((resolve) => { setTimeout(resolve, POLL); });
        state = await ask("check");
      }
      shown.replaceChildren(...[verdict(state)].flat().filter(Boolean));
      if (mine) tell(shown.textContent);
    } catch (error) {
      if (error.name !== "AbortError") shown.replaceChildren(h("p", { class: "bad", role: "alert" }, error.message));
    }
    running.hidden = true;
    button.disabled = false;
  }
  follow(Promise.resolve(first), first.state === "running");
  return h("section", { class: "panel", "aria-labelledby": "check" }, h("h2", { id: "check" }, "Check"),
    h("p", { class: "soft" }, "Tables, vectors, checksums, agreement of index and records, and recall against exact scans. Large stores take a while; the page can be used meanwhile."),
    button, running, shown);
}

export async function health() {
  const [info, state] = await Promise.all([ask("health"), ask("check")]);
  const tail = info.index.parts.filter((part) => part.kind === "tail").reduce((sum, part) => sum + part.rows, 0);
  const weights = info.weights.active === null ? "constants" : `learned, number ${info.weights.active}`;
  return [h("h1", { tabindex: "-1" }, "Index health"),
    facts([["Records", info.records.toLocaleString("en")], ["Namespaces", info.namespaces.toLocaleString("en")],
      ["Segments", info.index.parts.filter((part) => part.kind === "segment").length], ["Rows in the tail", tail.toLocaleString("en")],
      ["Last change", info.seq.toLocaleString("en")], ["Database", bytes(info.tables.bytes)], ["Free in it", bytes(info.tables.free_bytes)],
      ["Embedder", said(info.embedder), "long"], ["Dimension", info.dimension], ["Metric", info.metric], ["Ranks by", weights]]),
    info.weights.ignored ? h("p", { class: "bad" }, `Learned weights are ignored: ${info.weights.ignored}`) : null,
    checking(state),
    h("h2", {}, "Problems of the index"),
    info.problems.length ? h("ul", { class: "bad" }, info.problems.map((problem) => h("li", {}, said(problem)))) : h("p", { class: "good" }, "None known."),
    parts(info.index),
    table("Rows of the tables", [["Table"], ["Rows", "number"]],
      Object.entries(info.tables).filter(([name]) => !name.endsWith("bytes")).map(([name, rows]) => [name, rows.toLocaleString("en")]))].filter(Boolean);
}
