"""Methods that train sentence vectors: on graded pairs, on what belongs together, on texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from simsearch.bert.backend import tf
from simsearch.bert.trainable import TrainableModel
from simsearch.encoder import Vectors
from simsearch.records import Example, SentencePair
from simsearch.training import objectives
from simsearch.training.method import Arrays, Replicas, Rows
from simsearch.training.tokens import Ids, Tokens


class Cosent:
    """Implements ``Method``: pairs with a score, to be ordered by their cosines as by scores."""

    ids = ("first", "second")

    def __init__(self, pairs: Sequence[SentencePair], tokens: Tokens, temperature: float) -> None:
        self._pairs, self._tokens, self._temperature = pairs, tokens, temperature
        self.examples = len(pairs)

    def batch(self, rows: Rows, seed: Sequence[int]) -> Arrays:
        """See ``Method``: ``first`` and ``second`` are ids, ``labels`` the scores."""
        pairs = [self._pairs[row] for row in rows]
        return {
            # both sides of a symmetric task have the query's prompt: see PairsTask
            "first": self._tokens.padded([pair.sentence1 for pair in pairs], "query"),
            "second": self._tokens.padded([pair.sentence2 for pair in pairs], "query"),
            "labels": np.array([pair.score for pair in pairs], np.float32),
        }

    def loss(self, model: TrainableModel, batch: Mapping[str, Any], replicas: Replicas) -> Any:
        """See ``Method``."""
        first, second = _vectors(model, batch["first"], batch["second"])
        cosines = replicas.gather(tf.reduce_sum(first * second, axis=1))
        labels = replicas.gather(batch["labels"])
        return objectives.cosent(cosines, labels, self._temperature) / replicas.count


class Contrastive:
    """Implements ``Method``: texts that belong together, apart from all others of the batch."""

    ids = ("anchors", "positives", "negatives")

    def __init__(self, examples: Sequence[Example], tokens: Tokens, temperature: float) -> None:
        self._examples, self._tokens, self._temperature = examples, tokens, temperature
        self.examples = len(examples)

    def batch(self, rows: Rows, seed: Sequence[int]) -> Arrays:
        """See ``Method``.

        ``anchors`` (n, tokens), ``positives`` (n, tokens) and ``negatives`` (n, each, tokens) are
        ids; the arrays of the same names with ``_key``, but for their tokens, number their texts.
        """
        examples = [self._examples[row] for row in rows]
        anchors = [example.anchor for example in examples]
        positives = [example.positive for example in examples]
        negatives = [text for example in examples for text in example.negatives]
        numbers: dict[str, int] = {}
        keys = [
            np.array([numbers.setdefault(text, len(numbers)) for text in texts], np.int32)
            for texts in (anchors, positives, negatives)
        ]
        return {
            "anchors": self._tokens.padded(anchors, "query"),
            "positives": self._tokens.padded(positives, "document"),
            "negatives": self._padded_negatives(negatives, len(rows)),
            "anchors_key": keys[0],
            "positives_key": keys[1],
            "negatives_key": keys[2].reshape(len(rows), -1),
        }

    def _padded_negatives(self, texts: Sequence[str], rows: int) -> Ids:
        if not texts:
            return np.zeros((rows, 0, 1), np.int32)
        ids = self._tokens.padded(texts, "document")
        return ids.reshape(rows, -1, ids.shape[1])

    def loss(self, model: TrainableModel, batch: Mapping[str, Any], replicas: Replicas) -> Any:
        """See ``Method``."""
        negatives = batch["negatives"]
        flat = tf.reshape(negatives, [-1, tf.shape(negatives)[2]])
        vectors = _vectors(model, batch["anchors"], batch["positives"], flat)
        anchors, positives, negatives = (replicas.gather(part) for part in vectors)
        anchor, positive, negative = (
            replicas.gather(tf.reshape(batch[name], [-1]))
            for name in ("anchors_key", "positives_key", "negatives_key")
        )
        documents = tf.concat([positive, negative], 0)
        # neither a document of the same text, nor another document of the same query, is wrong
        others = positive[:, None] != documents[None, :]
        same_query = anchor[:, None] == anchor[None, :]
        none = tf.zeros([tf.size(anchor), tf.size(negative)], tf.bool)
        others = others & ~tf.concat([same_query, none], 1)
        candidates = tf.concat([positives, negatives], 0)
        loss = objectives.contrastive(anchors, candidates, others, self._temperature)
        return loss / replicas.count


class Simcse:
    """Implements ``Method``: each text twice, told apart only by what dropout leaves of it.

    Gao, Yao and Chen (2021), arXiv:2104.08821, section 3.
    """

    ids = ("ids", "ids")

    def __init__(self, texts: Sequence[str], tokens: Tokens, temperature: float) -> None:
        self._texts, self._tokens, self._temperature = texts, tokens, temperature
        self.examples = len(texts)

    def batch(self, rows: Rows, seed: Sequence[int]) -> Arrays:
        """See ``Method``: ``ids`` of the texts."""
        return {"ids": self._tokens.padded([self._texts[row] for row in rows], "document")}

    def loss(self, model: TrainableModel, batch: Mapping[str, Any], replicas: Replicas) -> Any:
        """See ``Method``."""
        first, second = (replicas.gather(v) for v in _vectors(model, batch["ids"], batch["ids"]))
        others = tf.ones([tf.shape(first)[0]] * 2, tf.bool)
        return objectives.contrastive(first, second, others, self._temperature) / replicas.count


class Distill:
    """Implements ``Method``: texts that shall have a teacher's vectors, or its similarities.

    ``teachers`` are unit vectors, float32 (texts, dim), which may be mapped. Where a student's are
    as long, they shall be the same; else their cosines shall be.
    """

    ids = ("ids",)

    def __init__(
        self, texts: Sequence[str], teachers: Vectors, tokens: Tokens, temperature: float
    ) -> None:
        self._texts, self._teachers, self._tokens = texts, teachers, tokens
        self._temperature = temperature
        self.examples = len(texts)

    def batch(self, rows: Rows, seed: Sequence[int]) -> Arrays:
        """See ``Method``: ``ids`` of the texts and ``teachers``, their vectors."""
        ids = self._tokens.padded([self._texts[row] for row in rows], "document")
        return {"ids": ids, "teachers": np.array(self._teachers[rows])}

    def loss(self, model: TrainableModel, batch: Mapping[str, Any], replicas: Replicas) -> Any:
        """See ``Method``."""
        (students,) = _vectors(model, batch["ids"])
        as_long = students.shape[1] == self._teachers.shape[1]
        students, teachers = replicas.gather(students), replicas.gather(batch["teachers"])
        if as_long:
            count = tf.cast(tf.shape(students)[0], tf.float32)
            return objectives.imitation(students, teachers) / count / replicas.count
        loss = objectives.similarity_distribution(students, teachers, self._temperature)
        return loss / replicas.count


def _vectors(model: TrainableModel, *ids: Any) -> list[Any]:
    """Unit vectors of several (rows, tokens) of ids, all in one pass."""
    longest = tf.reduce_max([tf.shape(part)[1] for part in ids])
    wide = [tf.pad(part, [[0, 0], [0, longest - tf.shape(part)[1]]]) for part in ids]
    vectors = objectives.unit(model.pooled(tf.concat(wide, 0)))
    return list(tf.split(vectors, [tf.shape(part)[0] for part in ids]))
