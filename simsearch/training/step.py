"""One step of training on all devices: gradients summed, cut to a length, applied."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from simsearch.bert.backend import tf
from simsearch.bert.devices import Devices
from simsearch.bert.dropout import dropout
from simsearch.bert.trainable import TrainableModel
from simsearch.training.method import Arrays, Method, Replicas
from simsearch.training.optimization import Optimizer

_SUM = tf.distribute.ReduceOp.SUM


class Step:
    """Makes the loss of a method smaller, a batch at a time.

    A batch in several parts counts as one: its gradient is the mean of theirs. (The documents of
    a part are negatives within it, not beyond.) The same batches in the same order give the same
    variables, on the same machine and devices.
    """

    def __init__(
        self,
        model: TrainableModel,
        method: Method,
        optimizer: Optimizer,
        devices: Devices,
        *,
        parts: int,
        clip: float,
    ) -> None:
        self._model, self._method, self._optimizer = model, method, optimizer
        self._devices, self._parts, self._clip = devices, parts, clip
        self._replicas = Replicas(devices.count)
        self._sums: list[Any] = []
        if parts > 1:
            with devices.strategy.scope():
                self._sums = [_accumulator(variable) for variable in model.variables]
        self._function: Any = None

    def __call__(self, batches: Sequence[Arrays], seed: Sequence[int]) -> float:
        """Take one step on the parts of a batch; the loss, their mean.

        ``seed`` is two numbers, from which dropout follows. Each array has as many rows as devices
        can share evenly.
        """
        losses = []
        for i, arrays in enumerate(batches):
            shared = {name: self._shared(array) for name, array in arrays.items()}
            part = tf.constant([seed[0], seed[1] * self._parts + i], tf.int32)
            if self._function is None:
                self._function = self._traced(shared)
            losses.append(float(self._function(shared, part)))
        if self._sums:
            self._apply_sums()
        return float(np.mean(losses))

    def _shared(self, array: Any) -> Any:
        count = self._devices.count
        return tf.constant(array.reshape(count, len(array) // count, *array.shape[1:]))

    def _traced(self, batch: Mapping[str, Any]) -> Any:
        """What computes on all devices the loss of a part that is like ``batch``, but for sizes."""
        any_size = {
            name: tf.TensorSpec([self._devices.count, *[None] * (array.ndim - 1)], array.dtype)
            for name, array in batch.items()
        }

        def on_each(batch: Mapping[str, Any], seed: Any) -> Any:
            losses = self._devices.strategy.run(self._on_one, (batch, seed))
            return self._devices.strategy.reduce(_SUM, losses, axis=None)

        return tf.function(on_each, [any_size, tf.TensorSpec([2], tf.int32)], autograph=False)

    def _on_one(self, batch: Mapping[str, Any], seed: Any) -> Any:
        """What one device does for its rows of a part: its share of the loss."""
        number = tf.distribute.get_replica_context().replica_id_in_sync_group
        mine = {name: array[number] for name, array in batch.items()}
        own_seed = tf.random.experimental.stateless_fold_in(seed, number)
        with tf.GradientTape() as tape, dropout(own_seed):
            loss = self._method.loss(self._model, mine, self._replicas)
        gradients = tape.gradient(
            loss, self._model.variables, unconnected_gradients=tf.UnconnectedGradients.ZERO
        )
        # of an embedding table only the rows that were read; all of it is simpler, and exact
        gradients = [tf.convert_to_tensor(gradient) for gradient in gradients]
        if not self._sums:
            self._apply(gradients)
        for total, gradient in zip(self._sums, gradients, strict=False):
            total.assign_add(gradient / self._parts)
        return loss

    @tf.function(autograph=False)  # type: ignore[untyped-decorator]
    def _apply_sums(self) -> None:
        self._devices.strategy.run(self._apply_own_sums)

    def _apply_own_sums(self) -> None:
        self._apply([tf.identity(total) for total in self._sums])
        for total in self._sums:
            total.assign(tf.zeros_like(total))

    def _apply(self, gradients: Sequence[Any]) -> None:
        """Change the variables by what all devices found."""
        if self._devices.count > 1:
            gradients = tf.distribute.get_replica_context().all_reduce(_SUM, gradients)
        gradients, _ = tf.clip_by_global_norm(gradients, self._clip)
        self._optimizer.apply(gradients)


def _accumulator(variable: Any) -> Any:
    return tf.Variable(
        tf.zeros_like(variable),
        trainable=False,
        synchronization=tf.VariableSynchronization.ON_READ,
        aggregation=tf.VariableAggregation.SUM,
    )
