// One record: all that is known of it.

import { ask } from "./api.js";
import { address, count, cut, facts, h, inThread, said, table, time } from "./dom.js";

export async function record(parameters) {
  const found = await ask("record", { id: parameters.get("id") ?? "" });
  const links = found.links.map((link) => h("li", {}, said(link.kind), " → ", h("a", { href: address("record", { id: link.id }) }, said(link.id))));
  const judged = found.feedback.map((each) => [time(each.at), said(each.query ?? "(a vector)"), h("span", { class: `badge ${each.verdict}` }, each.verdict)]);
  return [h("h1", { tabindex: "-1", "data-status": true }, "Record ", said(found.id)),
    h("section", { class: "panel", "aria-label": "Text" }, found.body ? cut(found.body) : h("p", { class: "soft" }, "(no text: a vector only)")),
    facts([
      ["Namespace", h("a", { href: address("browse", { namespace: found.namespace }) }, said(found.namespace || "(no name)"))],
      ["Thread", h("a", { href: inThread(found) }, found.thread === null ? "in none" : said(found.thread || "(empty)"))],
      ["Position", found.position], ["Sitting", found.session && said(found.session)], ["Speaker", found.speaker && said(found.speaker)],
      ["Created", time(found.created_at)], ["Updated", time(found.updated_at)],
      ["Expires", found.expires_at === null ? "never" : time(found.expires_at)],
      ["Importance", found.importance], ["Version", found.version], ["Vector", found.vector ? "yes" : "no"],
    ]),
    h("h2", {}, "Metadata"), h("div", { class: "panel" }, cut(found.metadata, "pre")),
    h("h2", {}, "Links"),
    links.length ? h("ul", { class: "links" }, links) : h("p", { class: "soft" }, "It links to no other record."),
    found.all_links > links.length ? h("p", { class: "soft" }, `The first ${links.length} of ${found.all_links}.`) : null,
    h("h2", {}, "Feedback"),
    judged.length ? table("Searches that showed or judged this record, newest first", [["When"], ["Query"], ["Verdict"]], judged)
      : h("p", { class: "soft" }, "No search that was judged names it."),
    h("p", { class: "soft" }, `Looked for in the newest ${count(found.feedback_read, "judged search", "judged searches")}.`)].filter(Boolean);
}
