"""Approximate indexes over the same vectors: rate, latency, memory and build at equal recall.

    python benchmarks/index.py VECTORS --queries sentences=a.npy --queries questions=b.npy \\
        --peer-python PEER/bin/python --keep BUILT

VECTORS is an index folder, or a .npy file of float32 unit rows; queries are .npy files of the same.
Every engine is built in turn in a process of its own. For each set of queries the least width of
its search that reaches the recall is found on half of them, and its recall measured on the others;
then all engines have a turn in each repeat, in another order.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt
from index_worker import ENGINES, K
from same_vectors import machine, progress

from simsearch.store import StoredIndex

GRAPH_WIDTHS = [round(16 * 1.19**step) for step in range(26)]  # to 1,240
CELL_WIDTHS = [round(0.15 * 1.12**step, 4) for step in range(35)]  # to 7.1 times as tuned
SELECTIVITIES = (0.5, 0.05, 0.005, 0.0005)
FILTERED_QUERIES = 200
SINGLES = 200
MIB = 1 << 20
Vectors = npt.NDArray[np.float32]


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Approximate indexes at equal recall.")
    parser.add_argument("vectors", type=Path, help="an index folder, or a .npy file")
    parser.add_argument("--queries", action="append", required=True, help="NAME=FILE.npy")
    parser.add_argument("--peer-python", default=sys.executable, help="of the other engines")
    parser.add_argument("--engines", default=",".join(ENGINES), help="which, by name")
    parser.add_argument("--recall", default=0.95, type=float, help="to be reached by all")
    parser.add_argument("--repeats", default=5, type=int)
    parser.add_argument("--threads", default=os.cpu_count(), type=int)
    parser.add_argument("--keep", type=Path, help="where to keep what was built for the next run")
    return parser.parse_args()


class Worker:
    """An engine in its process."""

    def __init__(self, engine: str, python: str) -> None:
        environment = dict(os.environ)
        if engine == "simsearch":
            python = sys.executable
        else:  # another environment must not find this one's packages
            environment.pop("PYTHONPATH", None)
        program = str(Path(__file__).with_name("index_worker.py"))
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            [python, program], stdin=pipe, stdout=pipe, env=environment, text=True, encoding="utf-8"
        )
        self.engine = engine
        self.widths: Sequence[float] = GRAPH_WIDTHS
        if engine == "simsearch":
            self.widths = CELL_WIDTHS
        if engine == "faiss-flat":
            self.widths = [0]

    def ask(self, command: str, **given: Any) -> dict[str, Any]:
        """Send a command; its answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(json.dumps({"command": command, **given}), file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.engine}: {command} failed, see above")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def curve(self, name: str, wanted: float) -> list[tuple[float, float]]:
        """(width, recall) on half of the queries, until the wanted recall and a bit is reached."""
        points: list[tuple[float, float]] = []
        for width in self.widths:
            points.append((width, self.ask("recall", name=name, width=width, half=0)["recall"]))
            if points[-1][1] >= min(0.99, (1 + wanted) / 2):
                break
        return points


def main() -> None:
    """Build, measure and print."""
    given = arguments()
    with tempfile.TemporaryDirectory() as scratch:
        kept = given.keep or Path(scratch)
        kept.mkdir(exist_ok=True)
        file = vectors_file(given.vectors, kept)
        vectors = np.load(file, mmap_mode="r")
        print("\n".join(f"- {line}" for line in machine({})))
        print(f"- {len(vectors):,} vectors of {vectors.shape[1]}; {given.threads} threads\n")
        workers = [Worker(name, given.peer_python) for name in given.engines.split(",")]
        build(workers, file, kept, given.threads)
        for pair in given.queries:
            name, _, path = pair.partition("=")
            queries = np.load(path)
            truth = kept / f"{name}.truth.npy"
            if not truth.exists():
                np.save(truth, nearest(queries, vectors))
            for worker in workers:
                worker.ask("load", name=name, queries=path, truth=str(truth))
            compare(workers, name, given.recall, given.repeats)
            if ours := [worker for worker in workers if worker.engine == "simsearch"]:
                filters(ours[0], name, queries[:FILTERED_QUERIES], vectors, kept)


def vectors_file(given: Path, kept: Path) -> Path:
    """A .npy file of the vectors."""
    if given.is_file():
        return given
    file = kept / "vectors.npy"
    with StoredIndex.open(given) as stored:
        np.save(file, np.concatenate(stored.segments))
    return file


def nearest(queries: Vectors, vectors: Vectors) -> npt.NDArray[np.int64]:
    """The true K nearest rows."""
    progress("looking for the true neighbours")
    rows: npt.NDArray[np.int64] = faiss.knn(
        queries, vectors, min(K, len(vectors)), metric=faiss.METRIC_INNER_PRODUCT
    )[1]
    return rows


def build(workers: list[Worker], vectors: Path, kept: Path, threads: int) -> None:
    """Build one after the other, each with the machine for itself; a table."""
    print("| engine | build | CPU | of it tuning | memory | file |\n|---|--:|--:|--:|--:|--:|")
    for worker in workers:
        progress(f"building {worker.engine}")
        made = worker.ask(
            "open", engine=worker.engine, vectors=str(vectors), kept=str(kept), threads=threads
        )
        tuning = f"{made['tuning']:.0f} s" if made["tuning"] else ""
        memory = f"{made['memory'] / MIB:,.0f} MiB"
        if made["predicted"]:
            memory += f" (predicted {made['predicted'] / MIB:,.0f})"
        times = f"{made['seconds']:.0f} s | {made['cpu']:.0f} s | {tuning}"
        file = f"{made['disk'] / MIB:,.0f} MiB"
        print(f"| {worker.engine} | {times} | {memory} | {file} |", flush=True)


def compare(workers: list[Worker], name: str, wanted: float, repeats: int) -> None:
    """Curves, and all engines at equal recall."""
    widths: dict[str, float] = {}
    print(f"\n### {name}\n")
    for worker in workers:
        points = worker.curve(name, wanted)
        reached = [width for width, recall in points if recall >= wanted]
        widths[worker.engine] = reached[0] if reached else points[-1][0]
        shown = points[:: max(1, len(points) // 8)]
        print(f"- {worker.engine}: " + ", ".join(f"{w:g} {recall:.3f}" for w, recall in shown))
    rates: dict[str, list[float]] = {worker.engine: [] for worker in workers}
    times: dict[str, list[float]] = {worker.engine: [] for worker in workers}
    for repeat in range(repeats):
        progress(f"{name}: repeat {repeat + 1} of {repeats}")
        for worker in random.Random(repeat).sample(workers, len(workers)):
            at = {"name": name, "width": widths[worker.engine]}
            exact = worker.engine == "faiss-flat"
            if not (exact and repeat):  # it takes long, and does not vary
                rates[worker.engine].append(worker.ask("batch", **at)["rate"])
                count = 20 if exact else SINGLES
                times[worker.engine] += worker.ask("singles", **at, count=count)["times"]
    graphs = [median(rates[w.engine]) for w in workers if w.widths is GRAPH_WIDTHS]
    print(
        "\n| engine | width | recall@10 | queries a second | × best graph | one query p50 | p99 |"
    )
    print("|---|--:|--:|--:|--:|--:|--:|")
    for worker in workers:
        own, width = worker.engine, widths[worker.engine]
        recall = worker.ask("recall", name=name, width=width, half=1)["recall"]
        rate = median(rates[own])
        ratio = f"{rate / max(graphs):.2f}" if graphs else ""
        p50, p99 = np.percentile(times[own], (50, 99))
        print(
            f"| {own} | {width:g} | {recall:.3f} | {rate:,.0f} ({min(rates[own]):,.0f} to "
            f"{max(rates[own]):,.0f}) | {ratio} | {p50:.2f} ms | {p99:.2f} ms |"
        )


def filters(worker: Worker, name: str, queries: Vectors, vectors: Vectors, kept: Path) -> None:
    """Recall among random parts of the rows, at the width that simsearch tuned for itself."""
    print("\n| allowed | recall@10 | one alone | in a batch | one alone | fewest answers |")
    print("|--:|--:|--:|--:|--:|--:|")
    for share in SELECTIVITIES:
        mask = np.random.default_rng(5).random(len(vectors)) < share
        rows = np.flatnonzero(mask)
        truth = rows[nearest(queries, np.ascontiguousarray(vectors[rows]))]
        paths = {"mask": kept / "mask.npy", "truth": kept / "filtered.npy"}
        np.save(paths["mask"], mask)
        np.save(paths["truth"], truth)
        given = {key: str(path) for key, path in paths.items()}
        answer = worker.ask("filtered", name=name, width=1.0, **given)
        print(
            f"| {100 * share:g} % | {answer['recall']:.3f} | {answer['alone']:.3f} | "
            f"{answer['batch_ms']:.2f} ms | {answer['alone_ms']:.2f} ms | {answer['least']} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
