"""How good the vectors of a model in training are, by pairs that it is not trained on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from simsearch.batching import batches
from simsearch.bert.backend import tf
from simsearch.bert.trainable import TrainableModel
from simsearch.evaluation.metrics import auc, spearman
from simsearch.records import SentencePair
from simsearch.training import objectives
from simsearch.training.tokens import Tokens

_TOKENS = 4096  # of a batch


class PairsDev:
    """Implements ``Dev``: Spearman's correlation of cosines with scores, or the AUC of 0 and 1."""

    def __init__(self, pairs: Sequence[SentencePair], tokens: Tokens) -> None:
        self._first = [pair.sentence1 for pair in pairs]
        self._second = [pair.sentence2 for pair in pairs]
        self._labels = np.array([pair.score for pair in pairs])
        self._tokens = tokens
        self._encode: Any = None  # traced once
        self.metric = "auc" if np.isin(self._labels, (0, 1)).all() else "spearman"

    def measure(self, model: TrainableModel) -> dict[str, float]:
        """See ``Dev``."""
        texts = list(dict.fromkeys(self._first + self._second))
        row = {text: i for i, text in enumerate(texts)}
        vectors = self._encoded(model, texts)
        first = vectors[[row[text] for text in self._first]]
        second = vectors[[row[text] for text in self._second]]
        cosines = (first.astype(np.float64) * second).sum(axis=1)
        measure = auc if self.metric == "auc" else spearman
        return {self.metric: measure(self._labels, cosines)}

    def _encoded(self, model: TrainableModel, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        if self._encode is None:
            any_ids = tf.TensorSpec([None, None], tf.int32)
            self._encode = tf.function(
                lambda ids: objectives.unit(model.pooled(ids)), [any_ids], autograph=False
            )
        made = batches(
            texts,
            lambda block: self._tokens.encode(block, "query"),
            lambda tokens: 1 + _TOKENS // tokens,
        )
        vectors: npt.NDArray[np.float32] | None = None
        for batch in made:
            encoded = self._encode(tf.constant(batch.ids)).numpy()
            if vectors is None:
                vectors = np.empty((len(texts), encoded.shape[1]), np.float32)
            vectors[batch.rows] = encoded
        assert vectors is not None  # there are pairs
        return vectors
