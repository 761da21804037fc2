"""Dropout whose masks follow from a seed: the same step of the same training drops the same units.

Keras' own draws from a state that nobody can save or set, so that a training that was interrupted
could not go on as if nothing had happened.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

from simsearch.bert.backend import Dropout, tf

# what gives the next seed; none while nothing is dropped
_SEEDS: ContextVar[Iterator[Any] | None] = ContextVar("_SEEDS", default=None)


@contextlib.contextmanager
def dropout(seed: Any) -> Iterator[None]:
    """Let the models that are called in the block drop units, by masks that follow from ``seed``.

    ``seed`` is an int32 (2,) tensor. Each place of a model that drops something has a seed of its
    own, by the order in which they are computed. Outside such a block nothing is dropped.
    """
    fold = tf.random.experimental.stateless_fold_in
    place = iter(range(1 << 30))
    token = _SEEDS.set(iter(lambda: fold(seed, next(place)), None))
    try:
        yield
    finally:
        _SEEDS.reset(token)


def training() -> bool:
    """Whether this is in a block of ``dropout``, where gradients will be asked for."""
    return _SEEDS.get() is not None


def next_seed() -> Any:
    """A seed for a block within this one, int32 (2,); ``training`` must be true."""
    seeds = _SEEDS.get()
    assert seeds is not None
    return next(seeds)


def dropped(x: Any, rate: float) -> Any:
    """Dropout (Srivastava et al. 2014): each unit is 0 with probability ``rate``, the rest grow."""
    seeds = _SEEDS.get()
    if seeds is None or not rate:
        return x
    return tf.nn.experimental.stateless_dropout(x, rate, next(seeds))


class SeededDropout(Dropout):  # type: ignore[misc]
    """Keras' layer, with ``dropped`` in it."""

    def call(self, inputs: Any, training: Any = None) -> Any:
        """As many of ``inputs`` as the block it is called in says; see ``dropout``."""
        return dropped(inputs, self.rate)
