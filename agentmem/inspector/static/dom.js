// Elements are made from names and text nodes only: what a store holds is shown as text, and never becomes markup.

export function h(tag, properties, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "style") for (const [key, each] of Object.entries(value)) element.style.setProperty(key, each);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

// A stretch of the store's text: isolated, so that marks of direction in it do not reorder what stands around it.
export const said = (text, properties) => h("bdi", { dir: "auto", ...properties }, text);

// The address of a page, with its parameters; those without a value are left out.
export function address(page, parameters) {
  const kept = Object.entries(parameters ?? {}).filter(([, value]) => value !== null && value !== undefined);
  const query = new URLSearchParams(kept).toString();
  return `#/${page}${query ? `?${query}` : ""}`;
}

// The timeline from a record on.
export const inThread = ({ namespace, thread, created_at: from }) =>
  address("browse", { namespace, ...(thread === null ? { loose: "1" } : { thread }), from });

export const tell = (text) => { document.getElementById("status").textContent = text; };

export const count = (number, one, many = `${one}s`) => `${number.toLocaleString("en")} ${number === 1 ? one : many}`;

export function bytes(number) {
  const units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (number >= 1024 && unit < units.length - 1) { number /= 1024; unit += 1; }
  return `${unit ? number.toFixed(1) : number} ${units[unit]}`;
}

export function signed(number) {
  const size = Math.abs(number);
  return `${number < 0 ? "−" : "+"}${size < 1e-3 ? size.toExponential(1) : size.toPrecision(3)}`;
}

const iso = (seconds) => {
  const date = new Date(seconds * 1000);
  return Number.isNaN(date.getTime()) ? null : date.toISOString();
};
export const day = (seconds) => iso(seconds)?.split("T")[0] ?? `${seconds} s`;
export const clock = (seconds) => iso(seconds)?.split("T")[1].slice(0, 5) ?? "";
export const moment = (seconds) => `${day(seconds)} ${clock(seconds)}`.trim();

export function time(seconds, shown = moment) {
  return h("time", { datetime: iso(seconds), title: `${moment(seconds)} UTC` }, shown(seconds));
}

// A table whose first column heads its rows; it scrolls by itself where it is wider than the screen.
export function table(caption, columns, rows) {
  const head = h("tr", {}, columns.map(([name, kind]) => h("th", { scope: "col", class: kind }, name)));
  const body = rows.map((cells) => h("tr", {}, cells.map((cell, at) =>
    at ? h("td", { class: columns[at][1] }, cell) : h("th", { scope: "row", class: columns[0][1] }, cell))));
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    h("table", {}, h("caption", {}, caption), h("thead", {}, head), h("tbody", {}, body)));
}

export const facts = (pairs) => h("dl", { class: "facts" },
  pairs.filter(([, value]) => value !== null && value !== undefined && value !== "")
    .map(([name, value, kind]) => h("div", { class: kind }, h("dt", {}, name), h("dd", {}, value))));

// A text that was cut on its way says so.
export function cut({ text, length }, tag = "p") {
  const more = length > text.length
    ? h("p", { class: "soft" }, `The first ${text.length.toLocaleString("en")} of ${count(length, "character")}.`) : null;
  return [h(tag, { class: "text", dir: "auto" }, text), more];
}
