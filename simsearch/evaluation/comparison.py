"""Which strategy is the best of a task, and which others may be as good."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from simsearch.evaluation.bootstrap import Difference, difference, holm
from simsearch.evaluation.tasks import TaskResult

LEVEL = 0.05  # below it a difference counts as real


@dataclass(frozen=True, slots=True)
class Comparison:
    """How far a result is below the best one of its task, by the task's primary metric.

    ``best`` is that one's name. ``p`` is the probability of so large a difference if there were
    none, adjusted (Holm) for all the comparisons with the best of this task.
    """

    metric: str
    best: str
    difference: Difference
    p: float

    @property
    def clearly_worse(self) -> bool:
        """Whether the difference is more than chance would make it."""
        return self.p < LEVEL


def compare(results: Sequence[tuple[str, TaskResult]]) -> list[Comparison | None]:
    """Compare the results of one task, each with its name, with the best of them.

    ``None`` stands for the best itself (of equals, the first), and for results without a primary
    metric or with an undefined one.
    """
    metric = results[0][1].primary
    if metric is None:
        return [None] * len(results)
    values = [result.metrics[metric] for _, result in results]
    defined = [i for i, value in enumerate(values) if not math.isnan(value)]
    if not defined:
        return [None] * len(results)
    best = max(defined, key=lambda i: (values[i], -i))
    name, reference = results[best]
    others = [i for i in defined if i != best]
    found = {
        i: difference(values[i], results[i][1].draws[metric], values[best], reference.draws[metric])
        for i in others
    }
    adjusted = dict(zip(others, holm([found[i].p for i in others]), strict=True))
    return [
        Comparison(metric, name, found[i], adjusted[i]) if i in found else None
        for i in range(len(results))
    ]
