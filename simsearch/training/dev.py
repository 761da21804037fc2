"""How good the vectors of a model in training are, by pairs that it is not trained on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from simsearch.batching import batches
from simsearch.bert.backend import tf
from simsearch.bert.trainable import TrainableModel
from simsearch.evaluation.metrics import auc, spearman
from simsearch.evaluation.tasks.base import cosines
from simsearch.records import SentencePair
from simsearch.tokenizer import TextPair, TokenBatch
from simsearch.training import objectives
from simsearch.training.tokens import Tokens

_TOKENS = 4096  # of a batch
_Text = TypeVar("_Text", str, TextPair)


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
        measure = auc if self.metric == "auc" else spearman
        return {self.metric: measure(self._labels, cosines(first, second))}

    def _encoded(self, model: TrainableModel, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        if self._encode is None:
            self._encode = traced(lambda ids: objectives.unit(model.pooled(ids)))
        return computed(self._encode, texts, lambda block: self._tokens.encode(block, "query"))


def traced(function: Callable[[Any], Any]) -> Any:
    """A function of ids, int32 (rows, tokens), as one graph for batches of any size."""
    return tf.function(function, [tf.TensorSpec([None, None], tf.int32)], autograph=False)


def computed(
    function: Any, texts: Sequence[_Text], tokenize: Callable[[Sequence[_Text]], TokenBatch]
) -> npt.NDArray[np.float32]:
    """What ``function`` makes of the ids of texts, float32 (texts, any), in their order.

    It takes ids (rows, tokens) to (rows, any). There is at least one text.
    """
    found: npt.NDArray[np.float32] | None = None
    for batch in batches(texts, tokenize, lambda count: 1 + _TOKENS // count):
        rows = function(tf.constant(batch.ids)).numpy()
        if found is None:
            found = np.empty((len(texts), rows.shape[1]), np.float32)
        found[batch.rows] = rows
    assert found is not None  # there are texts
    return found
