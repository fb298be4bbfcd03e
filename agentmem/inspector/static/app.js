// Addresses to pages: what stands behind "#/" says which page, and all of its state.

import { ask, leave } from "./api.js";
import { browse } from "./browse.js";
import { count, h, said, tell } from "./dom.js";
import { health } from "./health.js";
import { latency } from "./latency.js";
import { learning } from "./learning.js";
import { record } from "./record.js";
import { search } from "./search.js";

const PAGES = { search, browse, record, health, latency, learning };
const main = document.getElementById("main");
let about = null;
let shown = 0;

function where() {
  const [path, query] = location.hash.replace(/^#\//, "").split(/\?(.*)/s);
  return { name: Object.hasOwn(PAGES, path) ? path : "search", parameters: new URLSearchParams(query ?? "") };
}

function mark(name) {
  for (const link of document.querySelectorAll("#tabs a")) {
    if (link.dataset.page === name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

function failed(error) {
  const again = h("button", { type: "button", onclick: show }, "Try again");
  return [h("h1", { tabindex: "-1" }, "That did not work"),
    h("div", { class: "panel problem", role: "alert" }, h("p", { class: "text" }, error.message), again)];
}

async function show() {
  const mine = ++shown;
  const { hash } = location;  // by the time that the page is there, it may be another
  const { name, parameters } = where();
  leave();
  mark(name);
  tell("Loading");
  let content;
  try {
    about ??= await greet();
    content = await PAGES[name](parameters, about);
  } catch (error) {
    content = failed(error);
  }
  if (mine !== shown) return;
  main.replaceChildren(...[content].flat());
  main.dataset.shows = hash;
  const heading = main.querySelector("h1");
  document.title = `${heading.textContent} · agentmem`;
  window.scrollTo(0, 0);
  (main.querySelector("[data-focus]") ?? heading).focus();  // comes into view where it is not
  tell(main.querySelector("[data-status]")?.textContent ?? heading.textContent);
}

async function greet() {
  const found = await ask("about");
  document.getElementById("store").replaceChildren(
    said(found.path, { class: "path" }), ` · ${count(found.records, "record")} · `,
    h("span", { class: `badge ${found.writable ? "write" : ""}` }, found.writable ? "writable" : "read-only"));
  return found;
}

document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();  // what stands behind "#" is an address here
  main.focus();
  main.scrollIntoView();
});
addEventListener("hashchange", show);
show();
