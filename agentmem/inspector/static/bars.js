// The parts of scores as bars: all bars of a page share one scale and one zero; what a bar shows is told in words too.

import { h, signed } from "./dom.js";

// Eight colours, plain and striped; heads that are kin share a colour.
const LOOKS = {
  semantic: "c1", form: "c1 striped", lexical: "c2", phrase: "c2 striped", late: "c3", speaker: "c3 striped",
  neighbours: "c4", feedback: "c4 striped", session: "c5", peers: "c5 striped", links: "c6", ancestors: "c6 striped",
  time: "c7", recency: "c7 striped", importance: "c8", lead: "c8 striped",
};
const MEANINGS = {
  semantic: "meaning: similarity of the vectors",
  lexical: "words that the query and the memory share",
  phrase: "words that stand side by side in both",
  lead: "words of the query at the beginning of the memory",
  late: "each word of the query against each of the memory",
  neighbours: "the turns around the memory",
  links: "linked memories",
  time: "times that the query names",
  speaker: "the speaker that the query names",
  form: "a statement rather than a question",
  recency: "how young the memory is",
  importance: "the importance that it was given",
  feedback: "what was accepted and rejected before",
  session: "other memories of the same sitting",
  peers: "similar memories that scored well",
  ancestors: "memories above it in the hierarchy",
  dense: "similarity of the vectors",
};

export const look = (name) => LOOKS[name] ?? "c1";

const partsOf = (hit) => Object.entries(hit.heads).filter(([, value]) => value !== 0)
  .sort(([, left], [, right]) => Math.abs(right) - Math.abs(left));

// How far bars reach to either side of zero, over all hits.
export function scaleOf(hits) {
  const sides = hits.map((hit) => Object.values(hit.heads).reduce(([below, above], value) =>
    value < 0 ? [below - value, above] : [below, above + value], [0, 0]));
  const below = Math.max(...sides.map(([side]) => side), 0);
  const above = Math.max(...sides.map(([, side]) => side), 0);
  return { below, span: below + above || 1 };
}

const percent = (share) => `${(share * 100).toFixed(3)}%`;

function segment(name, value, from, scale) {
  const left = (scale.below + Math.min(from, from + value)) / scale.span;
  return h("span", { class: `segment ${look(name)}`, "data-head": name, title: `${name} ${signed(value)}`,
    style: { left: percent(left), width: percent(Math.abs(value) / scale.span) } });
}

const zero = (scale) => h("span", { class: "zero", style: { left: percent(scale.below / scale.span) } });

export function scoreBar(hit, scale) {
  const parts = partsOf(hit);
  const reached = [0, 0];
  const segments = parts.map(([name, value]) => {
    const side = value < 0 ? 0 : 1;
    reached[side] += value;
    return segment(name, value, reached[side] - value, scale);
  });
  const words = parts.map(([name, value]) => `${name} ${signed(value)}`).join(", ");
  return h("div", { class: "bar", role: "img", "aria-label": `Score ${hit.score.toPrecision(4)}: ${words || "no parts"}` },
    segments, zero(scale));
}

export function partsTable(hit) {
  const parts = partsOf(hit);
  const scale = scaleOf(parts.map(([name, value]) => ({ heads: { [name]: value } })));
  const rows = parts.map(([name, value]) => h("tr", {},
    h("th", { scope: "row", class: "head" }, h("span", { class: `swatch ${look(name)}`, "aria-hidden": "true" }), name),
    h("td", { class: "number" }, signed(value)),
    h("td", { class: "lane", "aria-hidden": "true" }, h("div", { class: "bar thin" }, segment(name, value, 0, scale), zero(scale)))));
  return h("table", { class: "parts" }, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Head"),
    h("th", { scope: "col", class: "number" }, "Part"), h("td", { "aria-hidden": "true" }))), h("tbody", {}, rows));
}

// Every head that has a part in one of the hits; a chosen one stands out in all bars.
export function legend(hits, bars) {
  const totals = new Map();
  for (const hit of hits) for (const [name, value] of partsOf(hit)) totals.set(name, (totals.get(name) ?? 0) + Math.abs(value));
  const names = [...totals.keys()].sort((left, right) => totals.get(right) - totals.get(left));
  const buttons = names.map((name) => h("button", { type: "button", class: "key", "aria-pressed": "false", onclick },
    h("span", { class: `swatch ${look(name)}`, "aria-hidden": "true" }), name));
  function onclick(event) {
    const chosen = event.currentTarget.getAttribute("aria-pressed") === "false" ? event.currentTarget : null;
    buttons.forEach((button) => button.setAttribute("aria-pressed", String(button === chosen)));
    const name = chosen ? names[buttons.indexOf(chosen)] : null;
    for (const each of bars.querySelectorAll("[data-head]")) each.classList.toggle("dim", name !== null && each.dataset.head !== name);
  }
  const known = names.filter((name) => name in MEANINGS);
  return h("section", { class: "legend", "aria-label": "Heads" },
    h("ul", {}, buttons.map((button) => h("li", {}, button))),
    known.length ? h("details", {}, h("summary", {}, "What the heads look at"),
      h("dl", {}, known.map((name) => h("div", {}, h("dt", {}, name), h("dd", {}, MEANINGS[name]))))) : null);
}
