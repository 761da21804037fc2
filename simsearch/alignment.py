"""Which token of one text matches which of another, by their vectors in their sentences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from simsearch.encoder import Vectors

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Match:
    """A token at ``place`` (from 0) of the first text, and the one nearest to it in the second."""

    token: str
    place: int
    nearest: str
    nearest_place: int
    cosine: float


@dataclass(frozen=True, eq=False)
class Alignment:
    """The tokens of two texts, and ``cosines`` of their vectors, float64 (first, second)."""

    first: Sequence[str]
    second: Sequence[str]
    cosines: Floats

    @property
    def matches(self) -> list[Match]:
        """For each token of the first text the nearest of the second; of equals the first."""
        if not len(self.second):
            return []
        return [
            Match(token, i, self.second[j], j, float(self.cosines[i, j]))
            for i, (token, j) in enumerate(
                zip(self.first, self.cosines.argmax(axis=1).tolist(), strict=True)
            )
        ]

    @property
    def f1(self) -> float:
        """How well the two cover each other, -1 to 1; ``nan`` where one has no token.

        The harmonic mean of both sides' mean cosine of a token with its nearest. Source: BERTScore,
        Zhang et al. (2020), arXiv:1904.09675, section 3.
        """
        if not self.cosines.size:
            return float("nan")
        recall, precision = (float(self.cosines.max(axis=axis).mean()) for axis in (1, 0))
        return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def align(
    first: Sequence[str], vectors: Vectors, second: Sequence[str], others: Vectors
) -> Alignment:
    """The alignment of tokens with vectors, float32 (tokens, dim) of any length."""
    units = [_unit(rows) for rows in (vectors, others)]
    return Alignment(list(first), list(second), units[0] @ units[1].T)


def _unit(rows: Vectors) -> Floats:
    rows = rows.astype(np.float64)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(norms, np.finfo(np.float64).tiny))
