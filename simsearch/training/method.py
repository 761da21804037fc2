"""What a method of training is to the loop that runs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from simsearch.bert.backend import tf
from simsearch.bert.trainable import TrainableModel

Rows = npt.NDArray[np.int64]
Arrays = dict[str, npt.NDArray[Any]]


class Replicas:
    """The devices that share a step, as one of them sees the others. ``count`` is how many."""

    def __init__(self, count: int) -> None:
        self.count = count

    def gather(self, values: Any) -> Any:
        """The rows of all devices, (all rows, ...), in their order; gradients go back to each."""
        if self.count == 1:
            return values
        return tf.distribute.get_replica_context().all_gather(values, axis=0)


class Method(Protocol):
    """Data and a loss. ``examples`` is how many rows of data there are."""

    examples: int

    @property
    def ids(self) -> tuple[str, ...]:
        """The arrays of ``batch`` that go through the model, each as often as it does."""

    def batch(self, rows: Rows, seed: Sequence[int]) -> Arrays:
        """The arrays of these rows of data, each (rows, ...).

        What is random in them follows from ``seed``, which is another in each step.
        """

    def loss(self, model: TrainableModel, batch: Mapping[str, Any], replicas: Replicas) -> Any:
        """The share of one device in the loss, a scalar: the sum over all devices is made small.

        ``batch`` has the device's rows of what the method of that name gave.
        """


class Dev(Protocol):
    """Data to see by how a training of one model goes; ``metric`` shall become greatest."""

    metric: str

    def measure(self, model: TrainableModel) -> dict[str, float]:
        """``metric`` and what else it measures, by name."""
