"""What all tasks share: their result, their texts encoded once, and cosines that are exact."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

import numpy as np

from simsearch.encoder import Encoder, Prompt, Vectors
from simsearch.errors import TaskError
from simsearch.evaluation.bootstrap import bootstrap, interval
from simsearch.evaluation.metrics import Floats, Statistic
from simsearch.reranking import OrderReranker

Kind = Literal["pairs", "retrieval", "classification", "word-order"]
Inputs = Mapping[Prompt, Sequence[str]]

ROWS_PER_BLOCK: Final = 4096  # rows of vectors held in float64 at a time
WORST: Final = 20  # failures kept of a task


@dataclass(frozen=True, slots=True)
class Failure:
    """An item that went wrong, for people: its texts by role, what is known of it, how wrong.

    ``cosines`` has, for a text by its role, its cosine with the first one.
    """

    id: str
    texts: Mapping[str, str]
    cosines: Mapping[str, float] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class TaskResult:
    """What one encoder reaches on one task of ``items`` pairs, queries, texts or triples.

    ``primary`` names the metric that strategies are compared by; ``None`` where more of none would
    be better. ``intervals`` has (low, high) for each of ``metrics``, and ``draws`` what they were
    taken from, the metric in each resample, float64 (resamples,); a metric that is undefined for
    these scores is ``nan``. ``breakdown`` has further metrics by group: for word order, by language
    and by "language/phenomenon".
    ``distributions`` are cosines by the kind of pair, each float64 (pairs,). ``failures`` are the
    worst items, the worst first. ``notes`` are sentences for the reader of the numbers.
    """

    task: str
    kind: Kind
    items: int
    primary: str | None
    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    draws: dict[str, Floats]
    notes: tuple[str, ...] = ()
    breakdown: dict[str, dict[str, float]] = field(default_factory=dict)
    distributions: dict[str, Floats] = field(default_factory=dict)
    failures: tuple[Failure, ...] = ()


class Task(Protocol):
    """What can be run on an encoder; ``name`` is how the user named it."""

    @property
    def name(self) -> str:
        """The file or folder as it was given, or ``word-order`` for the built-in suite."""

    @property
    def inputs(self) -> Inputs:
        """The distinct texts that ``run`` encodes, by their prompt."""

    def run(self, encoder: Encoder, reranker: OrderReranker | None = None) -> TaskResult:
        """The metrics of this encoder, of its cosines or what the ``reranker`` makes of them."""


class Encoded:
    """The vectors of a task's texts, each encoded once."""

    def __init__(self, encoder: Encoder, inputs: Inputs) -> None:
        self._vectors: dict[Prompt, Vectors] = {}
        self._rows: dict[Prompt, dict[str, int]] = {}
        for prompt, texts in inputs.items():
            vectors = encoder.encode(list(texts), prompt=prompt)
            if not np.isfinite(vectors).all():
                raise ValueError("the encoder gave nan or infinity, expected unit vectors")
            self._vectors[prompt] = vectors
            self._rows[prompt] = {text: row for row, text in enumerate(texts)}

    def of(self, texts: Sequence[str], prompt: Prompt) -> Vectors:
        """One row for each text, float32 (len(texts), dim)."""
        rows = self._rows[prompt]
        return self._vectors[prompt][[rows[text] for text in texts]]


def distinct(*groups: Sequence[str]) -> list[str]:
    """Every text once, in the order in which they come first."""
    return list(dict.fromkeys(text for group in groups for text in group))


def cosines(first: Vectors, second: Vectors) -> Floats:
    """Row-wise dot products of unit vectors, (n, dim) and (n, dim): float64 (n,).

    A float64 sum along each row, not a matrix product or einsum: those order the additions by the
    shape of the whole, so equal rows would not be sure to score equal.
    """
    products = np.empty(len(first))
    for start in range(0, len(first), ROWS_PER_BLOCK):
        rows = slice(start, start + ROWS_PER_BLOCK)
        products[rows] = np.sum(first[rows].astype(np.float64) * second[rows], axis=1)
    return products


def same_bag(encoder: Encoder, first: Sequence[str], second: Sequence[str]) -> Floats:
    """1 for each of n pairs of queries with the same token ids, order aside, else 0: float64."""
    ids = (encoder.token_ids(texts, prompt="query") for texts in (first, second))
    return np.array([sorted(a) == sorted(b) for a, b in zip(*ids, strict=True)], np.float64)


@dataclass(frozen=True, slots=True)
class Measured:
    """Metrics of some items, their bootstrap draws and intervals."""

    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    draws: dict[str, Floats]


def measured(count: int, statistics: Mapping[str, Statistic]) -> Measured:
    """Each statistic of ``count`` items, and how sure it is."""
    everything = np.ones((1, count))
    draws = dict(zip(statistics, bootstrap(list(statistics.values()), count), strict=True))
    return Measured(
        {name: float(statistic(everything)[0]) for name, statistic in statistics.items()},
        {name: interval(drawn) for name, drawn in draws.items()},
        draws,
    )


def worst(badness: Floats) -> list[int]:
    """The items with the greatest badness above 0, the worst first: at most ``WORST``."""
    order = np.argsort(-badness, kind="stable")[:WORST]
    return [int(item) for item in order if badness[item] > 0]


def require(condition: object, message: str) -> None:
    """Raise TaskError unless the condition holds."""
    if not condition:
        raise TaskError(message)
