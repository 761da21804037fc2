import { at, bar, element, orderNote, reporting, table } from "./nodes.js";
import { ask } from "./server.js";
import { number, say } from "./words.js";

let last = null; // the answer on the page, to write it again in another language

export function setUpSearch() {
  at("search-form").addEventListener("submit", (event) => {
    event.preventDefault();
    search();
  });
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest("input, textarea, select");
    if (event.key === "/" && !typing && !at("search").hidden) {
      event.preventDefault();
      at("query").focus();
    }
  });
}

function wanted() {
  const body = { query: at("query").value, k: Number(at("k").value), mode: at("mode").value };
  if (at("rerank").checked) body.rerank = "order";
  const filter = at("filter").value.trim();
  if (filter) {
    try {
      body.filter = JSON.parse(filter);
    } catch (error) {
      throw new Error(say("badFilter", { why: error.message }));
    }
  }
  return body;
}

const search = () =>
  reporting(at("search-status"), say("working"), async () => {
    const body = wanted();
    const began = performance.now();
    const answer = await ask("/v1/search", body);
    last = { ...answer, mode: body.mode, ms: Math.round(performance.now() - began) };
    return showResults();
  });

export function showResults() {
  if (last === null) return "";
  at("results").replaceChildren(...last.hits.map((hit) => result(hit, last)));
  if (!last.hits.length) return say("none");
  return say("found", { count: number(last.hits.length), ms: number(last.ms) });
}

function result(hit, answer) {
  const best = Math.max(...answer.hits.map((other) => other.score));
  const share = answer.mode === "dense" ? hit.score : hit.score / best;
  const measure = element("p", { class: "measure" },
    element("span", { class: "score" }, hit.score.toFixed(3)), bar(share));
  const quiet = (text) => measure.append(element("span", { class: "quiet" }, text));
  if (hit.percentile !== null) quiet(say("higher", { percent: number(Math.floor(hit.percentile * 10) / 10) }));
  if (hit.truncated) quiet(say("truncated"));
  quiet(hit.id);
  const item = element("li", {}, text(hit), measure);
  if (hit.same_words) item.append(orderNote(hit.order_score));
  const metadata = Object.entries(hit.metadata);
  if (metadata.length) {
    const pair = ([key, value]) => element("div", {}, element("dt", {}, key),
      element("dd", {}, typeof value === "string" ? value : JSON.stringify(value)));
    item.append(element("dl", { class: "metadata" }, ...metadata.map(pair)));
  }
  item.append(explanation(hit, answer.query));
  return item;
}

function text(hit) {
  if (!hit.span) return element("p", { class: "hit-text" }, hit.text);
  const [start, stop] = hit.span.map((place) => utf16(hit.text, place));
  return element("p", { class: "hit-text" },
    element("span", { class: "aside" }, hit.text.slice(0, start)),
    element("mark", {}, hit.text.slice(start, stop)),
    element("span", { class: "aside" }, hit.text.slice(stop)));
}

// Spans count characters, strings here UTF-16 units.
const utf16 = (whole, place) => Array.from(whole).slice(0, place).join("").length;

function explanation(hit, query) {
  const place = element("div", { hidden: "" });
  const status = element("p", { role: "status" });
  const button = element("button", { type: "button", class: "plain", "aria-expanded": "false" }, say("why"));
  button.addEventListener("click", () => {
    place.hidden = !place.hidden;
    button.setAttribute("aria-expanded", String(!place.hidden));
    button.textContent = say(place.hidden ? "why" : "unwhy");
    if (place.hidden || place.childElementCount > 1) return;
    reporting(status, say("working"), async () => {
      const found = await ask("/v1/explain", { query, id: hit.id });
      const rows = found.matches.map((match) => [match.token, match.nearest, match.cosine]);
      place.append(table(say("matchesOf"), [say("token1"), say("token2"), say("cosine")], rows));
    });
  });
  place.append(status);
  return element("div", {}, button, place);
}
