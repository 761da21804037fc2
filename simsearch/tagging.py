"""Tags of units: the best path through their scores, and the spans that they mark."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

_FIRST, _LAST = ("B", "S", "U"), ("E", "L", "S", "U")


class TaggedSpan(NamedTuple):
    """Units [start, stop) of a text that are one ``name``."""

    start: int
    stop: int
    name: str


def best_path(scores: npt.NDArray[np.float32], transitions: npt.NDArray[np.float32]) -> list[int]:
    """The tags of the greatest sum of ``scores`` (units, names) and ``transitions`` between them.

    Viterbi's algorithm; of equal paths the one with lower numbers at the end.
    """
    if not len(scores):
        return []
    best, origins = scores[0].astype(np.float64), []
    for score in scores[1:]:
        paths = best[:, None] + transitions
        origins.append(paths.argmax(axis=0))
        best = paths.max(axis=0) + score
    tags = [int(best.argmax())]
    for origin in reversed(origins):
        tags.append(int(origin[tags[-1]]))
    return tags[::-1]


def spans_of(tags: Sequence[str]) -> list[TaggedSpan]:
    """The spans that tags mark, in BMES, BIOES, BILOU or BIO: "B-NAME", "M-NAME", "E-NAME", "O".

    What goes on without having begun begins there.
    """
    spans: list[TaggedSpan] = []
    start: int | None = None
    name = ""
    for i, tag in enumerate([*tags, "O"]):
        place, _, mine = tag.partition("-")
        goes_on = start is not None and mine == name and place not in _FIRST and place != "O"
        if start is not None and not goes_on:
            spans.append(TaggedSpan(start, i, name))
            start = None
        if place == "O":
            continue
        if start is None:
            start, name = i, mine
        if place in _LAST:
            spans.append(TaggedSpan(start, i + 1, name))
            start = None
    return spans


def span_f1(wanted: Iterable[Sequence[str]], given: Iterable[Sequence[str]]) -> float:
    """F1 of spans, over all texts; a span is right if its ends and its name are (CoNLL 2003).

    0 where there is nothing to find and nothing was found.
    """
    right = found = there = 0
    for mine, theirs in zip(wanted, given, strict=True):
        a, b = set(spans_of(mine)), set(spans_of(theirs))
        right, there, found = right + len(a & b), there + len(a), found + len(b)
    return 2 * right / (there + found) if there + found else 0.0
