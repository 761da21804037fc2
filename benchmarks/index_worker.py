"""One vector index in a process of its own: reads a JSON command a line, answers with a JSON line.

The process imports its engine only, so that memory is that of the engine. Vectors are mapped from a
.npy file; what an engine copies of them counts as its memory, what it leaves there does not.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

K = 10
SEGMENT = 16_384
"""Rows of a segment, as simsearch's store cuts them."""
Vectors = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]


class Hnswlib:
    """M and ef_construction as in its own examples."""

    def __init__(self, vectors: Vectors, threads: int, kept: Path) -> None:
        import hnswlib

        self.index = hnswlib.Index(space="ip", dim=vectors.shape[1])
        if kept.exists():
            self.index.load_index(str(kept), max_elements=len(vectors))
        else:
            self.index.init_index(max_elements=len(vectors), ef_construction=200, M=16)
            self.index.add_items(vectors, num_threads=threads)
            self.index.save_index(str(kept))
        self.threads = threads

    def widen(self, width: Any) -> None:
        """``ef``, the length of the list of candidates."""
        self.index.set_ef(width)

    def search(self, queries: Vectors) -> Rows:
        """By all threads, or by one for a single query."""
        threads = 1 if len(queries) == 1 else self.threads
        return self.index.knn_query(queries, k=K, num_threads=threads)[0].astype(np.int64)


class Usearch:
    """Its defaults, with vectors of ``dtype``."""

    def __init__(self, vectors: Vectors, threads: int, kept: Path, dtype: str) -> None:
        from usearch.index import Index

        self.index = Index(ndim=vectors.shape[1], metric="ip", dtype=dtype)
        if kept.exists():
            self.index.load(str(kept))
        else:
            self.index.add(np.arange(len(vectors)), vectors, threads=threads)
            self.index.save(str(kept))
        self.threads = threads

    def widen(self, width: Any) -> None:
        """``expansion_search``, the same."""
        self.index.expansion_search = width

    def search(self, queries: Vectors) -> Rows:
        """By all threads, or by one for a single query."""
        threads = 1 if len(queries) == 1 else self.threads
        found = self.index.search(queries, K, threads=threads)
        return np.asarray(found.keys).reshape(len(queries), -1).astype(np.int64)


class FaissHnsw:
    """32 links, otherwise its defaults."""

    def __init__(self, vectors: Vectors, threads: int, kept: Path, recipe: str) -> None:
        import faiss

        faiss.omp_set_num_threads(threads)
        if kept.exists():
            self.index = faiss.read_index(str(kept))
        else:
            metric = faiss.METRIC_INNER_PRODUCT
            self.index = faiss.index_factory(vectors.shape[1], recipe, metric)
            self.index.train(vectors[:: max(1, len(vectors) // 50_000)])
            for start in range(0, len(vectors), SEGMENT):
                self.index.add(vectors[start : start + SEGMENT])
            faiss.write_index(self.index, str(kept))
        self.settings = faiss.SearchParametersHNSW()

    def widen(self, width: Any) -> None:
        """``efSearch``, the same."""
        self.settings.efSearch = width

    def search(self, queries: Vectors) -> Rows:
        """By all threads; FAISS gives a single query one."""
        found: Rows = self.index.search(queries, K, params=self.settings)[1]
        return found


class FaissFlat:
    """All vectors are compared."""

    def __init__(self, vectors: Vectors, threads: int, kept: Path) -> None:
        import faiss

        faiss.omp_set_num_threads(threads)
        self.index = faiss.IndexFlatIP(vectors.shape[1])
        for start in range(0, len(vectors), SEGMENT):
            self.index.add(vectors[start : start + SEGMENT])

    def widen(self, width: Any) -> None:
        """There is nothing to widen."""

    def search(self, queries: Vectors) -> Rows:
        """By all threads; FAISS gives a single query one."""
        found: Rows = self.index.search(queries, K)[1]
        return found


class Simsearch:
    """What ``simsearch`` searches with: planned and tuned as it does, with re-ranking."""

    def __init__(self, vectors: Vectors, threads: int, kept: Path) -> None:
        import faiss

        from simsearch.config import IndexSettings
        from simsearch.index.cells import Cells
        from simsearch.index.planner import plan_index
        from simsearch.index.tuner import tune_cells

        faiss.omp_set_num_threads(threads)
        cut = range(0, len(vectors), SEGMENT)
        self.segments = [np.asarray(vectors[start : start + SEGMENT]) for start in cut]
        plan = plan_index(*vectors.shape, IndexSettings(kind="ivf"))
        notes = kept.with_suffix(".json")
        if not kept.exists():
            assert plan.cells is not None
            assert plan.dims_per_code is not None
            cells = Cells.build(self.segments, plan.cells, plan.dims_per_code)
            kept.write_bytes(cells.to_bytes().tobytes())
            begin = time.process_time()
            tuned = tune_cells(cells, self.segments, 0.95)
            seconds = time.process_time() - begin
            notes.write_text(json.dumps([tuned.probes, tuned.candidates, seconds]))
            del cells
        self.cells = Cells.from_bytes(np.memmap(kept, np.uint8, "r"), vectors.shape[1])
        self.probes, self.candidates, self.tuning = json.loads(notes.read_text())
        self.predicted = plan.memory_bytes
        self.widen(1.0)

    def widen(self, width: Any) -> None:
        """``width`` times as many cells as tuned, and candidates to its square root."""
        from simsearch.index.approximate import CellIndex, SearchWidth

        probes = min(self.cells.count, max(1, round(self.probes * width)))
        candidates = max(1, round(self.candidates * width**0.5))
        self.index = CellIndex(self.cells, self.segments, SearchWidth(probes, candidates))

    def search(self, queries: Vectors, mask: npt.NDArray[np.bool_] | None = None) -> Rows:
        """The rows, -1 where there are fewer than K."""
        from simsearch.index.allowed import Allowed

        allowed = None if mask is None else Allowed.of_mask(mask)
        found = np.full((len(queries), K), -1, np.int64)
        for line, (rows, _) in zip(found, self.index.search(queries, K, allowed), strict=True):
            line[: len(rows[:K])] = rows[:K]
        return found


ENGINES: dict[str, Callable[[Vectors, int, Path], Any]] = {
    "simsearch": Simsearch,
    "hnswlib": Hnswlib,
    "usearch-f32": lambda *given: Usearch(*given, dtype="f32"),
    "usearch-f16": lambda *given: Usearch(*given, dtype="f16"),
    "faiss-hnsw": lambda *given: FaissHnsw(*given, recipe="HNSW32,Flat"),
    "faiss-hnsw-f16": lambda *given: FaissHnsw(*given, recipe="HNSW32,SQfp16"),
    "faiss-flat": FaissFlat,
}


class Session:
    """The commands, on one engine."""

    def __init__(self) -> None:
        self.queries: dict[str, Vectors] = {}
        self.truth: dict[str, Rows] = {}

    def open(self, engine: str, vectors: str, kept: str, threads: int) -> dict[str, Any]:
        """Build, or take what was built; seconds, also of CPU, bytes on disk, growth of memory."""
        os.environ["OMP_NUM_THREADS"] = str(threads)
        mapped = np.load(vectors, mmap_mode="r")
        file = Path(kept) / f"{engine}.index"
        notes = Path(kept) / f"{engine}.seconds"
        begin, cpu = time.perf_counter(), time.process_time()
        ENGINES[engine](mapped, threads, file)
        if not notes.exists():
            spent = time.perf_counter() - begin, time.process_time() - cpu
            notes.write_text(json.dumps(spent))
        seconds, cpu = json.loads(notes.read_text())
        before = private_memory()
        self.engine = ENGINES[engine](mapped, threads, file)
        grown = private_memory() - before
        return {
            "seconds": seconds,
            "cpu": cpu,
            "tuning": getattr(self.engine, "tuning", None),
            "predicted": getattr(self.engine, "predicted", None),
            "disk": file.stat().st_size if file.exists() else 0,
            "memory": grown,
        }

    def load(self, name: str, queries: str, truth: str) -> dict[str, Any]:
        """Take a set of queries, and the rows that are nearest to each."""
        self.queries[name], self.truth[name] = np.load(queries), np.load(truth)
        return {}

    def recall(self, name: str, width: Any, half: int) -> dict[str, Any]:
        """Of every second query, from ``half`` on."""
        self.engine.widen(width)
        found = self.engine.search(np.ascontiguousarray(self.queries[name][half::2]))
        return {"recall": recall_of(found, self.truth[name][half::2])}

    def batch(self, name: str, width: Any) -> dict[str, Any]:
        """Queries a second, all in one call."""
        self.engine.widen(width)
        queries = self.queries[name]
        begin = time.perf_counter()
        self.engine.search(queries)
        return {"rate": len(queries) / (time.perf_counter() - begin)}

    def singles(self, name: str, width: Any, count: int) -> dict[str, Any]:
        """Milliseconds of each of ``count`` queries, asked one after the other."""
        self.engine.widen(width)
        times = []
        for query in self.queries[name][:count]:
            begin = time.perf_counter()
            self.engine.search(query[None])
            times.append(1000 * (time.perf_counter() - begin))
        return {"times": times}

    def filtered(self, name: str, width: Any, mask: str, truth: str) -> dict[str, Any]:
        """Recall, milliseconds alone (median) and in a batch, with only the rows of ``mask``."""
        self.engine.widen(width)
        allowed, rows = np.load(mask), np.load(truth)
        queries = self.queries[name][: len(rows)]
        begin = time.perf_counter()
        found = self.engine.search(queries, allowed)
        batch = 1000 * (time.perf_counter() - begin) / len(queries)
        times, alone = [], []
        for query in queries[:50]:
            begin = time.perf_counter()
            alone.append(self.engine.search(query[None], allowed)[0])
            times.append(1000 * (time.perf_counter() - begin))
        return {
            "recall": recall_of(found, rows),
            "alone": recall_of(np.stack(alone), rows[: len(alone)]),
            "batch_ms": batch,
            "alone_ms": float(np.median(times)),
            "least": int((found >= 0).sum(axis=1).min()),
        }


def recall_of(found: Rows, truth: Rows) -> float:
    """Share of the true nearest that are found."""
    pairs = zip(found, truth, strict=True)
    return float(np.mean([len(np.intersect1d(a, b)) / len(b) for a, b in pairs]))


def private_memory() -> int:
    """Bytes that are the process's own, resident, after what can be given back was (Linux)."""
    ctypes.CDLL(None).malloc_trim(0)
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if "RssAnon" in line) * 1024


def main() -> None:
    """Answer commands until there are no more."""
    session = Session()
    for line in sys.stdin:
        arguments = json.loads(line)
        answer = getattr(session, arguments.pop("command"))(**arguments)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
