"""One query at a time over a large index: encode and search, exact and approximate.

    python benchmarks/memory.py --texts zh.txt.gz --texts en.txt.gz --keep MILLION
    python benchmarks/query.py MILLION --questions zh-questions.txt --questions en-questions.txt

Queries are taken from these files in turn. The approximate index is one of FAISS' over the same
vectors, the width of its search tuned on half of the queries, its recall measured on the others.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt
from memory import taking_turns
from same_vectors import machine, progress

import simsearch
from simsearch.store import StoredIndex

K = 10
KINDS = {
    "hnsw": ("HNSW16,SQfp16", "efSearch"),
    "ivf": ("IVF4096,SQfp16", "nprobe"),
    "pq": ("IVF4096,PQ96x4fs,RFlat", "nprobe"),
}
"""FAISS' recipe for each kind of index, and the parameter that says how wide to search."""
REFINED = 200
"""Of "pq", how many times as many candidates are scored exactly as are wanted."""
WIDTHS = (8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
"""The least that reaches the recall is taken."""
TRAINED_ON = 170_000
"""Vectors, for the cells of "ivf"."""
Vectors = npt.NDArray[np.float32]


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Latency of single queries.")
    parser.add_argument("index", type=Path, help="an index folder")
    parser.add_argument("--questions", action="append", required=True, type=Path, help="lines")
    parser.add_argument("--queries", default=1000, type=int, help="how many")
    parser.add_argument("--recall", default=0.95, type=float, help="of the approximate search")
    parser.add_argument("--kind", choices=KINDS, default="hnsw", help="of approximate index")
    parser.add_argument("--keep", type=Path, help="where to keep FAISS' index for the next run")
    return parser.parse_args()


def main() -> None:
    """Measure and print."""
    given = arguments()
    stored = StoredIndex.open(given.index)
    texts = list(itertools.islice(taking_turns(given.questions), given.queries))
    vectors = np.concatenate(stored.segments)
    with simsearch.open_index(given.index) as searcher:
        queries = searcher.encoder.encode(texts, prompt="query")
        truth = faiss.knn(queries, vectors, K, metric=faiss.METRIC_INNER_PRODUCT)[1]
        recipe, parameter = KINDS[given.kind]
        approximate, seconds = built(recipe, vectors, given.keep)
        half = len(texts) // 2
        width = tuned(approximate, parameter, queries[:half], truth[:half], given.recall)
        recall = recall_of(approximate, queries[half:], truth[half:])
        print("\n".join(f"- {line}" for line in machine({})))
        print(f"- {len(vectors):,} vectors of {vectors.shape[1]}; {half} queries")
        print(f"- approximate: {recipe}, {parameter} {width}, built in {seconds:.0f} s")
        print(f"- its recall@{K} on queries that it was not tuned on: {recall:.3f}\n")
        faiss.omp_set_num_threads(1)  # its threads wait by spinning, where the encoder's would run
        one_by_one(texts[half:], searcher, approximate)


def built(recipe: str, vectors: Vectors, kept: Path | None) -> tuple[Any, float]:
    """FAISS' index, and the seconds that building it took (0 if it was kept)."""
    if kept is not None and kept.is_file():
        return faiss.read_index(str(kept)), 0.0
    progress(f"building {recipe}")
    begin = time.perf_counter()
    index = faiss.index_factory(vectors.shape[1], recipe, faiss.METRIC_INNER_PRODUCT)
    index.train(vectors[:: max(1, len(vectors) // TRAINED_ON)])
    index.add(vectors)
    if "RFlat" in recipe:
        faiss.ParameterSpace().set_index_parameter(index, "k_factor_rf", REFINED)
    seconds = time.perf_counter() - begin
    if kept is not None:
        faiss.write_index(index, str(kept))
    return index, seconds


def tuned(index: Any, parameter: str, queries: Vectors, truth: Any, wanted: float) -> int:
    """Set the least width that reaches the recall, or the greatest."""
    for width in WIDTHS:
        faiss.ParameterSpace().set_index_parameter(index, parameter, width)
        if recall_of(index, queries, truth) >= wanted + 0.005:  # to hold on others as well
            break
    return width


def recall_of(index: Any, queries: Vectors, truth: Any) -> float:
    """Share of the true nearest that are found."""
    found = index.search(queries, K)[1]
    pairs = zip(found, truth, strict=True)
    return float(np.mean([len(np.intersect1d(a, b)) / K for a, b in pairs]))


def one_by_one(texts: Sequence[str], searcher: Any, approximate: Any) -> None:
    """Time every query alone, in each way."""

    def vector(text: str) -> Vectors:
        found: Vectors = searcher.encoder.encode([text], prompt="query")
        return found

    ways: dict[str, Callable[[str], Any]] = {
        "encode": vector,
        "encode, approximate search": lambda text: approximate.search(vector(text), K),
        "encode, exact search, documents": lambda text: searcher.query(text, K),
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
