// Elements out of data. Texts are only ever set as text, never as markup.
import { say } from "./words.js";

export const at = (id) => document.getElementById(id);

export function element(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

// A bar of a share from 0 to 1.
export function bar(share) {
  const inner = element("i");
  inner.style.setProperty("--share", `${100 * Math.max(0, Math.min(1, share))}%`);
  return element("span", { class: "bar", "aria-hidden": "true" }, inner);
}

// A table with a header; a cell is a text, a number with three digits, or a node.
export function table(caption, header, rows) {
  const cell = (value) =>
    typeof value === "number"
      ? element("td", { class: "number" }, value.toFixed(3))
      : element("td", {}, value);
  const found = element(
    "table", {},
    element("caption", {}, caption),
    element("thead", {}, element("tr", {}, ...header.map((name) => element("th", { scope: "col" }, name)))),
    element("tbody", {}, ...rows.map((row) => element("tr", {}, ...row.map(cell)))),
  );
  return scrolled(found, caption);
}

// What may be wider than the page.
export const scrolled = (node, label) =>
  element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": label }, node);

// Of two texts of the same words, how far they mean the same, 0 to 1.
export function orderNote(score) {
  if (score >= 0.5) return element("p", { class: "quiet" }, say("sameWordsSame"));
  return element("p", { class: "warning" }, say("sameWords", { percent: Math.round(100 * score) }));
}

// Run what a form asks for, and say meanwhile that it runs, then what went wrong, if anything did.
export async function reporting(status, working, run) {
  status.className = "";
  status.textContent = working;
  try {
    status.textContent = (await run()) ?? "";
  } catch (error) {
    status.className = "error";
    status.textContent = error.message;
  }
}
