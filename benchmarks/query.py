"""One query at a time over a large index: encode and search, approximate and exact.

    python benchmarks/memory.py --texts zh.txt.gz --texts en.txt.gz --keep MILLION
    python benchmarks/query.py MILLION --questions zh-questions.txt --questions en-questions.txt

Queries are taken from these files in turn. The index is simsearch's own, built by its planner; its
width is tuned on half of the queries, as it would be on rows of its own, and its recall measured on
the others.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from memory import taking_turns
from same_vectors import machine, progress

import simsearch
from simsearch.index import backend
from simsearch.index.approximate import CellIndex
from simsearch.index.flat import FlatIndex
from simsearch.index.tuner import tune_cells
from simsearch.store import StoredIndex

K = 10
Vectors = npt.NDArray[np.float32]


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Latency of single queries.")
    parser.add_argument("index", type=Path, help="an index folder, of kind ivf")
    parser.add_argument("--questions", action="append", required=True, type=Path, help="lines")
    parser.add_argument("--queries", default=1000, type=int, help="how many")
    parser.add_argument("--recall", default=0.95, type=float, help="of the approximate search")
    parser.add_argument("--threads", default=1, type=int, help="of the search")
    return parser.parse_args()


def main() -> None:
    """Measure and print."""
    given = arguments()
    texts = list(itertools.islice(taking_turns(given.questions), given.queries))
    with StoredIndex.open(given.index) as stored, simsearch.open_index(given.index) as searcher:
        queries = searcher.encoder.encode(texts, prompt="query")
        (cells,) = stored._cells.values()
        progress("tuning")
        tuning = tune_cells(cells, stored.segments, given.recall, queries)
        ours = CellIndex(cells, stored.segments, tuning.width, stored.vectors.check)
        print("\n".join(f"- {line}" for line in machine({})))
        print(f"- {stored.rows:,} vectors of {stored.dim}; {len(queries) // 2} queries")
        print(f"- {tuning.probes} of {cells.count} cells, {tuning.candidates} candidates")
        print(
            f"- recall@{K} on queries that it was not tuned on: {tuning.recall_at_10:.3f} "
            f"({tuning.recall_low:.3f} to {tuning.recall_high:.3f})\n"
        )
        backend.faiss.omp_set_num_threads(given.threads)
        one_by_one(texts[1::2], searcher, ours, FlatIndex(stored.segments))


def one_by_one(texts: Sequence[str], searcher: Any, ours: CellIndex, exact: FlatIndex) -> None:
    """Time every query alone, in each way."""

    def vector(text: str) -> Vectors:
        found: Vectors = searcher.encoder.encode([text], prompt="query")
        return found

    ways: dict[str, Callable[[str], Any]] = {
        "encode": vector,
        "encode, approximate search": lambda text: ours.search(vector(text), K),
        "the same again, its rows read and checked before": lambda text: ours.search(
            vector(text), K
        ),
        "encode, approximate search, documents": lambda text: searcher.query(text, K),
        "encode, exact search": lambda text: exact.search(vector(text), K),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    # one way after the other, as an exact search leaves nothing of an encoder in the CPU's caches
    for name, way in ways.items():
        for text in texts[:20]:
            way(text)
        for text in texts if "exact" not in name else texts[:100]:
            begin = time.perf_counter()
            way(text)
            times[name].append((time.perf_counter() - begin) * 1000)
    print("| one query | p50 | p90 | p99 |\n|---|--:|--:|--:|")
    for name, all_times in times.items():
        marks = " | ".join(f"{np.percentile(all_times, p):.1f} ms" for p in (50, 90, 99))
        print(f"| {name} | {marks} |")


if __name__ == "__main__":
    main()
