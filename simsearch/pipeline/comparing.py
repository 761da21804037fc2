"""Compare two texts under every pooling, and token by token."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from simsearch.alignment import Alignment
from simsearch.config import POOLINGS
from simsearch.errors import SettingsError
from simsearch.pipeline.explaining import aligned
from simsearch.pooling import resolve_pooling
from simsearch.search import Searcher
from simsearch.sentence_encoder import SentenceEncoder


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two texts. ``cosines`` are by pooling, without whitening; what ``alignment`` has, see there.

    ``order_score`` says, if the texts have the same words, how far they mean the same, 0 to 1.
    """

    a: str
    b: str
    cosines: Mapping[str, float]
    alignment: Alignment
    order_score: float | None


def compare(searcher: Searcher, a: str, b: str) -> Comparison:
    """Compare two texts with the model of an index, in one pass for all poolings.

    Raises SettingsError for a text without a word.
    """
    if not a.strip() or not b.strip():
        raise SettingsError("one of the texts is empty; give two that can be compared")
    encoder = searcher.encoder
    assert isinstance(encoder, SentenceEncoder)  # open_index gave it
    order_score = None
    if searcher.reranker is not None:
        (order_score,) = searcher.reranker.order_scores([(a, b)])
    return Comparison(a, b, _cosines(encoder, a, b), aligned(encoder, a, b), order_score)


def _cosines(encoder: SentenceEncoder, a: str, b: str) -> dict[str, float]:
    layers = encoder.checkpoint.architecture.num_hidden_layers
    pooled = [
        resolve_pooling(name, None, layers)
        for name in POOLINGS
        if name != "pooler" or encoder.backbone.hashes.pooler is not None
    ]
    heads = list(dict.fromkeys(head for pooling in pooled for head in pooling.heads))
    rows = encoder.backbone.pooled([a, b], heads, "query").heads
    states = dict(zip(heads, rows, strict=True))
    cosines = {}
    for pooling in pooled:
        vectors = np.mean([states[head] for head in pooling.heads], axis=0, dtype=np.float64)
        first, second = np.asarray(vectors)
        lengths = np.linalg.norm(first) * np.linalg.norm(second)
        cosines[pooling.name] = float(np.clip(first @ second / max(lengths, 1e-30), -1, 1))
    return cosines
