"""What 10^8 and 10^9 sentences take: rates measured here, and a simulated build on a cluster.

    python benchmarks/scale.py sentences.txt

Measured are the steps of a build, one after the other on this machine: reading documents into the
store, encoding on one core, taking shards of texts out of the store, passing a shard to a process
of Ray and its vectors back, committing them, indexing words, and grouping vectors in cells. The
simulation runs `build --engine ray` shard by shard with these: one machine that reads and commits,
in order, at most two shards under way for each process that encodes, processes that differ in
speed, and machines that die and come back. Storage follows from bytes per row.
"""

from __future__ import annotations

import argparse
import heapq
import importlib.metadata
import itertools
import math
import random
import tempfile
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import numpy as np
from same_vectors import machine, progress

import simsearch
from simsearch.cluster import connected
from simsearch.corpus import read_corpus
from simsearch.encoder import SHARD, fingerprint
from simsearch.store import BuildPlan, IndexWriter

DIM = 384
CORES = 16
"""Of a machine that encodes."""
_IDENTITY = {"simulated": True}


def main() -> None:
    """Measure, simulate, print."""
    parser = argparse.ArgumentParser(description="The cost of scale.")
    parser.add_argument("corpus", type=Path, help="a sentence a line")
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--model", default="zhen-small")
    given = parser.parse_args()
    print(*machine({"ray": importlib.metadata.version("ray")}), sep="\n")
    seconds = measured(given.corpus, given.rows, given.model)
    print("\n| step | sentences a second |\n|---|--:|")
    for step, each in seconds.items():
        print(f"| {step} | {1 / each:,.0f} |", flush=True)
    print(f"\n| sentences | machines of {CORES} cores | encoding | busy | reading, words |")
    print("|--:|--:|--:|--:|--:|")
    for rows, machines in itertools.product((10**8, 10**9), (1, 4, 16, 64, 256)):
        took, busy = simulated(rows, machines, seconds)
        around = rows * (seconds["read documents"] + seconds["index words"])
        hours = f"{took / 3600:,.1f} h | {busy:.0%} | {around / 3600:,.1f} h"
        print(f"| {rows:.0e} | {machines} | {hours} |", flush=True)


def measured(corpus: Path, rows: int, model: str) -> dict[str, float]:
    """Seconds a sentence, of each step."""
    seconds: dict[str, float] = {}

    def timed(step: str, work: Callable[[], object], per: int) -> None:
        began = time.perf_counter()
        work()
        seconds[step] = (time.perf_counter() - began) / per
        progress(f"{step}: {1 / seconds[step]:,.0f} sentences a second")

    with tempfile.TemporaryDirectory() as folder:
        some = Path(folder) / "some.txt"
        with corpus.open(encoding="utf-8") as lines:
            some.write_text("".join(itertools.islice(lines, rows)), "utf-8")
        plan = BuildPlan("rows", _IDENTITY, fingerprint(_IDENTITY), {}, DIM)
        with IndexWriter.open(Path(folder) / "index", plan, replace=False) as writer:
            timed(
                "read documents",
                lambda: writer.ingest(read_corpus([some]), on_error="skip"),
                rows,
            )
            shards = list(writer.pending_shards(SHARD))
            timed("take shards", lambda: list(writer.pending_shards(SHARD)), rows)
            encoder = simsearch.SentenceEncoder.load(model, threads=1)
            encoder.encode(shards[0].texts[:256])
            texts = shards[0].texts[: SHARD // 4]
            timed("encode, one core", lambda: encoder.encode(texts), len(texts))
            seconds["pass to a process and back"] = passing([shard.texts for shard in shards])
            vectors = unit_vectors(SHARD)
            timed(
                "commit",
                lambda: [writer.commit(shard, vectors[: len(shard.texts)]) for shard in shards],
                rows,
            )
            making = writer.finish()
        seconds["group in cells"] = making.search / rows
        seconds["index words"] = making.words / rows
    return seconds


def unit_vectors(rows: int) -> np.ndarray:
    """Vectors in clusters, as sentences are."""
    chance = np.random.default_rng(0)
    centers = chance.normal(size=(256, DIM))
    vectors = centers[chance.integers(0, 256, rows)] + 0.7 * chance.normal(size=(rows, DIM))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def passing(shards: list[list[str]]) -> float:
    """Seconds a sentence that Ray takes to bring texts to a process and vectors back."""
    with connected("local") as cluster:
        list(cluster.ordered_map(vectors_of, shards[:2], threads=1))
        began = time.perf_counter()
        for vectors in cluster.ordered_map(vectors_of, shards, threads=1):
            assert vectors.shape[1] == DIM
        return (time.perf_counter() - began) / sum(map(len, shards))


def vectors_of(texts: list[str]) -> np.ndarray:
    """As many vectors, at no cost."""
    return np.zeros((len(texts), DIM), np.float32)


def simulated(rows: int, machines: int, seconds: dict[str, float]) -> tuple[float, float]:
    """Seconds of the encoding of a build, and the share of them that processes are busy.

    A machine dies every 30 days and is back after ten minutes; what its processes were at is
    computed anew. They differ by a tenth in speed.
    """
    chance = random.Random(rows + machines)
    shards = math.ceil(rows / SHARD)
    processes = machines * CORES
    encoding = SHARD * seconds["encode, one core"]
    # the machine that reads and commits does both by turns
    taking = SHARD * (seconds["take shards"] + seconds["pass to a process and back"] / 2)
    committing = SHARD * (seconds["commit"] + seconds["pass to a process and back"] / 2)
    free = [(0.0, chance.gauss(1, 0.1)) for _ in range(processes)]
    heapq.heapify(free)
    waiting: deque[float] = deque()
    now = busy = 0.0
    for _ in range(shards):
        now += taking
        at, slowness = heapq.heappop(free)
        work = encoding * slowness
        begins = max(at, now)
        if chance.random() < work / (30 * 86400):
            begins += work * chance.random() + 600
        busy += work
        heapq.heappush(free, (begins + work, slowness))
        waiting.append(begins + work)
        if len(waiting) >= 2 * processes:
            now = max(now, waiting.popleft()) + committing
    for done in waiting:
        now = max(now, done) + committing
    return now, busy / (now * processes)


if __name__ == "__main__":
    main()
