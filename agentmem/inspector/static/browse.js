// Namespaces as a tree, their threads side by side on one axis of time, and a thread as a timeline.

import { act, ask } from "./api.js";
import { address, clock, count, cut, day, h, said, tell, time } from "./dom.js";

const DAY = 86400;

// --- the tree

async function nodes({ nodes: found, branch, after }, chosen, list) {
  for (const node of found) {
    const name = node.name || "(empty)";
    if (node.namespace !== null) {
      const shown = node.namespace === "" ? "(no name)" : name;
      list.append(h("li", {}, h("a", { class: "leaf", href: address("browse", { namespace: node.namespace }),
        "aria-current": node.namespace === chosen ? "true" : null }, said(shown), h("span", { class: "count" }, count(node.own, "record")))));
    }
    if (node.branch !== null) list.append(await branchItem(`${name}/`, node, chosen));
  }
  if (after !== null) {
    const more = h("button", { type: "button", onclick: act(async () => {
      const following = await ask("namespaces", { branch, after });
      more.parentElement.remove();
      const before = list.childElementCount;
      await nodes(following, chosen, list);
      list.children[before].querySelector("a, button").focus();
    }) }, "More names");
    list.append(h("li", {}, more));
  }
  return list;
}

async function branchItem(name, node, chosen) {
  const below = h("ul", { hidden: true });
  const button = h("button", { type: "button", class: "branch", "aria-expanded": "false", onclick: act(toggle) },
    said(name), h("span", { class: "count" }, count(node.below, "record")));
  async function toggle() {
    const open = button.getAttribute("aria-expanded") === "false";
    if (open && !below.childElementCount) {
      below.append(h("li", {}, h("a", { class: "leaf", href: address("search", { namespace: node.branch }) }, "Search this branch")));
      await nodes(await ask("namespaces", { branch: node.branch }), chosen, below);
    }
    button.setAttribute("aria-expanded", String(open));
    below.hidden = !open;
  }
  if (chosen?.startsWith(node.branch)) await toggle();
  return h("li", {}, button, below);
}

// --- the threads of a namespace

function lane(thread, from, span) {
  const left = span ? (thread.first - from) / span : 0;
  const width = span ? (thread.last - thread.first) / span : 1;
  return h("div", { class: "span", "aria-hidden": "true" }, h("span", { style: { left: `${left * 100}%`, width: `${width * 100}%` } }));
}

function threadItem(thread, namespace, from, span) {
  const parameters = { namespace, ...(thread.name === null ? { loose: "1" } : { thread: thread.name }) };
  const when = day(thread.first) === day(thread.last) ? [time(thread.first, day)] : [time(thread.first, day), " to ", time(thread.last, day)];
  return h("li", {}, h("a", { href: address("browse", parameters) }, thread.name === null ? "In no thread" : said(thread.name || "(empty)")),
    h("p", { class: "meta" }, count(thread.records, "record"), thread.sessions ? ` · ${count(thread.sessions, "sitting")}` : null, " · ", when),
    lane(thread, from, span));
}

async function threadsOf(namespace) {
  const found = await ask("threads", { namespace });
  const list = h("ul", { class: "threads" });
  const axis = h("p", { class: "axis", "aria-hidden": "true" });
  const known = [];
  const more = h("button", { type: "button", onclick: act(async () => {
    const before = list.childElementCount;
    append(await ask("threads", { namespace, after: more.dataset.after }));
    list.children[before]?.querySelector("a").focus();
  }) }, "More threads");
  function append({ threads, loose, after }) {
    known.push(...(loose ? [loose] : []), ...threads);
    const from = Math.min(...known.map((thread) => thread.first));
    const to = Math.max(...known.map((thread) => thread.last));
    list.replaceChildren(...known.map((thread) => threadItem(thread, namespace, from, to - from)));
    if (known.length) axis.replaceChildren(h("span", {}, day(from)), h("span", {}, day(to)));
    more.hidden = after === null;
    more.dataset.after = after;
  }
  append(found);
  const empty = known.length ? null : h("p", {}, "There are no records of exactly this namespace.");
  return [h("h2", { tabindex: "-1", "data-focus": true, "data-status": true }, "Threads of ", said(namespace || "the namespace without a name")),
    h("p", { class: "ways" }, h("a", { href: address("search", { namespace }) }, "Search here")), empty, axis, list, more].filter(Boolean);
}

// --- one thread

function gap(seconds) {
  const days = Math.floor(seconds / DAY);
  return days >= 1 ? h("li", { class: "gap" }, `${count(days, "day")} later`) : null;
}

function turn(record) {
  return h("li", { class: "turn" }, h("div", { class: "when" }, time(record.created_at, clock)),
    h("div", { class: "what" },
      h("p", { class: "meta" }, record.speaker ? [said(record.speaker, { class: "speaker" }), " · "] : null,
        h("a", { href: address("record", { id: record.id }) }, said(record.id))),
      record.body ? cut(record.body) : h("p", { class: "soft" }, "(no text: a vector only)")));
}

// Marks where the day or the sitting changes; ``before`` is the record that was shown last.
function turns(records, before, newestFirst) {
  return records.flatMap((record) => {
    const silence = before && !newestFirst ? gap(record.created_at - before.created_at) : null;
    const marks = [];
    if (before?.session !== record.session && (record.session !== null || before)) {
      marks.push(record.session === null ? "No sitting" : ["Sitting ", said(record.session)]);
    }
    if (!before || day(before.created_at) !== day(record.created_at)) marks.push(time(record.created_at, day));
    before = record;
    return [silence, marks.length ? h("li", { class: "mark" }, marks.map((mark) => h("span", {}, mark))) : null, turn(record)];
  }).filter(Boolean);
}

async function timelineOf(namespace, thread, order, from) {
  const newestFirst = order === "newest";
  const question = { namespace, thread, order };
  const found = await ask("timeline", { ...question, after: from === null ? null : `${from},-inf,-1` });
  let last = found.records.at(-1);
  const list = h("ol", { class: "timeline" }, turns(found.records, null, newestFirst));
  const more = h("button", { type: "button", hidden: found.after === null, "data-after": found.after, onclick: act(async () => {
    const next = await ask("timeline", { ...question, after: more.dataset.after });
    const items = turns(next.records, last, newestFirst);
    list.append(...items);
    last = next.records.at(-1) ?? last;
    more.hidden = next.after === null;
    more.dataset.after = next.after;
    items.find((item) => item.className === "turn")?.querySelector("a").focus();
    tell(`${count(next.records.length, "further record")}`);
  }) }, "More records");
  const here = { namespace, ...(thread === null ? { loose: "1" } : { thread }) };
  const way = (words, parameters) => h("a", { href: address("browse", { ...here, ...parameters }) }, words);
  const ways = from === null
    ? [newestFirst ? way("Oldest first", {}) : way("Newest first", { order: "newest" })]
    : [way("From the beginning", {}), newestFirst ? way("Later records", { from }) : way("Earlier records", { from, order: "newest" })];
  return [h("h2", { tabindex: "-1", "data-focus": true, "data-status": true }, thread === null ? "Records in no thread" : ["Thread ", said(thread || "(empty)")]),
    h("p", { class: "ways" }, h("a", { href: address("browse", { namespace }) }, "All threads of ", said(namespace || "(no name)")),
      ways),
    from === null ? null : h("p", { class: "soft" }, newestFirst ? "Before " : "From ", time(Number(from)), newestFirst ? ", newest first." : " on."),
    found.records.length ? list : h("p", {}, "There are no records here."), more].filter(Boolean);
}

export async function browse(parameters) {
  const namespace = parameters.get("namespace");
  const thread = parameters.get("thread");
  const roots = await ask("namespaces");
  let content;
  if (namespace === null) content = [h("p", { class: "soft" }, "Choose a namespace to see its threads.")];
  else if (thread !== null || parameters.has("loose")) content = await timelineOf(namespace, thread, parameters.get("order"), parameters.get("from"));
  else content = await threadsOf(namespace);
  const tree = roots.nodes.length ? await nodes(roots, namespace, h("ul", { class: "tree" })) : h("p", {}, "The store is empty.");
  return [h("h1", { tabindex: "-1" }, "Timeline"),
    h("div", { class: "columns" }, h("nav", { class: "panel", "aria-label": "Namespaces" }, h("h2", {}, "Namespaces"), tree),
      h("section", { "aria-label": "Threads and records" }, content))];
}
