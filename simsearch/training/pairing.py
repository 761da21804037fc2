"""Cross-encoding: whether two texts that the model reads together mean the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from simsearch.batching import padded
from simsearch.bert.backend import tf
from simsearch.bert.trainable import TrainableModel
from simsearch.evaluation.metrics import auc
from simsearch.records import SentencePair
from simsearch.training import objectives
from simsearch.training.classifying import class_scores
from simsearch.training.dev import computed, traced
from simsearch.training.method import Arrays, Replicas, Rows
from simsearch.training.tokens import Tokens


class Rerank:
    """Implements ``Method``: pairs with 1 where they mean the same, 0 where not, or between.

    Nogueira and Cho (2019), arXiv:1901.04085, with any pooling in place of [CLS].
    """

    ids = ("ids",)

    def __init__(self, pairs: Sequence[SentencePair], tokens: Tokens) -> None:
        self._texts = [(pair.sentence1, pair.sentence2) for pair in pairs]
        self._labels = np.array([pair.score for pair in pairs], np.float32)
        self._tokens = tokens
        self.examples = len(pairs)

    def batch(self, rows: Rows, seed: Sequence[int]) -> Arrays:
        """See ``Method``: ``ids`` of both texts together, and ``labels``."""
        ids = padded(self._tokens.tokenizer.encode_pairs([self._texts[row] for row in rows]).ids)
        return {"ids": ids, "labels": self._labels[rows]}

    def loss(self, model: TrainableModel, batch: Mapping[str, Any], replicas: Replicas) -> Any:
        """See ``Method``: the mean cross-entropy."""
        labels = batch["labels"]
        count = tf.cast(tf.shape(labels)[0] * replicas.count, tf.float32)
        scores = class_scores(model, batch["ids"])[:, 0]
        return objectives.yes_or_no(scores, labels) / count


class RerankDev:
    """Implements ``Dev``: how often a pair that means the same is scored above one that doesn't."""

    metric = "auc"

    def __init__(self, pairs: Sequence[SentencePair], tokens: Tokens) -> None:
        self._texts = [(pair.sentence1, pair.sentence2) for pair in pairs]
        self._labels = np.array([pair.score for pair in pairs])
        self._tokens = tokens
        self._scores: Any = None  # traced once

    def measure(self, model: TrainableModel) -> dict[str, float]:
        """``auc``, and the ``accuracy`` at a probability of one half."""
        if self._scores is None:
            self._scores = traced(lambda ids: class_scores(model, ids))
        scores = computed(self._scores, self._texts, self._tokens.tokenizer.encode_pairs)[:, 0]
        right = float(np.mean((scores > 0) == (self._labels > 0.5)))
        return {"auc": auc(self._labels, scores), "accuracy": right}
