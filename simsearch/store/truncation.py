"""The ``truncated`` table: which documents were longer than the encoder takes, and how long."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import apsw

from simsearch.store.database import damaged, records, sqlite_errors
from simsearch.store.documents import PROBLEMS_SHOWN


@dataclass(frozen=True)
class Truncation:
    """How many documents were cut, and (id, tokens) of the first 20 of them."""

    documents: int
    first: tuple[tuple[str, int], ...]


def insert_truncated(connection: apsw.Connection, number: int, tokens: int) -> None:
    """Note that a text of this document was cut, and its tokens, in the caller's transaction.

    Of several such chunks of one document the longest counts.
    """
    connection.execute(
        "INSERT INTO truncated VALUES (?, ?)"
        " ON CONFLICT (document) DO UPDATE SET tokens = max(tokens, excluded.tokens)",
        (number, tokens),
    )


def read_truncated(connection: apsw.Connection, path: Path, documents: int) -> frozenset[int]:
    """The numbers of the documents that were cut.

    CorruptIndexError for one that isn't among the ``documents``, or tokens that are no number.
    """
    with sqlite_errors(path):
        found = records(connection, "SELECT document, tokens FROM truncated")
    if not all(0 <= number < documents and isinstance(count, int) for number, count in found):
        raise damaged(path, f"its table truncated is wrong about one of the {documents} documents")
    return frozenset(number for number, _ in found)


def read_lengths(connection: apsw.Connection, path: Path) -> dict[int, int]:
    """How many tokens each document has that was cut, by its number."""
    with sqlite_errors(path):
        return dict(records(connection, "SELECT document, tokens FROM truncated"))


def read_truncation(connection: apsw.Connection, path: Path) -> Truncation:
    """The summary, for a report."""
    with sqlite_errors(path):
        ((count,),) = records(connection, "SELECT count(*) FROM truncated")
        first = records(
            connection,
            "SELECT id, tokens FROM truncated JOIN documents ON number = document"
            " ORDER BY document LIMIT ?",
            (PROBLEMS_SHOWN,),
        )
    return Truncation(count, tuple((id_, tokens) for id_, tokens in first))
