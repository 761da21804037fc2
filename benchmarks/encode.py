"""Encoding speed: simsearch beside sentence-transformers with each backend, and CTranslate2.

Each engine is given the same weights and waits in a process of its own; they take turns, in another
order each time, so that whatever else the machine does falls on all alike. Prints a table for each
model and set of texts, with medians and ranges over the repeats.
"""

from __future__ import annotations

import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from encode_engines import ENGINES, REFERENCE
from encode_options import LEAST_TOKENS, Plan, option_parser, plan_of
from encode_tables import Figures, ModelResult, SetResult, Shape, machine, render
from encode_worker import Worker, WorkerError
from same_vectors import progress

MINI = Shape(layers=6, hidden=384, intermediate=1536)
"""all-MiniLM-L6-v2, which gets ``--tokens``; a larger model gets fewer, as it takes longer."""
CANDIDATES = 2000
COLD_STARTS = 3
COLD_TEXT = "What is the way to the station? 去火车站怎么走？"
PAUSE = 0.25
"""Seconds between turns, in which the threads of the last engine stop spinning."""


@dataclass(slots=True)
class Team:
    """The open workers of a model: an engine or products that failed is no longer among them."""

    engines: dict[str, Worker] = field(default_factory=dict)
    products: dict[str, Worker] = field(default_factory=dict)

    def ask(self, name: str, command: str, **arguments: Any) -> dict[str, Any] | None:
        """A worker's answer; if it fails, a line says why, and it is let go."""
        workers = self.engines if name in self.engines else self.products
        try:
            return workers[name].ask(command, **arguments)
        except WorkerError as error:
            progress(f"  left out: {name}: {error}")
            del workers[name]
            if name == REFERENCE:
                raise SystemExit("it is what all is compared with") from error
            return None

    def close(self) -> None:
        """End all."""
        for worker in (*self.engines.values(), *self.products.values()):
            worker.close()


def main() -> int:
    """Measure every model, print the tables and write what was asked for."""
    arguments = option_parser(__doc__).parse_args()
    plan = plan_of(arguments)
    random.seed(0)
    results: list[ModelResult] = []
    with tempfile.TemporaryDirectory() as name:
        os.environ["SIMSEARCH_CACHE"] = str(Path(name) / "cache")
        for title, model in arguments.model:
            root = (arguments.folder or Path(name)).resolve() / title
            root.mkdir(parents=True, exist_ok=True)
            results.append(_measure(title, model, root, plan))
            print(render(results[-1], markdown=False), flush=True)
            facts = machine(results, plan.repeats)
            if arguments.markdown:
                tables = [render(result, markdown=True) for result in results]
                lines = [*(f"- {fact}" for fact in facts), *tables]
                arguments.markdown.write_text("\n".join(lines) + "\n", "utf-8")
            if arguments.json:
                raw = {"machine": facts, "models": [asdict(result) for result in results]}
                arguments.json.write_text(json.dumps(raw, indent=1), "utf-8")
    print("\n" + "\n".join(facts))
    return 0


def _measure(title: str, model: str, root: Path, plan: Plan) -> ModelResult:
    progress(f"{title}: writing it in every format")
    if not (root / "hf").exists():
        try:
            _once(plan.worker("own"), "model", model=model, folder=str(root / "hf"))
        except WorkerError as error:
            raise SystemExit(f"{title} could not be written: {error}") from error
    names = _prepared(root, plan)
    cold = _cold_starts(names, root, plan) if plan.cold_start else {}
    config = json.loads((root / "hf" / "config.json").read_text("utf-8"))
    shape = Shape(config["num_hidden_layers"], config["hidden_size"], config["intermediate_size"])
    with _team(names, root, shape, plan) as (team, about, loaded):
        sets = [
            _measure_set(name, texts, team, shape, loaded, plan)
            for name, texts in plan.texts.items()
        ]
        idle = {name: worker.idle for name, worker in team.engines.items()}
    return ModelResult(title, shape, about, loaded, cold, idle, sets)


def _once(worker: Worker, command: str, **arguments: Any) -> None:
    try:
        worker.ask(command, **arguments)
    finally:
        worker.close()


def _prepared(root: Path, plan: Plan) -> list[str]:
    """Write every format that is not there yet; the engines whose format there is."""
    made = {"hf": True}
    for name in plan.engines:
        spec = ENGINES[name]
        if spec.format in made:
            continue
        mark = root / f"{spec.format}.made"
        made[spec.format] = True
        if mark.exists():
            continue
        try:
            worker = plan.worker(spec.environment)
            _once(worker, "prepare", format=spec.format, root=str(root))
        except WorkerError as error:
            losers = [n for n in plan.engines if ENGINES[n].format == spec.format]
            progress(f"  left out: {', '.join(losers)}: {error}")
            made[spec.format] = False
            continue
        if spec.environment == "peer":  # what is made for simsearch is in the cache of this run
            mark.touch()
    return [name for name in plan.engines if made[ENGINES[name].format]]


def _cold_starts(names: Sequence[str], root: Path, plan: Plan) -> dict[str, list[float]]:
    """Seconds from a new process to the vector of one sentence, each engine in turn."""
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(COLD_STARTS):
        for name in random.sample(names, len(names)):
            time.sleep(PAUSE)
            begin = time.perf_counter()
            worker = plan.worker(ENGINES[name].environment)
            try:
                worker.ask("open", engine=name, root=str(root), batch_size=plan.batch_size)
                worker.ask("first", text=COLD_TEXT)
                seconds[name].append(time.perf_counter() - begin)
            except WorkerError:  # said when the engine is opened to stay
                continue
            worker.close()
    return {name: of for name, of in seconds.items() if of}


@contextmanager
def _team(
    names: Sequence[str], root: Path, shape: Shape, plan: Plan
) -> Iterator[tuple[Team, dict[str, Any], dict[str, float]]]:
    """All workers, opened; what the engines say about themselves; and their memory by then."""
    team, about, loaded = Team(), {}, {}
    with ExitStack() as stack:
        stack.callback(team.close)
        for name in names:
            team.engines[name] = plan.worker(ENGINES[name].environment)
            said = team.ask(name, "open", engine=name, root=str(root), batch_size=plan.batch_size)
            if said is not None:
                about[name], loaded[name] = said, team.engines[name].peak
        for library, environment, precision in plan.products:
            name = f"products of {library}, {precision}"
            team.products[name] = plan.worker(environment)
            sizes = {"hidden": shape.hidden, "intermediate": shape.intermediate}
            team.ask(name, "multiply", library=library, precision=precision, **sizes)
        limits = {name: said["max_length"] for name, said in about.items()}
        if len(set(limits.values())) > 1:
            raise SystemExit(f"the engines cut texts at different lengths: {limits}")
        yield team, about, loaded


def _measure_set(
    name: str,
    texts: Sequence[str],
    team: Team,
    shape: Shape,
    loaded: dict[str, float],
    plan: Plan,
) -> SetResult:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "texts.json"
        chosen, lengths = _chosen(texts, team.engines[REFERENCE], shape, file, plan)
        singles = min(plan.singles, len(chosen))
        progress(f"{name}: {len(chosen)} texts, {sum(lengths)} tokens; warming up")
        for engine in list(team.engines):
            vectors = str(Path(folder) / f"{engine}.npy")
            team.ask(engine, "texts", file=str(file), singles=singles, vectors=vectors)
        figures = {engine: Figures() for engine in team.engines}
        rates: dict[str, list[float]] = {name: [] for name in team.products}
        for repeat in range(plan.repeats):
            progress(f"{name}: repeat {repeat + 1} of {plan.repeats}")
            part = [singles * i // plan.repeats for i in (repeat, repeat + 1)]
            _take_turns(team, figures, rates, part)
        reference = np.load(Path(folder) / f"{REFERENCE}.npy")
        for engine in team.engines:
            vectors = np.load(Path(folder) / f"{engine}.npy")
            figures[engine].cosines = _cosines(vectors, reference)
            figures[engine].peak = max(loaded[engine], team.engines[engine].peak)
    squares = sum(length**2 for length in lengths)
    kept = {engine: figures[engine] for engine in team.engines}
    whole = {name: rates[name] for name in team.products}
    return SetResult(name, len(chosen), sum(lengths), squares, kept, whole)


def _take_turns(
    team: Team, figures: dict[str, Figures], rates: dict[str, list[float]], part: list[int]
) -> None:
    """Each worker once, in random order; the engines with a part of the texts one at a time too."""
    turns = [*team.engines, *team.products]
    for name in random.sample(turns, len(turns)):
        time.sleep(PAUSE)
        if name in team.products:
            if (said := team.ask(name, "rate")) is not None:
                rates[name].append(said["flops"])
            continue
        if (said := team.ask(name, "encode")) is not None:
            figures[name].seconds.append(said["seconds"])
            figures[name].cpu.append(said["cpu"])
        if said and (one := team.ask(name, "single", start=part[0], stop=part[1])) is not None:
            figures[name].singles += one["seconds"]


def _chosen(
    texts: Sequence[str], reference: Worker, shape: Shape, file: Path, plan: Plan
) -> tuple[list[str], list[int]]:
    """Texts at an even stride, as many as the tokens allow, and the length of each in tokens."""

    def lengths(of: Sequence[str]) -> list[int]:
        file.write_text(json.dumps(of), "utf-8")
        return list(reference.ask("lengths", file=str(file))["lengths"])

    budget = plan.tokens * min(1.0, MINI.weights / shape.weights)
    budget = max(budget, min(plan.tokens, LEAST_TOKENS))
    mean = statistics.fmean(lengths(_evenly(texts, CANDIDATES)))
    chosen = _evenly(texts, plan.count or max(1, round(budget / mean)))
    return chosen, lengths(chosen)


def _evenly(texts: Sequence[str], count: int) -> list[str]:
    count = min(count, len(texts))
    return [texts[i * len(texts) // count] for i in range(count)]


def _cosines(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> list[float]:
    a, b = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (np.float64(a), np.float64(b)))
    return [float(cosine) for cosine in np.sum(a * b, axis=1)]


if __name__ == "__main__":
    sys.exit(main())
