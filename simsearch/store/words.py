"""The word index on disk: which terms stand in which documents, and how often.

::

    words         (batch, term) → the documents of the batch with this term: the last 16 bits of
                  their numbers, ascending, each as often as the term stands there; uint16
    word_batches  batch (the number of its first document) → how many terms its documents have
    word_counts   the first of 1,024 document numbers → how many terms each has: int32, -1 where
                  there is no such document, or no more

What is added is a batch, which takes those before it into it that are not much greater, so that
they stay few. No batch crosses a multiple of 65,536: within one, 16 bits tell documents apart.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable

import apsw
import numpy as np
import numpy.typing as npt

from simsearch.store.database import record, records, stream
from simsearch.store.terms import terms

Counts = npt.NDArray[np.int32]

SPAN = 1 << 16
"""Documents that 16 bits tell apart."""
_RECORD = 1024  # documents of a record of word_counts: about a page
_MOST_TERMS = 1 << 22  # of a batch, as it is held in memory


def insert_words(connection: apsw.Connection, documents: Iterable[tuple[int, str]]) -> None:
    """Index documents, (number, text) with ascending numbers, inside the caller's transaction.

    Memory doesn't grow with their number; all at once is fastest, as many small calls merge their
    batches again and again. Raises ValueError for a number that isn't above all there ever were.
    """
    batch = _Batch(_next_number(connection))
    for number, text in documents:
        if number < batch.stop:
            raise ValueError(f"document {number}: expected {batch.stop} or more, as numbers grow")
        if batch.full or number // SPAN > batch.first // SPAN:
            batch.write(connection)
            batch = _Batch(number)
        batch.add(number, terms(text))
    batch.write(connection)


def delete_words(connection: apsw.Connection, numbers: Iterable[int]) -> None:
    """Let no search find these documents, or count them, inside the caller's transaction.

    Numbers that aren't indexed are passed over. Which terms they had stays in the file until the
    index is written anew.
    """
    places: dict[int, list[int]] = {}
    for number in numbers:
        places.setdefault(number - number % _RECORD, []).append(number % _RECORD)
    for start, gone in places.items():
        counts = _read_record(connection, start)
        known = [place for place in gone if place < len(counts)]
        if known:
            counts[known] = -1
            _write_record(connection, start, counts)


class _Batch:
    """Documents on their way into the index; their distinct terms are numbered as they come."""

    def __init__(self, first: int) -> None:
        self.first = first
        self._counts = array("i")
        self._ids: dict[str, int] = {}
        self._terms = array("I")

    @property
    def stop(self) -> int:
        """The least number that may come next."""
        return self.first + len(self._counts)

    @property
    def full(self) -> bool:
        """Whether no document should be added."""
        return len(self._terms) >= _MOST_TERMS

    def add(self, number: int, found: list[str]) -> None:
        """Add a document with these terms."""
        self._counts.extend([-1] * (number - self.stop))
        self._counts.append(len(found))
        ids = self._ids
        self._terms.extend([ids.setdefault(term, len(ids)) for term in found])

    def write(self, connection: apsw.Connection) -> None:
        """Write the batch, and into it those before it that are not much greater."""
        counts = np.array(self._counts, np.int32)
        _append_counts(connection, self.first, counts)
        first, size = self.first, len(self._terms)
        if not size:
            return
        merged: dict[str, bytes] = {}
        for before, terms_before in _batches_before(connection, first):
            # so each is more than twice as great as the next, and a term is written some ten times
            if terms_before > 2 * size or terms_before + size > _MOST_TERMS:
                break
            first, size = before, size + terms_before
        if first < self.first:
            select = "SELECT term, documents FROM words WHERE batch >= ? ORDER BY batch"
            for term, documents in stream(connection, select, (first,)):
                merged[term] = merged.get(term, b"") + documents
            connection.execute("DELETE FROM words WHERE batch >= ?", (first,))
            connection.execute("DELETE FROM word_batches WHERE batch >= ?", (first,))
        for term, documents in self._postings(counts).items():
            merged[term] = merged.get(term, b"") + documents
        connection.executemany(
            "INSERT INTO words VALUES (?, ?, ?)",
            ((first, term, merged[term]) for term in sorted(merged)),
        )
        connection.execute("INSERT INTO word_batches VALUES (?, ?)", (first, size))

    def _postings(self, counts: Counts) -> dict[str, bytes]:
        """What ``words`` says of each term."""
        numbers = np.arange(self.first, self.stop) % SPAN
        ids = np.frombuffer(self._terms, np.uintc)
        order = np.argsort(ids, kind="stable")
        documents = np.repeat(numbers, np.maximum(counts, 0))[order].astype("<u2").tobytes()
        ends = (2 * np.cumsum(np.bincount(ids))).tolist()
        starts = [0, *ends[:-1]]
        return {
            term: documents[start:end]
            for term, start, end in zip(self._ids, starts, ends, strict=True)
        }


def _batches_before(connection: apsw.Connection, first: int) -> list[tuple[int, int]]:
    """The batches that one with this first document may take in, and their terms; latest first."""
    return records(
        connection,
        "SELECT batch, terms FROM word_batches WHERE batch >= ? ORDER BY batch DESC",
        (first // SPAN * SPAN,),
    )


# Counts


def read_counts(connection: apsw.Connection) -> Counts:
    """How many terms each document has, by its number: int32 (numbers,), -1 where there is none."""
    counts = np.full(_next_number(connection), -1, np.int32)
    for start, stored in stream(connection, "SELECT start, counts FROM word_counts"):
        some = np.frombuffer(stored, "<i4")
        counts[start : start + len(some)] = some
    return counts


def _next_number(connection: apsw.Connection) -> int:
    """The least number that no document has had."""
    last = record(connection, "SELECT start, counts FROM word_counts ORDER BY start DESC LIMIT 1")
    return 0 if last is None else last[0] + len(last[1]) // 4


def _append_counts(connection: apsw.Connection, first: int, counts: Counts) -> None:
    while len(counts):
        start, place = first - first % _RECORD, first % _RECORD
        before = _read_record(connection, start)
        gap = np.full(place - len(before), -1, np.int32)
        some = counts[: _RECORD - place]
        _write_record(connection, start, np.concatenate([before, gap, some]))
        first, counts = first + len(some), counts[len(some) :]


def _read_record(connection: apsw.Connection, start: int) -> Counts:
    found = record(connection, "SELECT counts FROM word_counts WHERE start = ?", (start,))
    return np.frombuffer(b"" if found is None else found[0], "<i4").astype(np.int32)


def _write_record(connection: apsw.Connection, start: int, counts: Counts) -> None:
    values = (start, counts.astype("<i4").tobytes())
    connection.execute("INSERT OR REPLACE INTO word_counts VALUES (?, ?)", values)
