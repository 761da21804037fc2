"""Vectors to search, and what the search must find: every row compared, one at a time."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]


def unit(rows: object) -> Vectors:
    vectors = np.array(rows, np.float64)
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def cut(vectors: Vectors, places: list[int]) -> list[Vectors]:
    return np.split(vectors, sorted(min(place, len(vectors)) for place in places))


def brute_force(
    vectors: Vectors, query: Vectors, k: int, allowed: Iterable[int] | None = None
) -> list[tuple[float, int]]:
    """Every (allowed) row: the best k and whatever ties with the last, as (-score, row)."""
    rows = range(len(vectors)) if allowed is None else allowed
    ranked = sorted((-score_of(vectors[row], query), row) for row in rows)
    return [pair for pair in ranked if pair[0] <= ranked[min(k, len(ranked)) - 1][0]]


def score_of(row: Vectors, query: Vectors) -> float:
    """Their float64 inner product, clipped."""
    return float(np.clip((row.astype(np.float64) * query.astype(np.float64)).sum(), -1, 1))


def random_unit(rows: int, dim: int, seed: int) -> Vectors:
    return unit(np.random.default_rng(seed).standard_normal((rows, dim)))


def clustered(rows: int, dim: int, clusters: int, seed: int) -> Vectors:
    """Unit vectors around random centres, as sentences lie around topics."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((clusters, dim))
    return unit(centres[rng.integers(0, clusters, rows)] + 0.6 * rng.standard_normal((rows, dim)))


def recall(found: Iterable[Iterable[int]], expected: Iterable[Iterable[int]]) -> float:
    """Share of the expected rows that were found, over all queries."""
    pairs = [(set(ours), set(theirs)) for ours, theirs in zip(found, expected, strict=True)]
    return sum(len(a & b) for a, b in pairs) / sum(len(b) for _, b in pairs)
