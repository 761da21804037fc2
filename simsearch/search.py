"""From a text to the documents most like it: encode, find, order, look up."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from numbers import Integral, Real
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from simsearch.config import MODES, RERANKINGS, Mode, Rerank
from simsearch.encoder import Encoder, Vectors
from simsearch.errors import SettingsError
from simsearch.filters import Filter, parse_filter
from simsearch.fusion import reciprocal_rank_fusion
from simsearch.index.allowed import Allowed
from simsearch.index.background import Rows, percentile
from simsearch.records import Document, Hit
from simsearch.reranking import CANDIDATES, OrderReranker
from simsearch.store import StoredIndex, check_encoder

Found = tuple[Rows, npt.NDArray[np.float64]]
"""Rows of different documents and their scores, best first."""

# Where documents have many chunks, several of the nearest are often of one document, so more rows
# than documents are asked for at once: this many times as many, or what an average document has.
_MOST_ROWS_PER_DOCUMENT = 4

FUSED = 100
"""How many of the best by either are fused in mode "hybrid", or ``k`` where that is more."""


class Searcher:
    """Answers queries from a stored index, with the encoder that the index was built with.

    Raises EncoderMismatchError for another encoder. Closing it closes the index. ``encoder`` is the
    encoder, ``reranker`` what looks at hits again that have a query's words.
    """

    def __init__(
        self, encoder: Encoder, stored: StoredIndex, reranker: OrderReranker | None = None
    ) -> None:
        self.encoder, self.reranker = encoder, reranker
        self._stored = stored
        self._attach()

    def _attach(self) -> None:
        """Search what the stored index holds now."""
        stored = self._stored
        check_encoder(stored, self.encoder)
        self._index = stored.index
        self._documents = stored.chunks.documents
        self._live = live_rows(stored)
        self._generation = stored.generation

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """One state of the index, the latest, for as long as the block lasts."""
        with self._stored.reading():
            if self._stored.generation != self._generation:
                self._attach()
            yield

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
            with self._reading():
                found = self._found(some, queries, depth, self._allowed(wanted), mode)
                for i, ranked in zip(asked, found, strict=True):
                    answers[i] = self._hits(ranked, depth, threshold, mode)
        if reranker is not None:
            for i in asked:
                answers[i] = reranker.rerank(texts[i], answers[i])[:k]
        return answers

    def compared(self, text: str, id_: str) -> Hit:
        """The document with this id, as the only hit of the text.

        Raises SettingsError if there is no such document.
        """
        vectors = self.encoder.encode([text], prompt="query")
        with self._reading():
            number = self._stored.number(id_)
            if number is None:
                raise SettingsError(
                    f"{self._stored.folder}: has no document with the id {id_!r}; a query's hits "
                    "have theirs beside them"
                )
            allowed = Allowed.of_mask(self._documents == number)
            (found,) = self._nearest(vectors, 1, allowed)
            (hit,) = self._hits(found, 1, None, "dense")
        return hit

    def documents(
        self, ids: Sequence[str] = (), filter: Mapping[str, Any] | None = None
    ) -> list[Document]:
        """The documents with these ids, in this order, then others that the ``filter`` matches.

        Ids that are not there are left out. Raises SettingsError for a filter that is none.
        """
        wanted = None if filter is None else parse_filter(filter)
        with self._reading():
            known = map(self._stored.number, dict.fromkeys(ids))
            numbers = [number for number in known if number is not None]
            if wanted is not None:
                numbers += [n for n in self._stored.matching(wanted).tolist() if n not in numbers]
            return [self._stored.document(number) for number in numbers]

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

    def _found(
        self,
        texts: Sequence[str],
        vectors: Vectors | None,
        k: int,
        allowed: Allowed | None,
        mode: Mode,
    ) -> list[Found]:
        """For each text the best k allowed documents, and all that tie with the last of them."""
        if vectors is None:
            return self._lexical(texts, k, allowed)
        if mode == "dense":
            return self._nearest(vectors, k, allowed)
        depth = max(k, FUSED)
        nearest = self._nearest(vectors, depth, allowed)
        return [
            self._fused(dense, lexical, k)
            for dense, lexical in zip(nearest, self._lexical(texts, depth, allowed), strict=True)
        ]

    def _lexical(self, texts: Sequence[str], k: int, allowed: Allowed | None) -> list[Found]:
        # the word index knows by itself what was deleted
        documents = None
        if allowed is not None and allowed is not self._live:
            documents = np.unique(self._documents[allowed.rows])
        words = self._stored.words()
        found = (words.search(text, k, documents) for text in texts)
        return [(np.searchsorted(self._documents, numbers), scores) for numbers, scores in found]

    def _fused(self, dense: Found, lexical: Found, k: int) -> Found:
        """One ranking of two. A document stands for itself by its best row, else by its first."""
        ranked = [self._documents[rows] for rows, _ in (dense, lexical)]
        rows_of = dict(zip(ranked[1].tolist(), lexical[0].tolist(), strict=True))
        rows_of.update(zip(ranked[0].tolist(), dense[0].tolist(), strict=True))
        numbers, scores = reciprocal_rank_fusion(ranked)
        kept = scores >= scores[min(k, len(scores)) - 1] if len(scores) else scores > 0
        rows = np.array([rows_of[number] for number in numbers[kept].tolist()], np.int64)
        return rows, scores[kept]

    def info(self) -> dict[str, Any]:
        """The facts about the index: see ``StoredIndex.info``."""
        with self._reading():
            return self._stored.info()

    def _allowed(self, wanted: Filter | None) -> Allowed | None:
        """Which rows an answer may have: those of live documents that match; ``None`` for all."""
        if wanted is None:
            return self._live
        matching = np.zeros(self._stored.chunks.count, np.bool_)
        matching[self._stored.matching(wanted)] = True
        mask = matching[self._documents]
        return Allowed.of_mask(mask if self._live is None else mask & self._live.mask)

    def _nearest(self, vectors: Vectors, k: int, allowed: Allowed | None) -> list[Found]:
        """For each vector the best k allowed documents, and all that tie with the last of them.

        Each by its best row, of equal ones the first.
        """
        found: dict[int, Found] = {}
        lacking = list(range(len(vectors)))
        average = max(1, -(-self._index.total // max(1, self._stored.chunks.count)))
        wanted = k * min(average, _MOST_ROWS_PER_DOCUMENT)
        most = self._index.total if allowed is None else allowed.count
        while lacking:
            answers = self._index.search(vectors[lacking], wanted, allowed)
            for i, answer in zip(lacking, answers, strict=True):
                found[i] = self._best(k, *answer)
            if wanted >= most:
                break
            lacking = [i for i in lacking if len(found[i][0]) < k]
            wanted *= 2  # further chunks of documents that were found took the places
        return [found[i] for i in range(len(vectors))]

    def _best(self, k: int, rows: Rows, scores: npt.NDArray[np.float64]) -> Found:
        """The best k documents of ``rows``, which are sorted by (-score, row), and their ties."""
        _, firsts = np.unique(self._documents[rows], return_index=True)
        firsts.sort()
        rows, scores = rows[firsts], scores[firsts]
        if len(rows) <= k:
            return rows, scores
        tied = scores >= scores[k - 1]
        return rows[tied], scores[tied]

    def _hits(self, found: Found, k: int, threshold: float | None, mode: Mode) -> list[Hit]:
        rows, scores = found
        if threshold is not None:
            rows, scores = rows[scores >= threshold], scores[scores >= threshold]
        # By id only now: which of many equal documents are among the k must not depend on rows.
        documents = self._documents[rows].tolist()
        ids = self._stored.ids(documents)
        order = sorted(range(len(ids)), key=lambda i: (-scores[i], ids[i]))[:k]
        passages = self._stored.passages([int(rows[i]) for i in order])
        return [
            Hit(
                rank=rank,
                id=passage.document.id,
                score=float(scores[i]),
                percentile=(
                    percentile(float(scores[i]), self._stored.background)
                    if mode == "dense"
                    else None
                ),
                text=passage.document.text,
                metadata=passage.document.metadata,
                span=None if mode == "lexical" else passage.span,
                truncated=documents[i] in self._stored.truncated,
            )
            for rank, (i, passage) in enumerate(zip(order, passages, strict=True), start=1)
        ]

    def close(self) -> None:
        """Close the index."""
        self._stored.close()

    def __enter__(self) -> Searcher:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def live_rows(stored: StoredIndex) -> Allowed | None:
    """The rows of documents that were not deleted; ``None`` where that is all."""
    if not stored.deleted:
        return None
    deleted = np.array(sorted(stored.deleted), np.int64)
    return Allowed.of_mask(~np.isin(stored.chunks.documents, deleted))


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
