"""The optimizer: AdamW whose rate warms up, decays, and is smaller for lower layers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from simsearch.bert.backend import tf

# biases and the scales of normalizations are not drawn to 0
_UNDECAYED = ("bias", "beta", "gamma")


class WarmUpThenDecay(tf.keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc]
    """From 0 to ``rate`` within ``warmup`` steps, then to 0 at step ``total``, in straight lines.

    Step ``s``, from 0, has the rate that its end has: the first is not without effect. As in
    Devlin et al. (2019), arXiv:1810.04805, appendix A.2.
    """

    def __init__(self, rate: float, warmup: int, total: int) -> None:
        self.rate, self.warmup, self.total = rate, warmup, total

    def __call__(self, step: Any) -> Any:
        """The rate at a step, a scalar."""
        step = tf.cast(step, tf.float32)
        rising = (step + 1) / max(1, self.warmup)
        falling = (self.total - step) / max(1, self.total - self.warmup)
        return self.rate * tf.minimum(1.0, tf.minimum(rising, falling))


class Optimizer:
    """AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101), one for each depth of ``variables``.

    A variable with ``depth`` layers above it learns at ``decay ** depth`` of the rate (Howard and
    Ruder 2018, arXiv:1801.06146, section 3.1, "discriminative fine-tuning").
    """

    def __init__(
        self,
        variables: Sequence[Any],
        depths: Sequence[int],
        *,
        rate: float,
        warmup: int,
        total: int,
        decay: float,
        weight_decay: float,
    ) -> None:
        self.schedule = WarmUpThenDecay(rate, warmup, total)
        places: dict[int, list[int]] = defaultdict(list)
        for place, depth in enumerate(depths):
            places[depth if decay != 1 else 0].append(place)
        self._groups = []
        for depth, mine in sorted(places.items()):
            adam = tf.keras.optimizers.AdamW(
                WarmUpThenDecay(rate * decay**depth, warmup, total),
                weight_decay=weight_decay,
                epsilon=1e-6,  # BERT's
                jit_compile=False,
            )
            adam.exclude_from_weight_decay(var_names=list(_UNDECAYED))
            adam.build([variables[place] for place in mine])
            self._groups.append((adam, mine))
        self._variables = list(variables)

    def apply(self, gradients: Sequence[Any]) -> None:
        """One step; the gradients are those of ``variables``, already summed over all replicas."""
        for adam, places in self._groups:
            pairs = [(gradients[place], self._variables[place]) for place in places]
            adam.apply_gradients(pairs, skip_gradients_aggregation=True)

    @property
    def state(self) -> list[Any]:
        """What to keep, so that training can go on: moments and counts."""
        return [variable for adam, _ in self._groups for variable in adam.variables]
