"""The optimizer: AdamW whose rate warms up, decays, and is smaller for lower layers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from simsearch.bert.backend import tf
from simsearch.bert.trainable import TrainableModel
from simsearch.heads import BIAS, KERNEL, TRANSITIONS

# What is trained from nothing on top of an encoder learns faster than the encoder: a linear layer
# ten times, and the transitions of a random field a hundred times, as they are few and their
# gradients small (Su 2020, kexue.fm/archives/7196). Without, texts would be labelled by their
# units alone for as long as an encoder takes to tune.
HEAD_SHARES = {KERNEL: 10.0, BIAS: 10.0, TRANSITIONS: 100.0}
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


def shares_of(model: TrainableModel, decay: float) -> list[float]:
    """For each of a model's variables its share of the learning rate.

    One with n layers above it has ``decay ** n`` (Howard and Ruder 2018, arXiv:1801.06146, section
    3.1, "discriminative fine-tuning"), one of a head what ``HEAD_SHARES`` says.
    """
    return [decay**depth for depth in model.depths] + [HEAD_SHARES[name] for name in model.head]


class Optimizer:
    """AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101), one for each of the ``shares``.

    A variable learns at its share of the rate: see ``shares_of``.
    """

    def __init__(
        self,
        variables: Sequence[Any],
        shares: Sequence[float],
        *,
        rate: float,
        warmup: int,
        total: int,
        weight_decay: float,
    ) -> None:
        self.schedule = WarmUpThenDecay(rate, warmup, total)
        places: dict[float, list[int]] = defaultdict(list)
        for place, share in enumerate(shares):
            places[share].append(place)
        self._groups = []
        for share, mine in sorted(places.items(), reverse=True):
            adam = tf.keras.optimizers.AdamW(
                WarmUpThenDecay(rate * share, warmup, total),
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
