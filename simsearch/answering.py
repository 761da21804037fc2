"""What all searches have in common: settings, encoding, a second look at the hits."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from types import TracebackType
from typing import TYPE_CHECKING, Any

from simsearch.config import MODES, RERANKINGS, Mode, Rerank
from simsearch.encoder import Encoder, Vectors
from simsearch.errors import SettingsError
from simsearch.filters import Filter, parse_filter
from simsearch.records import Hit
from simsearch.reranking import CANDIDATES, OrderReranker

if TYPE_CHECKING:
    from typing_extensions import Self


class Answering(ABC):
    """Answers queries with hits; closing it closes what it reads from.

    ``encoder`` is the encoder, ``reranker`` what looks at hits again that have a query's words,
    ``modes`` what it can compare by.
    """

    encoder: Encoder
    reranker: OrderReranker | None
    modes: tuple[Mode, ...] = MODES

    def query(
        self,
        text: str,
        k: int = 10,
        threshold: float | None = None,
        filter: Mapping[str, Any] | None = None,
        mode: Mode = "dense",
        rerank: Rerank | None = None,
    ) -> list[Hit]:
        """The answer to one text: ``search([text], k, threshold, filter, mode, rerank)[0]``."""
        return self.search([text], k, threshold, filter, mode, rerank)[0]

    def search(
        self,
        texts: Sequence[str],
        k: int = 10,
        threshold: float | None = None,
        filter: Mapping[str, Any] | None = None,
        mode: Mode = "dense",
        rerank: Rerank | None = None,
        *,
        vectors: Vectors | None = None,
    ) -> list[list[Hit]]:
        """For each text the ``k`` documents of highest score, ordered by (-score, id).

        The ``mode`` says what the score is: the cosine of the vectors ("dense"), BM25 over words
        ("lexical", see ``store.bm25``), or the reciprocal rank fusion of the best by either
        ("hybrid", see ``fusion``). By words, documents that share none with the text aren't found.
        With ``rerank`` "order" the best (``reranking.CANDIDATES``, or ``k``) are looked at again,
        and those with the text's words but another meaning are put down: see ``OrderReranker``.

        A document that was cut into chunks counts by the best of them (of equal ones the first).
        Only documents whose metadata the ``filter`` matches (see ``simsearch.filters``): if there
        are ``k`` of them, ``k`` are found. Fewer where the corpus is smaller, or where cosines are
        below ``threshold``; none for an empty text. What any process has committed to the index
        before is found. ``vectors``, float32 (texts, dim), are those of the texts as queries, where
        whoever asks has them already.

        Raises SettingsError for a ``k`` that is no positive integer, for a ``threshold`` that is no
        number or with another mode than "dense", for a filter, mode or ``rerank`` that is none, and
        if ``texts`` is a single string.
        """
        if isinstance(texts, str):
            raise SettingsError("texts is one string; ask `query`, or give a list such as [text]")
        _check_settings(k, threshold, mode)
        if mode not in self.modes:
            raise SettingsError(f"mode {mode!r} is not for this index; ask the folder it is of")
        reranker = self._reranker(rerank)
        depth = k if reranker is None else max(k, CANDIDATES)
        wanted = None if filter is None else parse_filter(filter)
        asked = [i for i, text in enumerate(texts) if text.strip()]
        answers: list[list[Hit]] = [[] for _ in texts]
        if asked:
            some = [texts[i] for i in asked]
            if mode == "lexical":
                queries = None
            elif vectors is None:
                queries = self.encoder.encode(some, prompt="query")
            else:
                queries = vectors[asked]
            found = self._answers(some, queries, depth, threshold, wanted, mode)
            for i, hits in zip(asked, found, strict=True):
                answers[i] = hits
        if reranker is not None:
            for i in asked:
                answers[i] = reranker.rerank(texts[i], answers[i])[:k]
        return answers

    def _reranker(self, rerank: Rerank | None) -> OrderReranker | None:
        if rerank is None:
            return None
        if rerank not in RERANKINGS:
            raise SettingsError(f"rerank is {rerank!r}; give one of {', '.join(RERANKINGS)}")
        if self.reranker is None:
            raise SettingsError(
                "rerank needs a Searcher that was given a reranker, as `open_index` gives it one"
            )
        return self.reranker

    @abstractmethod
    def _answers(
        self,
        texts: Sequence[str],
        vectors: Vectors | None,
        k: int,
        threshold: float | None,
        wanted: Filter | None,
        mode: Mode,
    ) -> list[list[Hit]]:
        """The ``k`` best hits of each text, none of which is empty.

        ``vectors``, float32 (texts, dim), are theirs as queries; ``None`` if the mode needs none.
        """

    @abstractmethod
    def info(self) -> dict[str, Any]:
        """The facts about the index: see ``StoredIndex.info``."""

    @abstractmethod
    def close(self) -> None:
        """Close the index."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _check_settings(k: int, threshold: float | None, mode: Mode) -> None:
    if not isinstance(k, Integral) or isinstance(k, bool) or k < 1:
        raise SettingsError(f"k is {k!r}; give how many answers you want, 1 or more")
    if threshold is not None and (not isinstance(threshold, Real) or math.isnan(threshold)):
        raise SettingsError(f"the threshold is {threshold!r}; give a number from -1 to 1, or none")
    if mode not in MODES:
        raise SettingsError(f"the mode is {mode!r}; give one of {', '.join(MODES)}")
    if threshold is not None and mode != "dense":
        raise SettingsError(
            f"the threshold {threshold} is a cosine, and the scores of mode {mode!r} are none; "
            "leave it out, or search with mode 'dense'"
        )
