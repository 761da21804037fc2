"""Whether a word index is that of some texts, found out without a second index in memory."""

from __future__ import annotations

from pathlib import Path

import apsw
import numpy as np

from simsearch.store.database import sqlite_errors, stream
from simsearch.store.terms import terms
from simsearch.store.words import SPAN, read_counts

_BITS = (1 << 64) - 1


class WordTally:
    """Adds up a number for each occurrence of a term in a document, in whatever order they come.

    The number is the term's hash times an odd one of the document's, modulo 2^64, so that equal
    sums mean equal occurrences, but for a chance of one in 2^64.
    """

    def __init__(self, connection: apsw.Connection, path: Path) -> None:
        self._connection, self._path = connection, path
        with sqlite_errors(path):
            self._counts = read_counts(connection)
        self._sum = self._documents = 0
        self._wrong = False

    def count(self, number: int, text: str) -> None:
        """Note what the index should have of this document."""
        found = terms(text)
        self._sum += sum(map(hash, found)) * (2 * number + 1)
        self._documents += 1
        self._wrong |= number >= len(self._counts) or self._counts[number] != len(found)

    def differ(self) -> bool:
        """Whether the index has anything else than what was noted."""
        if self._wrong or self._documents != np.count_nonzero(self._counts >= 0):
            return True
        with sqlite_errors(self._path):
            select = "SELECT batch, term, documents FROM words"
            for batch, term, documents in stream(self._connection, select):
                numbers = batch - batch % SPAN + np.frombuffer(documents, "<u2").astype(np.int64)
                if numbers.max() >= len(self._counts):
                    return True
                live = numbers[self._counts[numbers] >= 0]
                self._sum -= hash(term) * int(2 * live.sum() + len(live))
        return self._sum & _BITS != 0
