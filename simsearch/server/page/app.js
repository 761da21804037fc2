import { loadReport, showReport } from "./benchmark.js";
import { setUpCompare, showComparison } from "./compare.js";
import { setUpSearch, showResults } from "./search.js";
import { ask } from "./server.js";
import { number, otherLanguage, say, translate } from "./words.js";

const tabs = [...document.querySelectorAll('[role="tab"]')];

function open(tab, { focus = false } = {}) {
  for (const other of tabs) {
    const chosen = other === tab;
    other.setAttribute("aria-selected", String(chosen));
    other.tabIndex = chosen ? 0 : -1;
    document.getElementById(other.getAttribute("aria-controls")).hidden = !chosen;
  }
  if (focus) tab.focus();
  const view = tab.getAttribute("aria-controls");
  history.replaceState(null, "", `#${view}`);
  if (view === "benchmark") loadReport();
}

function setUpTabs() {
  for (const [place, tab] of tabs.entries()) {
    tab.addEventListener("click", () => open(tab));
    tab.addEventListener("keydown", ({ key }) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[key];
      if (step) open(tabs.at((place + step) % tabs.length), { focus: true });
    });
  }
  open(tabs.find((tab) => `#${tab.getAttribute("aria-controls")}` === location.hash) ?? tabs[0]);
}

function setUpTheme() {
  const root = document.documentElement;
  const chosen = localStorage.getItem("theme");
  if (chosen) root.dataset.theme = chosen;
  document.getElementById("theme").addEventListener("click", () => {
    const dark = root.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
    root.dataset.theme = dark === "dark" ? "light" : "dark";
    localStorage.setItem("theme", root.dataset.theme);
  });
}

let facts = null;

function write() {
  translate();
  document.getElementById("language").textContent = say("other");
  if (facts) {
    const { count, model, pooling } = facts;
    document.getElementById("facts").textContent = say("facts", { count: number(count), model, pooling });
  }
  const status = showResults();
  if (status) document.getElementById("search-status").textContent = status;
  showComparison();
  showReport();
}

document.getElementById("language").addEventListener("click", () => {
  otherLanguage();
  write();
});
setUpTheme();
setUpSearch();
setUpCompare();
write();
setUpTabs();
document.getElementById("query").focus();
ask("/v1/info").then((info) => {
  facts = { count: info.count, model: info.model, pooling: info.pooling };
  write();
}).catch(() => {});
