"""How wide an approximate search must be to find enough, tried on held-back rows and measured."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist, median
from typing import Literal

import numpy as np
import numpy.typing as npt

from simsearch.config import IndexSettings
from simsearch.index.allowed import Allowed
from simsearch.index.approximate import TUNED_K, CellIndex, SearchWidth
from simsearch.index.cells import Cells
from simsearch.index.flat import FlatIndex
from simsearch.index.scoring import Answer
from simsearch.index.vectors import Rows, SegmentedVectors, Vectors

HELD_BACK = 1024
"""Queries: half to tune on, half to measure with."""
_HELD_BACK_SHARE = 1 / 20  # of a small corpus no more, lest it is another without them
_CONFIDENCE = 0.99
"""That the recall on further queries of the kind reaches the target."""
_WIDER = (1.0, 1.125, 1.25, 1.4, 1.6, 2.0)
_MOST_CANDIDATES = 2048
# What reading a vector costs, in bytes of codes looked at: measured at 384 dimensions.
_CANDIDATE_COST = 5000
_TIMED_ALONE = 16  # the rows that these read stay in memory
_TIMED_FLAT = 64
# Of a query whose last neighbour ties with many rows, no more are looked for.
_MOST_TIES = 40

TunedOn = Literal["rows", "queries"]

Places = npt.NDArray[np.float64]
"""For each query and neighbour how far one has to look to find it, (n, TUNED_K), or infinity."""


@dataclass(frozen=True)
class Tuning:
    """How wide to search, and what was measured with it; JSON values.

    ``probes`` and ``candidates`` are those of a ``SearchWidth``, None for a flat index.
    ``recall_at_10`` is the share of the ten nearest that were found for ``queries`` queries which
    played no part in tuning, ``recall_low`` to ``recall_high`` its interval of 95 % confidence;
    ``tuned_on`` says whether queries were "rows" of the index, or "queries" such as it is asked.
    Times are milliseconds a query: one at a time, once the rows near it have been read (the
    median), and in a batch that reads its rows for the first time.
    """

    probes: int | None
    candidates: int | None
    recall_at_10: float
    recall_low: float
    recall_high: float
    queries: int
    latency_ms: float
    batch_latency_ms: float
    memory_bytes: int
    tuned_on: TunedOn = "rows"

    @property
    def width(self) -> SearchWidth:
        """For ``CellIndex``."""
        if self.probes is None or self.candidates is None:
            raise ValueError("a flat index has no width")
        return SearchWidth(self.probes, self.candidates)

    def missed(self, settings: IndexSettings) -> list[str]:
        """A sentence for each target in ``settings`` that the measured index doesn't reach."""
        found = []
        if self.recall_at_10 < settings.recall_target:
            found.append(
                f"recall@10 is {self.recall_at_10:.3f}, below index.recall_target "
                f"{settings.recall_target:g}"
            )
        if settings.latency_target is not None and self.latency_ms > settings.latency_target:
            found.append(
                f"one query takes {self.latency_ms:.1f} ms, more than index.latency_target "
                f"{settings.latency_target:g}; a lower recall_target is faster"
            )
        return found


def tune_cells(
    cells: Cells,
    segments: Sequence[Vectors],
    recall_target: float,
    queries: Vectors | None = None,
) -> Tuning:
    """The cheapest width whose recall@10 is ``recall_target`` or more, with what it measured.

    ``segments`` are float32 (rows, dim), the rows of ``cells``. ``queries``, float32 (n, dim), n at
    least 2, are such as will be asked; by default rows are drawn, and counted as nobody's
    neighbours. The width depends on the vectors only. Where no width reaches the target, that of
    the best recall is taken.
    """
    vectors = SegmentedVectors(segments, transient=True)
    allowed = None
    tuned_on: TunedOn = "queries"
    if queries is None:
        tuned_on = "rows"
        rows = _held_back(vectors.total)
        queries, allowed = vectors.gather(rows), Allowed.all_but(rows, vectors.total)
    half, others = queries[::2], queries[1::2]
    truth = FlatIndex(segments, transient=True).search(queries, TUNED_K, allowed)
    width = _cheapest(cells, half, truth[::2], recall_target, allowed)
    answers, batch = _batch(CellIndex(cells, segments, width, transient=True), others, allowed)
    found = np.array([_found(*pair) for pair in zip(answers, truth[1::2], strict=True)])
    recall = float(found.mean())
    interval = float(NormalDist().inv_cdf(0.975) * found.std() / np.sqrt(len(found)))
    return Tuning(
        probes=width.probes,
        candidates=width.candidates,
        recall_at_10=recall,
        recall_low=max(0.0, recall - interval),
        recall_high=min(1.0, recall + interval),
        queries=len(found),
        latency_ms=_alone(CellIndex(cells, segments, width), others),
        batch_latency_ms=batch,
        memory_bytes=cells.memory_bytes,
        tuned_on=tuned_on,
    )


def measure_flat(segments: Sequence[Vectors]) -> Tuning:
    """What an exact search takes, for queries drawn from the rows; there is one row or more."""
    vectors = SegmentedVectors(segments)
    queries = vectors.gather(_held_back(vectors.total)[:_TIMED_FLAT])
    index = FlatIndex(segments)
    return Tuning(
        probes=None,
        candidates=None,
        recall_at_10=1.0,
        recall_low=1.0,
        recall_high=1.0,
        queries=len(queries),
        latency_ms=_alone(index, queries),
        batch_latency_ms=_batch(index, queries)[1],
        memory_bytes=sum(segment.nbytes for segment in vectors.segments),
    )


def _held_back(total: int) -> Rows:
    """Rows for queries, ascending, the same for the same ``total``."""
    size = min(total, max(2, min(HELD_BACK, int(total * _HELD_BACK_SHARE))))
    return np.sort(np.random.default_rng(1).choice(total, size, replace=False, shuffle=False))


def _cheapest(
    cells: Cells, queries: Vectors, truth: list[Answer], target: float, allowed: Allowed | None
) -> SearchWidth:
    """Tries the least probes that can suffice, and some more with fewer candidates."""
    wanted = [_wanted(answer) for answer in truth]
    rows = _padded([rows for rows, _ in wanted])
    depths = np.where(rows < 0, np.inf, cells.depths(queries, np.maximum(rows, 0)))
    least = _enough(_places(depths, wanted), target) or cells.count
    tried: list[tuple[float, float, SearchWidth]] = []
    for probes in sorted({min(cells.count, round(least * wider)) for wider in _WIDER}):
        most = min(_MOST_CANDIDATES, cells.total)
        candidates = cells.find(queries, probes, most, allowed)
        places = _places(_positions(candidates, rows), wanted)
        enough = _enough(places, target)
        count = enough or most
        reached = target if enough else _lower_bound(places <= most)
        tried.append(
            (-reached, cells.cost(probes) + count * _CANDIDATE_COST, SearchWidth(probes, count))
        )
    return min(tried, key=lambda one: one[:2])[2]


def _wanted(answer: Answer) -> tuple[Rows, int]:
    """The rows that may be among the nearest, and how many of them are so without a tie."""
    rows, scores = answer
    certain = int((scores > scores[-1]).sum()) if len(rows) > TUNED_K else len(rows)
    return rows[:_MOST_TIES], certain


def _padded(rows: list[Rows]) -> Rows:
    """One array, int64 (n, longest), filled up with -1."""
    longest = max(len(some) for some in rows)
    return np.stack([np.pad(some, (0, longest - len(some)), constant_values=-1) for some in rows])


def _positions(candidates: Rows, rows: Rows) -> Places:
    """Where each of ``rows`` stands among its query's ``candidates``, from 1, or infinity."""
    places = np.full(rows.shape, np.inf)
    for i, (found, some) in enumerate(zip(candidates, rows, strict=True)):
        order = np.argsort(found)
        at = order[np.searchsorted(found, some, sorter=order) % len(found)]
        here = (found[at] == some) & (some >= 0)
        places[i, here] = at[here] + 1
    return places


def _places(far: Places, wanted: list[tuple[Rows, int]]) -> Places:
    """For each query how far to look for each neighbour; of ties the first to be found count."""
    places = np.full((len(wanted), TUNED_K), np.inf)
    for row, ((rows, certain), line) in enumerate(zip(wanted, far, strict=True)):
        needed = min(TUNED_K, len(rows))
        ties = np.sort(line[certain : len(rows)])[: needed - certain]
        places[row, :needed] = np.concatenate([line[:certain][:needed], ties])
    return places


def _enough(places: Places, target: float) -> int | None:
    """The least distance to look whose recall is surely ``target``, if any is."""
    steps = np.unique(places[np.isfinite(places)])
    low, high = 0, len(steps)
    while low < high:
        middle = (low + high) // 2
        if _lower_bound(places <= steps[middle]) >= target:
            high = middle
        else:
            low = middle + 1
    return int(steps[low]) if low < len(steps) else None


def _lower_bound(found: npt.NDArray[np.bool_]) -> float:
    """What the mean over further queries is at least, at the confidence wanted."""
    recalls = found.mean(axis=1)
    error = recalls.std() / np.sqrt(len(recalls))
    return float(recalls.mean() - NormalDist().inv_cdf(_CONFIDENCE) * error)


def _found(answer: Answer, best: Answer) -> float:
    """The recall of an answer: of rows that tie, any is as good."""
    ours, theirs = Counter(answer[1].tolist()), Counter(best[1][:TUNED_K].tolist())
    return sum((ours & theirs).values()) / sum(theirs.values())


def _batch(
    index: CellIndex | FlatIndex, queries: Vectors, allowed: Allowed | None = None
) -> tuple[list[Answer], float]:
    """The answers, and milliseconds a query."""
    begin = time.perf_counter()
    answers = index.search(queries, TUNED_K, allowed)
    return answers, 1000 * (time.perf_counter() - begin) / len(queries)


def _alone(index: CellIndex | FlatIndex, queries: Vectors) -> float:
    """Milliseconds that a query takes alone when its rows have been read, the median of some."""
    times = []
    for query in queries[:_TIMED_ALONE]:
        index.search(query[None], TUNED_K)
        times.append(_batch(index, query[None])[1])
    return median(times)
