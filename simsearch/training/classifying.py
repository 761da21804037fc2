"""Sentence classification: a linear layer on the pooled vector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from simsearch.bert.backend import tf
from simsearch.bert.dropout import dropped
from simsearch.bert.trainable import TrainableModel
from simsearch.evaluation.metrics import macro_f1_of
from simsearch.heads import BIAS, KERNEL
from simsearch.records import LabelledText
from simsearch.training import objectives
from simsearch.training.dev import computed, traced
from simsearch.training.method import Arrays, Replicas, Rows
from simsearch.training.tokens import Tokens


class Classify:
    """Implements ``Method``: which of ``classes`` a text belongs to.

    As Devlin et al. (2019), arXiv:1810.04805, section 4.1, with any pooling in place of [CLS].
    """

    ids = ("ids",)

    def __init__(
        self, examples: Sequence[LabelledText], classes: Sequence[str], tokens: Tokens
    ) -> None:
        number = {name: i for i, name in enumerate(classes)}
        self._texts = [example.text for example in examples]
        self._labels = np.array([number[example.label] for example in examples], np.int32)
        self._tokens = tokens
        self.examples = len(examples)

    def batch(self, rows: Rows, seed: Sequence[int]) -> Arrays:
        """See ``Method``: ``ids`` of the texts, and ``labels``, the numbers of their classes."""
        ids = self._tokens.padded([self._texts[row] for row in rows], "document")
        return {"ids": ids, "labels": self._labels[rows]}

    def loss(self, model: TrainableModel, batch: Mapping[str, Any], replicas: Replicas) -> Any:
        """See ``Method``: the mean cross-entropy."""
        labels = batch["labels"]
        count = tf.cast(tf.shape(labels)[0] * replicas.count, tf.float32)
        return objectives.cross_entropy(class_scores(model, batch["ids"]), labels) / count


def class_scores(model: TrainableModel, ids: Any) -> Any:
    """Logits over the classes, (rows, classes)."""
    pooled = dropped(model.pooled(ids), model.dropout)
    return tf.matmul(pooled, model.head[KERNEL]) + model.head[BIAS]


class ClassesDev:
    """Implements ``Dev``: the share of texts that are put into their own class."""

    metric = "accuracy"

    def __init__(
        self, examples: Sequence[LabelledText], classes: Sequence[str], tokens: Tokens
    ) -> None:
        self._texts = [example.text for example in examples]
        self._labels = [example.label for example in examples]
        self._classes, self._tokens = classes, tokens
        self._scores: Any = None  # traced once

    def measure(self, model: TrainableModel) -> dict[str, float]:
        """``accuracy`` and ``macro_f1``."""
        if self._scores is None:
            self._scores = traced(lambda ids: class_scores(model, ids))
        scores = computed(
            self._scores, self._texts, lambda block: self._tokens.encode(block, "document")
        )
        predicted = [self._classes[i] for i in scores.argmax(axis=1)]
        right = np.mean([a == b for a, b in zip(predicted, self._labels, strict=True)])
        everything = np.ones((1, len(predicted)))
        f1 = macro_f1_of(self._labels, predicted)(everything)[0]
        return {"accuracy": float(right), "macro_f1": float(f1)}
