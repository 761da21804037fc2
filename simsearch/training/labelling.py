"""Labelling of units: a linear layer on token vectors, and a conditional random field over it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from simsearch.batching import padded
from simsearch.bert.backend import tf
from simsearch.bert.dropout import dropped
from simsearch.bert.trainable import TrainableModel
from simsearch.heads import BIAS, KERNEL, TRANSITIONS
from simsearch.records import TaggedText
from simsearch.tagging import best_path, span_f1
from simsearch.training import objectives
from simsearch.training.method import Arrays, Replicas, Rows
from simsearch.training.tokens import Tokens

_ROWS = 64  # of a batch to measure by


class Label:
    """Implements ``Method``: the tag of each unit of a text, by the vector of its first piece.

    Devlin et al. (2019), arXiv:1810.04805, section 5.3, with a conditional random field over it,
    as Lample et al. (2016), arXiv:1603.01360, section 2.2.
    """

    ids = ("ids",)

    def __init__(self, texts: Sequence[TaggedText], names: Sequence[str], tokens: Tokens) -> None:
        number = {name: i for i, name in enumerate(names)}
        self._units = [text.units for text in texts]
        self._tags = [[number[tag] for tag in text.tags] for text in texts]
        self._tokens = tokens
        self.examples = len(texts)

    def batch(self, rows: Rows, seed: Sequence[int]) -> Arrays:
        """See ``Method``: ``ids``, and ``places`` and ``tags`` of units, 0 where there is none."""
        encode = self._tokens.tokenizer.encode_units
        ids, places = zip(*(encode(self._units[row]) for row in rows), strict=True)
        kept = [self._tags[row][: len(mine)] for row, mine in zip(rows, places, strict=True)]
        return {"ids": padded(ids), "places": padded(places), "tags": padded(kept)}

    def loss(self, model: TrainableModel, batch: Mapping[str, Any], replicas: Replicas) -> Any:
        """See ``Method``: the mean over the texts."""
        scores = tag_scores(model, batch["ids"], batch["places"])
        loss = objectives.random_field(
            scores, batch["tags"], batch["places"] > 0, model.head[TRANSITIONS]
        )
        return loss / tf.cast(tf.shape(scores)[0] * replicas.count, tf.float32)


def tag_scores(model: TrainableModel, ids: Any, places: Any) -> Any:
    """The score of each tag for each unit, (rows, units, names)."""
    (states,) = model.heads(ids)
    vectors = dropped(tf.gather(states, places, batch_dims=1), model.dropout)
    return vectors @ model.head[KERNEL] + model.head[BIAS]


class TagsDev:
    """Implements ``Dev``: F1 of the spans that the tags mark, as ``span_f1`` says."""

    metric = "f1"

    def __init__(self, texts: Sequence[TaggedText], names: Sequence[str], tokens: Tokens) -> None:
        self._method = Label(texts, names, tokens)
        self._texts, self._names = texts, names
        self._scores: Any = None  # traced once

    def measure(self, model: TrainableModel) -> dict[str, float]:
        """``f1`` of spans, and ``accuracy`` of single tags; a unit that was cut off has "O"."""
        if self._scores is None:
            any_ids = tf.TensorSpec([None, None], tf.int32)
            self._scores = tf.function(
                lambda ids, places: tag_scores(model, ids, places),
                [any_ids, any_ids],
                autograph=False,
            )
        transitions = model.head[TRANSITIONS].numpy()
        given: list[list[str]] = []
        rows = np.arange(self._method.examples)
        for part in np.array_split(rows, -(-len(rows) // _ROWS)):
            batch = self._method.batch(part, ())
            arrays = (tf.constant(batch[name]) for name in ("ids", "places"))
            for places, scores in zip(batch["places"], self._scores(*arrays).numpy(), strict=True):
                path = best_path(scores[places > 0], transitions)
                given.append([self._names[tag] for tag in path])
        wanted = [text.tags for text in self._texts]
        given = [
            [*path, *["O"] * (len(w) - len(path))] for path, w in zip(given, wanted, strict=True)
        ]
        pairs = [
            pair for w, g in zip(wanted, given, strict=True) for pair in zip(w, g, strict=True)
        ]
        right = sum(w == g for w, g in pairs) / len(pairs)
        return {"f1": span_f1(wanted, given), "accuracy": right}
