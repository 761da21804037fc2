"""Documents that say nearly the same: clusters of those whose vectors are close."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from simsearch.errors import SettingsError
from simsearch.index.background import Rows
from simsearch.records import Document
from simsearch.search import live_rows
from simsearch.store import StoredIndex

_QUERIES_AT_ONCE = 1024
_NEIGHBOURS = 16  # asked for at first: few documents have more duplicates
_ANSWERS_AT_ONCE = 1 << 20  # bounds what is found at once where many are alike


@dataclass(frozen=True, slots=True)
class Duplicate:
    """A document of a cluster, and its cosine with the cluster's first."""

    document: Document
    score: float


def near_duplicates(
    stored: StoredIndex,
    threshold: float,
    progress: Callable[[int, int | None], None] | None = None,
) -> Iterator[list[Duplicate]]:
    """The clusters of near-duplicates, greatest first, each in the order of the documents.

    Two documents are in one cluster if their cosine is ``threshold`` or more, or if a chain of such
    pairs leads from one to the other (single linkage). Of documents in chunks any two chunks count,
    and ``score`` is that of the first chunks. Memory is a few numbers a row, and what
    ``_ANSWERS_AT_ONCE`` bounds. ``progress`` and errors are those of ``close_pairs``.
    """
    with stored.reading():
        clusters = _Clusters(stored.chunks.count)
        for left, right, _ in close_pairs(stored, threshold, progress):
            clusters.join(stored.chunks.documents[left], stored.chunks.documents[right])
        for members in clusters.several():
            yield _duplicates(stored, members)


def close_pairs(
    stored: StoredIndex,
    threshold: float,
    progress: Callable[[int, int | None], None] | None = None,
) -> Iterator[tuple[Rows, Rows, npt.NDArray[np.float64]]]:
    """Pairs of live rows at the threshold or above: two arrays of rows, and their cosines.

    A pair comes from both sides, each row with itself too. ``progress`` gets the rows that were
    compared, and all. Raises SettingsError for a threshold that is not above 0 and up to 1.
    """
    if not 0 < threshold <= 1:
        raise SettingsError(f"the threshold is {threshold}; give a cosine above 0 and up to 1")
    live = live_rows(stored)
    rows = np.arange(stored.rows) if live is None else live.rows
    index = stored.index
    for start in range(0, len(rows), _QUERIES_AT_ONCE):
        pending = rows[start : start + _QUERIES_AT_ONCE]
        neighbours = _NEIGHBOURS
        while len(pending):
            more = []
            step = max(1, _ANSWERS_AT_ONCE // neighbours)
            for part in (pending[i : i + step] for i in range(0, len(pending), step)):
                answers = index.search(stored.vectors(part), neighbours, live)
                for row, (found, scores) in zip(part.tolist(), answers, strict=True):
                    near = scores >= threshold
                    close = found[near]
                    if len(close) == len(found) < len(rows):  # there may be more
                        more.append(row)
                    yield np.full(len(close), row), close, scores[near]
            pending = np.array(more, np.int64)
            neighbours *= 8
        if progress is not None:
            progress(min(start + _QUERIES_AT_ONCE, len(rows)), len(rows))


class _Clusters:
    """Which of the numbers from 0 on belong together: union-find, the least number at the root."""

    def __init__(self, size: int) -> None:
        self._parents = list(range(size))

    def join(self, left: npt.NDArray[np.int64], right: npt.NDArray[np.int64]) -> None:
        for a, b in zip(left.tolist(), right.tolist(), strict=True):
            low, high = sorted((self._root(a), self._root(b)))
            self._parents[high] = low

    def _root(self, number: int) -> int:
        while self._parents[number] != number:
            # halving the path as one walks it keeps all paths short
            self._parents[number] = self._parents[self._parents[number]]
            number = self._parents[number]
        return number

    def several(self) -> list[list[int]]:
        """The clusters of two or more, greatest first, of equal ones that with the first number."""
        clusters: dict[int, list[int]] = {}
        for number in range(len(self._parents)):
            if (root := self._root(number)) != number:
                clusters.setdefault(root, [root]).append(number)
        return sorted(clusters.values(), key=lambda members: (-len(members), members[0]))


def _duplicates(stored: StoredIndex, members: list[int]) -> list[Duplicate]:
    rows = np.searchsorted(stored.chunks.documents, members)
    vectors = stored.vectors(rows).astype(np.float64)
    scores = np.clip(vectors @ vectors[0], -1, 1)
    passages = stored.passages(rows.tolist())
    return [
        Duplicate(passage.document, float(score))
        for passage, score in zip(passages, scores, strict=True)
    ]
