// What was learned from feedback, and the feedback itself.

import { ask } from "./api.js";
import { cut, h, said, table, time } from "./dom.js";

const standing = (attempt) => attempt.active ? "ranks now" : attempt.promoted ? "ranked before" : "kept aside";

export async function learning() {
  const found = await ask("learning");
  const attempts = found.attempts.map((each) => h("li", { class: "panel" },
    h("h3", {}, `Number ${each.number} `, h("span", { class: `badge ${each.active ? "accepted" : ""}` }, standing(each))),
    h("p", { class: "meta" }, time(each.at)), h("p", {}, said(each.reason)),
    h("details", {}, h("summary", {}, `Report of number ${each.number}`), cut(each.report, "pre"))));
  const judged = found.feedback.map((each) => [time(each.at), said(each.query ?? "(a vector)"),
    ...["accepted", "rejected", "used", "shown"].map((name) => String(each[name]))]);
  return [h("h1", { tabindex: "-1" }, "Learning"),
    h("h2", {}, "Weights"),
    attempts.length ? h("ol", { class: "attempts" }, attempts) : h("p", {}, "Nothing was learned yet: searches rank by the constants. ", h("code", {}, "agentmem learn"), " makes weights of feedback."),
    found.all_attempts > attempts.length ? h("p", { class: "soft" }, `The newest ${attempts.length} of ${found.all_attempts}.`) : null,
    h("h2", {}, "Feedback"),
    judged.length ? table("Newest judged searches", [["When"], ["Query"], ["Accepted", "number"], ["Rejected", "number"], ["Used", "number"], ["Shown", "number"]], judged)
      : h("p", {}, "No search was judged yet.")].filter(Boolean);
}
