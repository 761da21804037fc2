"""Search by words: the documents that share a text's terms, ordered by BM25."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import apsw
import numpy as np
import numpy.typing as npt

from simsearch.index.background import Rows
from simsearch.store.database import damaged, records, sqlite_errors
from simsearch.store.terms import terms
from simsearch.store.words import SPAN, read_counts

Scores = npt.NDArray[np.float64]

K1, B = 1.2, 0.75
"""How soon more of the same term counts for no more, and how much a document's length does."""


class _Postings(NamedTuple):
    """Which term of a query stands in which document, and how often: int64, of equal length."""

    terms: Rows
    numbers: Rows
    counts: Rows


class WordIndex:
    """The word index of a database, as it is now; after a commit another is needed.

    Raises CorruptIndexError, here and in ``search``, where the database is damaged.
    """

    def __init__(self, connection: apsw.Connection, path: Path) -> None:
        self._connection, self._path = connection, path
        with sqlite_errors(path):
            batches = records(connection, "SELECT batch FROM word_batches ORDER BY batch")
            self._counts = read_counts(connection)
        self._batches = [int(batch) for (batch,) in batches]
        self._live = self._counts >= 0
        self._documents = int(self._live.sum())
        self._average = int(self._counts[self._live].sum()) / max(1, self._documents)

    def search(self, text: str, k: int, allowed: Rows | None = None) -> tuple[Rows, Scores]:
        """The best k documents for a text, and all that tie with the last of them.

        Numbers, int64 (n,), and scores, float64 (n,), ordered by (-score, number). Only documents
        with a term of the text are found, whose scores are above 0: n may be less than k. With
        ``allowed``, int64 (m,), only those of these numbers; the scores don't depend on it.

        Of N documents f have the term, this one c times; it has l terms, the average one a::

            the sum, over the distinct terms of the text, of
            log(1 + (N - f + 0.5) / (f + 0.5)) * c * (K1 + 1) / (c + K1 * (1 - B + B * l / a))

        This is Robertson & Zaragoza (2009), The Probabilistic Relevance Framework, with the 1 in
        the logarithm that Lucene adds: without it a term of most documents would count against
        them.
        """
        wanted = list(dict.fromkeys(terms(text)))
        found = [self._postings(batch, wanted) for batch in self._batches]
        counted = (np.bincount(postings.terms, minlength=len(wanted)) for postings in found)
        frequencies = sum(counted, np.zeros(len(wanted)))
        weights = np.log1p((self._documents - frequencies + 0.5) / (frequencies + 0.5))
        eligible = None if allowed is None else self._eligible(allowed)
        numbers, scores, least = np.empty(0, np.int64), np.empty(0), np.nextafter(0, 1)
        for postings in found:
            more, theirs = self._scored(postings, weights, least)
            if eligible is not None:
                more, theirs = more[eligible[more]], theirs[eligible[more]]
            numbers, scores = np.concatenate([numbers, more]), np.concatenate([scores, theirs])
            if len(scores) > k:
                least = np.partition(scores, -k)[-k]
                numbers, scores = numbers[scores >= least], scores[scores >= least]
        order = np.lexsort((numbers, -scores))
        return numbers[order], scores[order]

    def _eligible(self, allowed: Rows) -> npt.NDArray[np.bool_]:
        """For each number, whether it is allowed."""
        eligible = np.zeros(len(self._counts), bool)
        eligible[allowed[allowed < len(eligible)]] = True
        return eligible

    def _postings(self, batch: int, wanted: list[str]) -> _Postings:
        """What a batch says of these terms, but for documents that are no more."""
        select = (
            "SELECT term, documents FROM words"
            " WHERE batch = ? AND term IN (SELECT value FROM json_each(?))"
        )
        with sqlite_errors(self._path):
            stored = dict(records(self._connection, select, (batch, json.dumps(wanted))))
        blobs = [stored.get(term, b"") for term in wanted]
        places = np.frombuffer(b"".join(blobs), "<u2")
        sizes = np.array([len(blob) // 2 for blob in blobs], np.int64)
        ends = np.cumsum(sizes)
        first = np.ones(len(places), bool)  # of a document's occurrences of a term
        np.not_equal(places[1:], places[:-1], out=first[1:])
        first[(ends - sizes)[sizes > 0]] = True
        begin = np.flatnonzero(first)
        documents = np.diff(np.searchsorted(begin, ends), prepend=0)
        numbers = batch - batch % SPAN + places[begin].astype(np.int64)
        if len(numbers) and numbers.max() >= len(self._live):
            raise damaged(self._path, f"its word index has a document {numbers.max()}")
        live = self._live[numbers]
        return _Postings(
            np.repeat(np.arange(len(wanted)), documents)[live],
            numbers[live],
            np.diff(begin, append=len(places))[live],
        )

    def _scored(self, found: _Postings, weights: Scores, least: float) -> tuple[Rows, Scores]:
        """The documents of a batch that reach the least score, ascending, and their scores."""
        start = found.numbers.min(initial=len(self._counts))
        counts, lengths = found.counts, self._counts[found.numbers]
        dampened = counts + K1 * (1 - B + B * lengths / self._average)
        shares = weights[found.terms] * counts * (K1 + 1) / dampened
        # adds in the order of the terms, so equal documents tie to the last bit
        sums = np.asarray(np.bincount(found.numbers - start, shares), np.float64)
        places = np.flatnonzero(sums >= least)
        return start + places, sums[places]
