import { at, bar, element, orderNote, reporting, scrolled, table } from "./nodes.js";
import { ask } from "./server.js";
import { say } from "./words.js";

let last = null;

export function setUpCompare() {
  at("compare-form").addEventListener("submit", (event) => {
    event.preventDefault();
    reporting(at("compare-status"), say("working"), async () => {
      last = await ask("/v1/compare", { a: at("text-a").value, b: at("text-b").value });
      showComparison();
    });
  });
}

export function showComparison() {
  if (last === null) return;
  const rows = last.poolings.map(({ pooling, score }) => [pooling, measured(score)]);
  const parts = [
    table(say("underPoolings"), [say("pooling"), say("cosine")], rows),
    element("p", { class: "quiet" }, say("blind")),
  ];
  if (last.order_score !== null) parts.unshift(orderNote(last.order_score));
  at("comparison").replaceChildren(...parts, heat(last));
}

const measured = (cosine) =>
  element("span", { class: "measure" }, element("span", { class: "score" }, cosine.toFixed(3)), bar(cosine));

function heat({ tokens_a: first, tokens_b: second, cosines }) {
  const all = cosines.flat();
  const [least, most] = [Math.min(...all), Math.max(...all)];
  const cell = (cosine, best) => {
    const node = element("td", best ? { class: "best" } : {}, cosine.toFixed(2));
    node.style.setProperty("--heat", (cosine - least) / (most - least || 1));
    return node;
  };
  const row = (token, values) => {
    const best = values.indexOf(Math.max(...values));
    return element("tr", {}, element("th", { scope: "row" }, token),
      ...values.map((cosine, place) => cell(cosine, place === best)));
  };
  const found = element("table", { class: "heat" },
    element("caption", {}, say("tokens")),
    element("thead", {}, element("tr", {}, element("td"), ...second.map((token) => element("th", { scope: "col" }, token)))),
    element("tbody", {}, ...first.map((token, place) => row(token, cosines[place]))));
  return scrolled(found, say("tokens"));
}
