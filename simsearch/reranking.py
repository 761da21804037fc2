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
SAME_WORDS: Final = 0.7
"""From which share of common words on two texts count as of the same words."""
_DEMOTION = 0.5  # what a hit loses of its score that has the words and not the meaning


class Comparer(Protocol):
    """Reads two texts together."""

    def words(self, texts: Sequence[str]) -> list[list[str]]:
        """The tokens of each text that are no punctuation."""

    def same_meaning(self, pairs: Sequence[TextPair]) -> npt.NDArray[Any]:
        """The probability that two texts mean the same, (pairs,)."""


def shared_words(first: Sequence[str], second: Sequence[str]) -> float:
    """The share of tokens that two texts have in common, order aside, 0 to 1.

    It is the Jaccard index of their multisets (Ružička 1958): the smaller count of each token over
    the greater. Two without a token have all in common.
    """
    a, b = Counter(first), Counter(second)
    return (a & b).total() / max(1, (a | b).total()) if a or b else 1.0


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
        one less the probability that they mean the same. Of a document in chunks its best chunk is
        looked at. The order of the others, and of equal ones, stays as it is.
        """
        texts = [passage_of(hit) for hit in hits]
        judged = [
            replace(hit, same_words=score is not None, order_score=score)
            for hit, score in zip(
                hits, self._judged([(query, text) for text in texts]), strict=True
            )
        ]
        ordered = sorted(judged, key=lambda hit: demoted(hit.score, hit.order_score), reverse=True)
        return [replace(hit, rank=rank) for rank, hit in enumerate(ordered, start=1)]

    def rescored(self, pairs: Sequence[TextPair], scores: Floats) -> Floats:
        """What texts of these scores are ordered by, as ``rerank`` does it; float64 (pairs,)."""
        judged = zip(scores.tolist(), self._judged(pairs), strict=True)
        return np.array([demoted(score, order_score) for score, order_score in judged])

    def _judged(self, pairs: Sequence[TextPair]) -> list[float | None]:
        """The probability that they mean the same, of those pairs that have the same words.

        In the same order they do; nobody needs to be asked.
        """
        texts = list(dict.fromkeys(text for pair in pairs for text in pair))
        words = dict(zip(texts, self._comparer.words(texts), strict=True))
        asked = [
            (a, b)
            for a, b in dict.fromkeys(pairs)
            if words[a] != words[b] and shared_words(words[a], words[b]) >= SAME_WORDS
        ]
        probabilities = dict(zip(asked, self._comparer.same_meaning(asked).tolist(), strict=True))
        return [1.0 if words[a] == words[b] else probabilities.get((a, b)) for a, b in pairs]


def demoted(score: float, order_score: float | None) -> float:
    """What a hit of this score is ordered by."""
    return score if order_score is None else score - abs(score) * _DEMOTION * (1 - order_score)
