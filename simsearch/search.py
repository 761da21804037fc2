"""From a text to the documents most like it: encode, find, order, look up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from simsearch.answering import Answering
from simsearch.config import Mode
from simsearch.encoder import Encoder, Vectors
from simsearch.errors import SettingsError
from simsearch.filters import Filter, parse_filter
from simsearch.fusion import reciprocal_rank_fusion
from simsearch.index.allowed import Allowed
from simsearch.index.background import Rows, percentile
from simsearch.records import Document, Hit
from simsearch.reranking import OrderReranker
from simsearch.store import StoredIndex, check_encoder

Found = tuple[Rows, npt.NDArray[np.float64]]
"""Rows of different documents and their scores, best first."""

# Where documents have many chunks, several of the nearest are often of one document, so more rows
# than documents are asked for at once: this many times as many, or what an average document has.
_MOST_ROWS_PER_DOCUMENT = 4

FUSED = 100
"""How many of the best by either are fused in mode "hybrid", or ``k`` where that is more."""


class Searcher(Answering):
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

    def _answers(
        self,
        texts: Sequence[str],
        vectors: Vectors | None,
        k: int,
        threshold: float | None,
        wanted: Filter | None,
        mode: Mode,
    ) -> list[list[Hit]]:
        with self._reading():
            found = self._found(texts, vectors, k, self._allowed(wanted), mode)
            return [self._hits(ranked, k, threshold, mode) for ranked in found]

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


def live_rows(stored: StoredIndex) -> Allowed | None:
    """The rows of documents that were not deleted; ``None`` where that is all."""
    if not stored.deleted:
        return None
    deleted = np.array(sorted(stored.deleted), np.int64)
    return Allowed.of_mask(~np.isin(stored.chunks.documents, deleted))
