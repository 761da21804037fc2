"""The loop: batches in an order that follows from a seed, evaluation, early stopping, resuming."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from simsearch.bert.backend import tf
from simsearch.bert.checkpoint_files import Array, Variables
from simsearch.bert.devices import devices
from simsearch.bert.trainable import TrainableModel
from simsearch.checkpoint import Checkpoint
from simsearch.config import TrainSettings
from simsearch.errors import SettingsError
from simsearch.limits import free_memory
from simsearch.training.memory import check_memory
from simsearch.training.method import Arrays, Dev, Method, Rows
from simsearch.training.optimization import Optimizer, shares_of
from simsearch.training.state import Position, State
from simsearch.training.step import Step

_SAVED_EVERY = 300.0  # seconds, beside each evaluation: what a kill may cost
_PASSES, _PASS = 8, 16  # of texts of like length: at most so many, of so many texts on average
_ROWS = 200  # of metrics.csv, about, beside those of evaluations

# as tf.summary.scalar says it, which asks for TensorBoard to be installed
_SCALAR = tf.compat.v1.SummaryMetadata(
    plugin_data=tf.compat.v1.SummaryMetadata.PluginData(plugin_name="scalars")
)

OnStep = Callable[[int, int], None]
"""Called with the number of steps done, and of all."""
OnEvaluation = Callable[[Mapping[str, float]], None]
"""Called with a row of metrics.csv: step, loss, ``dev_`` and the name of what was measured, …"""


@dataclass(frozen=True)
class Plan:
    """How many steps there are: ``epoch`` of them go once through the data."""

    epoch: int
    total: int
    evaluate_every: int


@dataclass(frozen=True)
class Outcome:
    """What a training reached: the ``variables`` to keep, and where they come from (``facts``).

    The dev ``metric`` was ``first`` before the first step, and ``best`` at ``best_step`` of
    ``steps``; without dev data these three are ``None``, and the last step is kept.
    """

    variables: Variables
    facts: dict[str, Any]


def plan(examples: int, settings: TrainSettings) -> Plan:
    """The steps for so many examples. Raises SettingsError if they don't make one."""
    size, count = settings.batch_size, devices().count
    if size % (settings.accumulate * count):
        raise SettingsError(
            f"batch_size {size} cannot be cut into {settings.accumulate} parts (accumulate) for "
            f"{count} devices each; expected a multiple of {settings.accumulate * count}"
        )
    if examples < size:
        raise SettingsError(
            f"the training data have {examples} examples, which is less than a batch of {size}; "
            "give more data, or a smaller --batch-size"
        )
    epoch = examples // size
    return Plan(epoch, epoch * settings.epochs, settings.evaluate_every or epoch)


def _passes(rows: int) -> int:
    """Into how many parts a device's rows of a batch are worth being cut."""
    return max(1, min(_PASSES, rows // _PASS))


class Training:
    """A method, its data and a model, from the first step or from where it was interrupted.

    The same settings and data give the same weights on the same machine, however often it was
    killed between. ``folder`` keeps what that needs (see ``State``); ``variables`` are those of
    the model at the first step, ``head`` those of what is trained on top of it.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        variables: Variables,
        heads: tuple[str, ...],
        method: Method,
        dev: Dev | None,
        settings: TrainSettings,
        folder: Path,
        *,
        mlm: bool = False,
        head: Mapping[str, Array] | None = None,
    ) -> None:
        tf.config.experimental.enable_op_determinism()
        tf.random.set_seed(settings.seed)  # determinism asks for it; nothing draws from it
        self._method, self._dev, self._settings = method, dev, settings
        self.plan = plan(method.examples, settings)
        here = devices()
        passes = _passes(settings.batch_size // settings.accumulate // here.count)
        free = free_memory() if here.kind == "CPU" else None
        if free is not None:
            numbers = sum(values.size for values in (*variables.values(), *(head or {}).values()))
            first = list(self._batches(0))
            check_memory(
                free,
                checkpoint.architecture,
                numbers,
                method,
                first,
                passes,
                settings,
                here.count,
            )
        with here.strategy.scope():
            self._model = TrainableModel(
                checkpoint,
                variables,
                heads,
                mlm=mlm,
                head=head,
                dropout=settings.dropout,
                bfloat16=settings.bfloat16,
                passes=passes,
            )
            self._optimizer = Optimizer(
                self._model.variables,
                shares_of(self._model, settings.layer_decay),
                rate=settings.learning_rate,
                warmup=round(settings.warmup * self.plan.total),
                total=self.plan.total,
                weight_decay=settings.weight_decay,
            )
        self._step = Step(
            self._model,
            method,
            self._optimizer,
            here,
            parts=settings.accumulate,
            clip=settings.clip,
        )
        self._state = State(folder, [*self._model.variables, *self._optimizer.state])
        self._logs = tf.summary.create_file_writer(str(folder / "tensorboard"))

    def run(self, progress: OnStep | None = None, evaluated: OnEvaluation | None = None) -> Outcome:
        """Train to the end, or until the dev metric has not grown for ``patience`` evaluations.

        Raises SettingsError where the loss is no number any more.
        """
        position = self._state.restore()
        if position.step == 0:
            position = self._evaluated(position, evaluated)
        saved = time.monotonic()
        while position.step < self.plan.total and not self._stops(position):
            # No state is saved on Ctrl-C: nobody knows whether the step at hand took place.
            loss = self._stepped(position.step)
            position = replace(position, step=position.step + 1, losses=[*position.losses, loss])
            if not np.isfinite(loss):
                raise SettingsError(
                    f"the loss of step {position.step} is {loss}; try a smaller --learning-rate"
                )
            if progress is not None:
                progress(position.step, self.plan.total)
            if position.step % self.plan.evaluate_every == 0 or position.step == self.plan.total:
                position = self._evaluated(position, evaluated)
                saved = time.monotonic()
            elif position.step % max(1, self.plan.total // _ROWS) == 0:
                position = self._with_row(position, {})
            if time.monotonic() - saved > _SAVED_EVERY:
                self._state.save(position)
                saved = time.monotonic()
        return self._outcome(position)

    def _stepped(self, step: int) -> float:
        try:
            return self._step(list(self._batches(step)), (self._settings.seed, step))
        except tf.errors.ResourceExhaustedError:
            raise SettingsError(
                f"step {step + 1} does not fit in the memory of the device; give a smaller "
                "--batch-size or --max-length, or a greater --accumulate"
            ) from None

    def _stops(self, position: Position) -> bool:
        patience = self._settings.patience
        return patience is not None and position.without_gain >= patience

    def _batches(self, step: int) -> Iterator[Arrays]:
        """The parts of the batch of this step."""
        epoch, place = divmod(step, self.plan.epoch)
        size, seed = self._settings.batch_size, self._settings.seed
        order = np.random.default_rng([seed, epoch]).permutation(self._method.examples)
        rows: Rows = order[place * size : (place + 1) * size]
        for i, part in enumerate(np.split(rows, self._settings.accumulate)):
            yield self._method.batch(part, (seed, step, i))

    def _evaluated(self, position: Position, evaluated: OnEvaluation | None) -> Position:
        """Measure, keep the model if it is the best, and save the state."""
        if self._dev is None:
            position = self._with_row(position, {})
        else:
            measured = self._dev.measure(self._model)
            position = self._with_row(position, measured)
            value = measured[self._dev.metric]
            if position.best is None or value > position.best:
                self._state.save_best(position.step, self._model.values())
                position = replace(position, best=value, best_step=position.step, without_gain=0)
            else:
                position = replace(position, without_gain=position.without_gain + 1)
        self._state.save(position)
        if evaluated is not None:
            evaluated(position.rows[-1])
        return position

    def _with_row(self, position: Position, measured: dict[str, float]) -> Position:
        """With a row more in metrics.csv, and in the log that TensorBoard shows."""
        losses = position.losses
        row = {
            "step": position.step,
            "epoch": round(position.step / self.plan.epoch, 4),
            "learning_rate": float(self._optimizer.schedule(max(0, position.step - 1))),
            **({"loss": float(np.mean(losses))} if losses else {}),
            **{f"dev_{name}": value for name, value in measured.items()},
        }
        with self._logs.as_default(position.step):
            for name, value in row.items():
                if name not in ("step", "epoch"):
                    tf.summary.write(name, tf.constant(value, tf.float32), metadata=_SCALAR)
        self._logs.flush()
        return replace(position, rows=[*position.rows, row], losses=[])

    def _outcome(self, position: Position) -> Outcome:
        facts: dict[str, Any] = {
            "steps": position.step,
            "best_step": position.step,
            "metric": None,
            "first": None,
            "best": None,
        }
        if self._dev is None or position.best_step is None:
            return Outcome(self._model.values(), facts)
        facts |= {
            "best_step": position.best_step,
            "metric": self._dev.metric,
            "first": position.rows[0][f"dev_{self._dev.metric}"],
            "best": position.best,
        }
        return Outcome(self._state.best(position.best_step), facts)

    def clear(self) -> None:
        """Remove what only an unfinished training needs."""
        self._logs.close()
        self._state.clear()
