// Questions to the server; a question of a page that was left is given up.

import { h } from "./dom.js";

let leaving = new AbortController();
let waiting = 0;

export function leave() {
  leaving.abort();
  leaving = new AbortController();
}

function busy(change) {
  waiting += change;
  document.getElementById("busy").hidden = waiting === 0;
  document.getElementById("main").setAttribute("aria-busy", String(waiting > 0));
}

async function answered(response) {
  const type = response.headers.get("content-type") ?? "";
  if (!type.startsWith("application/json")) {
    throw new Error(response.status === 401
      ? "The server was started again, or its cookie is gone: open the address that it printed."
      : `The server answered ${response.status}.`);
  }
  const value = await response.json();
  if (!response.ok) throw new Error(value.error);
  return value;
}

async function request(path, options) {
  busy(1);
  try {
    return await answered(await fetch(`/api/${path}`, { ...options, signal: leaving.signal }));
  } catch (error) {
    if (error instanceof TypeError) throw new Error("The server does not answer: is agentmem inspect still running?");
    throw error;
  } finally {
    busy(-1);
  }
}

export function ask(path, parameters) {
  const kept = Object.entries(parameters ?? {}).filter(([, value]) => value !== null && value !== undefined);
  const query = new URLSearchParams(kept).toString();
  return request(query ? `${path}?${query}` : path);
}

// What a button does beyond its page; that it failed is told beside it.
export const act = (action) => async ({ currentTarget: button }) => {
  button.parentElement.querySelector(":scope > .bad")?.remove();
  try {
    await action(button);
  } catch (error) {
    if (error.name !== "AbortError") button.after(h("p", { class: "bad", role: "alert" }, error.message));
  }
};

export const post = (path, body) => request(path, {
  method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body ?? {}),
});
