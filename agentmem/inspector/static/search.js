// Search: what is found, and why it stands where it stands.

import { ask, post } from "./api.js";
import { legend, partsTable, scaleOf, scoreBar } from "./bars.js";
import { address, count, cut, h, inThread, said, tell, time } from "./dom.js";

const SIZES = ["10", "25", "50", "100"];
const FILTER_HELP = 'JSON over metadata and own fields, such as {"topic": {"$in": ["life", "work"]}} or {"@speaker": "Ada"}.';

function field(label, control, help) {
  const id = `field-${control.name}`;
  control.id = id;
  if (help) control.setAttribute("aria-describedby", `${id}-help`);
  return h("div", { class: "field" }, h("label", { for: id }, label), control,
    help ? h("p", { class: "help", id: `${id}-help` }, help) : null);
}

const option = (value, chosen) => h("option", { value, selected: value === chosen }, value);

function form(parameters, about) {
  const value = (name) => parameters.get(name) ?? "";
  const mechanism = h("select", { name: "mechanism" }, about.mechanisms.map((name) => option(name, value("mechanism") || "auto")));
  const size = h("select", { name: "k" }, SIZES.map((each) => option(each, value("k") || "10")));
  const text = h("input", { type: "search", name: "text", required: true, value: value("text"), autocomplete: "off",
    "data-focus": !value("text") });
  const filter = h("textarea", { name: "filter", rows: "2", spellcheck: "false" }, value("filter"));
  const onsubmit = (event) => {
    event.preventDefault();
    const given = Object.fromEntries([...new FormData(event.target)].filter(([, each]) => each.trim()));
    const next = address("search", given);
    if (next === location.hash) dispatchEvent(new HashChangeEvent("hashchange"));
    else location.hash = next;
  };
  return h("form", { class: "panel search", role: "search", onsubmit },
    h("div", { class: "ask" }, field("Search for", text), h("button", { type: "submit", class: "primary" }, "Search")),
    h("div", { class: "fields" },
      field("Namespace", h("input", { name: "namespace", value: value("namespace"), autocomplete: "off", spellcheck: "false" }),
        'Empty: all. "users/": the branch below.'),
      field("Mechanism", mechanism, "What ranks; auto chooses."),
      field("Hits", size, "On a page.")),
    h("details", { open: value("filter") !== "" }, h("summary", {}, "Filter"), field("Filter", filter, FILTER_HELP)));
}


function figures(hit) {
  const parts = [];
  if (hit.similarity !== null) parts.push(`cosine ${hit.similarity.toFixed(2)}`);
  if (hit.relevance !== null) parts.push(`relevance ${hit.relevance.toFixed(2)}`);
  return parts.length ? ` ${parts.join(", ")}` : "";
}


function hitItem(hit, scale, verdicts) {
  const { record } = hit;
  const title = `hit-${hit.rank}`;
  return h("li", { class: "hit", "aria-labelledby": title },
    h("div", { class: "hit-head" },
      h("h3", { id: title }, h("span", { class: "rank" }, `#${hit.rank} score `),
        h("span", { class: "score" }, hit.score.toPrecision(4))),
      h("p", { class: "meta" }, record.speaker ? [said(record.speaker, { class: "speaker" }), " · "] : null,
        time(record.created_at), record.namespace ? [" · ", said(record.namespace)] : null)),
    record.body ? cut(record.body) : h("p", { class: "soft" }, "(no text: a vector only)"),
    scoreBar(hit, scale),
    h("div", { class: "hit-foot" },
      h("p", { class: "sources" }, h("span", { class: "soft" }, "Found by "), hit.sources.map((name) => h("span", { class: "badge" }, name)),
        h("span", { class: "soft" }, figures(hit))),
      h("p", { class: "ways" }, h("a", { href: address("record", { id: record.id }) }, "Record", h("span", { class: "hidden" }, ` of hit ${hit.rank}`)),
        h("a", { href: inThread(record) }, record.thread === null ? "Timeline" : "Thread", h("span", { class: "hidden" }, ` of hit ${hit.rank}`))),
      verdicts ? verdicts.buttons(hit) : null),
    h("details", { class: "why" }, h("summary", {}, "Parts of the score", h("span", { class: "hidden" }, ` of hit ${hit.rank}`)), partsTable(hit)));
}

// Verdicts are collected and kept in one go: a search that was judged as a whole teaches more than single clicks.
function judging(text, hits) {
  const given = new Map();
  const ids = (verdict) => [...given].filter(([, each]) => each === verdict).map(([id]) => id);
  const summary = h("p", {});
  const save = h("button", { type: "button", class: "primary", onclick: keep }, "Save feedback");
  const drop = h("button", { type: "button", onclick: () => clear("Feedback discarded") }, "Discard");
  const bar = h("section", { class: "judging", "aria-label": "Feedback", hidden: true }, summary, h("div", { class: "actions" }, save, drop));
  const all = [];
  function refresh() {
    for (const { id, verdict, button } of all) button.setAttribute("aria-pressed", String(given.get(id) === verdict));
    summary.textContent = `${ids("accepted").length} accepted, ${ids("rejected").length} rejected, not saved yet`;
    bar.hidden = given.size === 0;
  }
  function clear(words) {
    given.clear();
    const back = bar.contains(document.activeElement);
    refresh();
    if (back) document.getElementById("results").focus();
    tell(words);
  }
  let saving = false;
  async function keep() {
    if (saving) return;
    saving = true;
    try {
      await post("feedback", { query: text, accepted: ids("accepted"), rejected: ids("rejected"), shown: hits.map((hit) => hit.record.id) });
      clear("Feedback saved");
      document.getElementById("kept").textContent = "Feedback saved: the next learning takes it into account.";
    } catch (error) {
      summary.textContent = error.message;
      tell(error.message);
    }
    saving = false;
  }
  function buttons(hit) {
    const id = hit.record.id;
    const toggle = (verdict, words) => {
      const onclick = () => { if (given.get(id) === verdict) given.delete(id); else given.set(id, verdict); refresh(); };
      const button = h("button", { type: "button", class: `verdict ${verdict}`, "aria-pressed": "false", onclick },
        words, h("span", { class: "hidden" }, ` hit ${hit.rank}`));
      all.push({ id, verdict, button });
      return button;
    };
    return h("div", { class: "verdicts" }, toggle("accepted", "Accept"), toggle("rejected", "Reject"));
  }
  return { bar, buttons };
}

function pager(parameters, found, offset, size) {
  const to = (start) => address("search", { ...Object.fromEntries(parameters), offset: start || null });
  return h("nav", { class: "pager", "aria-label": "Further hits" },
    offset > 0 ? h("a", { class: "button", href: to(Math.max(0, offset - size)) }, `Hits ${Math.max(1, offset - size + 1)} to ${offset}`) : null,
    found.more ? h("a", { class: "button", href: to(offset + size) }, `Hits from ${offset + size + 1}`) : null);
}

async function results(parameters, about) {
  const size = Number(parameters.get("k") ?? 10);
  const offset = Number(parameters.get("offset") ?? 0);
  const found = await ask("search", Object.fromEntries(parameters));
  const [first] = found.hits;
  const heading = h("h2", { id: "results", tabindex: "-1", "data-focus": true, "data-status": true },
    found.hits.length ? `${count(found.hits.length, "hit")} in ${found.milliseconds.toFixed(1)} ms` : "No hits");
  if (!first) return [heading, h("p", {}, offset ? "There are no further ones." : "Nothing matches here: widen the namespace or the filter.")];
  const verdicts = about.writable ? judging(parameters.get("text"), found.hits) : null;
  const scale = scaleOf(found.hits);
  const list = h("ol", { class: "hits", start: offset + 1 }, found.hits.map((hit) => hitItem(hit, scale, verdicts)));
  return [heading,
    h("p", { class: "reason" }, "Ranked by ", h("strong", {}, first.mechanism), ": ", said(first.reason), "."),
    verdicts ? h("p", { class: "good", id: "kept" }) : h("p", { class: "soft" }, "Feedback is off, since the store is opened read-only: run ",
      h("code", {}, "agentmem inspect --write"), " to accept and reject hits."),
    legend(found.hits, list), list, pager(parameters, found, offset, size), verdicts?.bar];
}

export async function search(parameters, about) {
  const heading = h("h1", { tabindex: "-1" }, "Search");
  const note = about.embeds ? null : h("p", { class: "soft" },
    "This store's vectors were given, or come from an embedder that only its program has: texts are searched for by words alone.");
  const shown = form(parameters, about);
  if (!parameters.get("text")) return [heading, note, shown].filter(Boolean);
  let found;
  try {
    found = await results(parameters, about);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    found = [h("div", { class: "panel problem", role: "alert", tabindex: "-1", "data-focus": true, "data-status": true },
      h("p", { class: "text" }, error.message))];
  }
  return [heading, note, shown, ...found].filter(Boolean);
}
