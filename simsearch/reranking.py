"""A second look at hits that have the words of the query, whether they also say the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from simsearch.records import Hit, passage_of
from simsearch.tokenizer import TextPair

Floats = npt.NDArray[np.float64]

CANDIDATES: Final = 50
"""How many of the best hits are looked at, or ``k`` where that is more."""
_DEMOTION = 0.5  # what a hit loses of its score that has the words and not the meaning
# How much the order that words kept adds to the log odds of the comparer, and at which share of
# kept order it adds nothing: decision 027
_KEPT_WEIGHT, _KEPT_MIDDLE = 3.0, 0.7


class Comparer(Protocol):
    """Reads two texts together."""

    def words(self, texts: Sequence[str]) -> list[list[str]]:
        """The tokens of each text that are no punctuation."""

    def same_meaning(self, pairs: Sequence[TextPair]) -> npt.NDArray[Any]:
        """The probability that two texts mean the same, (pairs,)."""


def kept_order(first: Sequence[str], second: Sequence[str]) -> float:
    """The share of the tokens of two texts that stand in the same order in both, 0 to 1.

    Twice their longest common subsequence over the tokens of both: the F1 of ROUGE-L (Lin 2004,
    W04-1013). The subsequence's length is counted in the bits of an integer, as Hyyrö (2004),
    "Bit-parallel LCS-length computation revisited", does. Two without a token keep all.
    """
    places: dict[str, int] = {}
    for place, token in enumerate(first):
        places[token] = places.get(token, 0) | 1 << place
    every = (1 << len(first)) - 1
    free = every  # the bits that no match has taken
    for token in second:
        matched = free & places.get(token, 0)
        free = ((free + matched) | (free - matched)) & every
    length = len(first) - free.bit_count()
    return 2 * length / (len(first) + len(second)) if first or second else 1.0


class OrderReranker:
    """Puts hits down that say something else with the query's words: 狗咬人 for 人咬狗.

    Vectors of texts with the same words are nearly the same, whatever the order of the words. The
    ``comparer`` (a ``Predictor`` that `simsearch train rerank` made) reads such a hit together with
    the query.
    """

    def __init__(self, comparer: Comparer) -> None:
        self._comparer = comparer

    def rerank(self, query: str, hits: Sequence[Hit]) -> list[Hit]:
        """The hits in their new order, with ``same_words`` and ``order_score``.

        Their scores stay; those of the same words are ordered as if they had lost half of it times
        one less their order score. Of a document in chunks its best chunk is looked at. The order
        of the others, and of equal ones, stays as it is.
        """
        texts = [passage_of(hit) for hit in hits]
        judged = [
            replace(hit, same_words=score is not None, order_score=score)
            for hit, score in zip(
                hits, self.order_scores([(query, text) for text in texts]), strict=True
            )
        ]
        ordered = sorted(judged, key=lambda hit: demoted(hit.score, hit.order_score), reverse=True)
        return [replace(hit, rank=rank) for rank, hit in enumerate(ordered, start=1)]

    def rescored(self, pairs: Sequence[TextPair], scores: Floats) -> Floats:
        """What texts of these scores are ordered by, as ``rerank`` does it; float64 (pairs,)."""
        judged = zip(scores.tolist(), self.order_scores(pairs), strict=True)
        return np.array([demoted(score, order_score) for score, order_score in judged])

    def order_scores(self, pairs: Sequence[TextPair]) -> list[float | None]:
        """The order score, 0 to 1, of those pairs that have the same words.

        The comparer's odds that they mean the same, raised where most words keep their order. All
        in the same order is 1; nobody needs to be asked.
        """
        texts = list(dict.fromkeys(text for pair in pairs for text in pair))
        words = dict(zip(texts, self._comparer.words(texts), strict=True))
        asked = [
            (a, b)
            for a, b in dict.fromkeys(pairs)
            if words[a] != words[b] and Counter(words[a]) == Counter(words[b])
        ]
        kept = np.array([kept_order(words[a], words[b]) for a, b in asked])
        scores = _in_order(self._comparer.same_meaning(asked), kept)
        known = dict(zip(asked, scores.tolist(), strict=True))
        return [1.0 if words[a] == words[b] else known.get((a, b)) for a, b in pairs]


def demoted(score: float, order_score: float | None) -> float:
    """What a hit of this score is ordered by."""
    return score if order_score is None else score - abs(score) * _DEMOTION * (1 - order_score)


def _in_order(probabilities: npt.NDArray[Any], kept: Floats) -> Floats:
    """Of each pair, (pairs,), 0 to 1."""
    p = np.clip(probabilities.astype(np.float64), 1e-9, 1 - 1e-9)
    odds = p / (1 - p) * np.exp(_KEPT_WEIGHT * (kept - _KEPT_MIDDLE))
    return np.asarray(odds / (1 + odds))
