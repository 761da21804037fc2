"""The ``truncated`` table: which documents were longer than the encoder takes, and how long."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path

from simsearch.store.database import damaged, sqlite_errors
from simsearch.store.documents import PROBLEMS_SHOWN


@dataclass(frozen=True)
class Truncation:
    """How many documents were cut, and (id, tokens) of the first 20 of them."""

    documents: int
    first: tuple[tuple[str, int], ...]


def insert_truncated(connection: sqlite3.Connection, number: int, tokens: int) -> None:
    """Note that a text of this document was cut, and its tokens, in the caller's transaction.

    Of several such chunks of one document the longest counts.
    """
    connection.execute(
        "INSERT INTO truncated VALUES (?, ?)"
        " ON CONFLICT (document) DO UPDATE SET tokens = max(tokens, excluded.tokens)",
        (number, tokens),
    )


def read_truncated(connection: sqlite3.Connection, path: Path, documents: int) -> frozenset[int]:
    """The numbers of the documents that were cut.

    CorruptIndexError for one that isn't among the ``documents``, or tokens that are no number.
    """
    with sqlite_errors(path):
        records = connection.execute("SELECT document, tokens FROM truncated").fetchall()
    if not all(0 <= number < documents and isinstance(count, int) for number, count in records):
        raise damaged(path, f"its table truncated is wrong about one of the {documents} documents")
    return frozenset(number for number, _ in records)


def read_truncation(connection: sqlite3.Connection, path: Path) -> Truncation:
    """The summary, for a report."""
    with sqlite_errors(path):
        (count,) = connection.execute("SELECT count(*) FROM truncated").fetchone()
        first = connection.execute(
            "SELECT id, tokens FROM truncated JOIN documents ON number = document"
            " ORDER BY document LIMIT ?",
            (PROBLEMS_SHOWN,),
        ).fetchall()
    return Truncation(count, tuple(first))
