import { at, reporting, table } from "./nodes.js";
import { ask } from "./server.js";
import { say } from "./words.js";

let last = null;

export const loadReport = () =>
  reporting(at("benchmark-status"), say("working"), async () => {
    last ??= (await ask("/v1/benchmark")).results;
    showReport();
    return last.length ? "" : say("noReport");
  });

export function showReport() {
  if (last === null) return;
  const tasks = [...new Set(last.map((result) => result.task))];
  at("report").replaceChildren(...tasks.map(taskTable));
}

// One row a model and pooling, one column a metric.
function taskTable(task) {
  const results = last.filter((result) => result.task === task);
  const metrics = [...new Set(results.flatMap((result) => Object.keys(result.metrics)))];
  const name = task.split(/[/\\]/).filter(Boolean).slice(-2).join("/");
  const rows = results.map((result) => [
    result.model.split(/[/\\]/).at(-1), result.pooling,
    ...metrics.map((metric) => value(result, metric)),
  ]);
  return table(name, [say("model"), say("pooling"), ...metrics], rows);
}

function value({ metrics, intervals }, metric) {
  if (!(metric in metrics)) return "";
  const interval = intervals[metric];
  const shown = metrics[metric].toFixed(3);
  return interval ? `${shown} (${interval.map((bound) => bound.toFixed(3)).join("–")})` : shown;
}
