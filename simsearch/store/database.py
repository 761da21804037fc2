"""SQLite: how a database of an index is opened, what tables it has, and what its errors mean."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from simsearch.errors import CorruptIndexError, IndexBusyError, StoreError

APPLICATION_ID = 0x53534958  # "SSIX", in the file's header: made by simsearch
FORMAT = 2  # the header's user_version; a program reads its own and refuses others

_SCHEMA = (
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID",
    "CREATE TABLE documents (number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE,"
    " text TEXT NOT NULL, metadata TEXT NOT NULL, hash BLOB NOT NULL)",
    # empty where every document has one vector
    "CREATE TABLE chunks (row INTEGER PRIMARY KEY, document INTEGER NOT NULL,"
    " start INTEGER NOT NULL, stop INTEGER NOT NULL)",
    "CREATE TABLE segments (name TEXT PRIMARY KEY, first_row INTEGER NOT NULL,"
    " rows INTEGER NOT NULL, bytes INTEGER NOT NULL, sha256 TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE truncated (document INTEGER PRIMARY KEY, tokens INTEGER NOT NULL)",
    "CREATE TABLE tombstones (document INTEGER PRIMARY KEY)",
)
_CACHE_KIB = 65_536  # ids come in random order; with SQLite's own 2 MB, inserting them is slow


def create_database(path: Path) -> sqlite3.Connection:
    """A new database with empty tables."""
    with sqlite_errors(path):
        connection = _connect(path, "rwc")
    try:
        with sqlite_errors(path), transaction(connection):
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {FORMAT}")
            for statement in _SCHEMA:
                connection.execute(statement)
    except BaseException:
        connection.close()
        raise
    return connection


def open_database(path: Path, mode: Literal["ro", "rw"]) -> sqlite3.Connection:
    """Open a database of ours. With "ro" nothing is ever written, not even beside it.

    With "rw" SQLite first rolls back what a killed process left half done. Raises
    CorruptIndexError for another kind of file or another format, StoreError if it can't be read.
    """
    # before SQLite opens it: a database that isn't ours is left exactly as it is
    if not made_by_simsearch(path):
        raise CorruptIndexError(
            f"{path} is not an SQLite database made by simsearch (its header says so), so it is "
            "never touched; give the folder of an index, or move this file away"
        )
    with sqlite_errors(path):
        connection = _connect(path, mode)
    try:
        with sqlite_errors(path):
            (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version != FORMAT:
            raise _other_format(path, version)
    except BaseException:
        connection.close()
        raise
    return connection


def _other_format(path: Path, version: int) -> CorruptIndexError:
    if version < 1:
        return damaged(path, f"its format is {version}, which never existed")
    if version > FORMAT:
        made, remedy = "a later", "upgrade simsearch"
    else:
        made, remedy = "an earlier", "build the index again with --replace"
    return CorruptIndexError(
        f"{path} was made by {made} version of simsearch: it has format {version}, and this "
        f"version reads format {FORMAT}; {remedy}"
    )


def made_by_simsearch(path: Path) -> bool:
    """Whether the header says so, however damaged the rest of the file is.

    The header is SQLite's (sqlite.org/fileformat.html): the magic string at 0, the application id
    at 68. Raises StoreError if the file can't be read.
    """
    try:
        with path.open("rb") as file:
            header = file.read(100)
    except OSError as error:
        raise unreadable(path, error) from error
    application_id = APPLICATION_ID.to_bytes(4, "big")
    return header[:16] == b"SQLite format 3\0" and header[68:72] == application_id


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All or nothing; durable when the block ends."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


@contextmanager
def sqlite_errors(path: Path) -> Iterator[None]:
    """Turn SQLite's errors about ``path`` into ours. Misuse of the module stays our own mistake."""
    try:
        yield
    except sqlite3.ProgrammingError:
        raise
    except sqlite3.DatabaseError as error:
        raise _translated(path, error) from error


def _translated(path: Path, error: sqlite3.DatabaseError) -> StoreError:
    # by message: Python 3.10 doesn't give the error code
    message = str(error)
    if "locked" in message:
        return IndexBusyError(f"{path} is being written by another process; try again later")
    if "disk is full" in message:
        return StoreError(
            f"{path}: the disk is full; make room and run the same command again, it goes on where "
            "it stopped"
        )
    if "readonly" in message or "unable to open" in message:
        return StoreError(f"{path} cannot be opened ({message}); check its permissions")
    return damaged(path, message)


def damaged(path: Path, what: str) -> CorruptIndexError:
    """The error for a file of an index that isn't what was written."""
    return CorruptIndexError(
        f"{path} is damaged: {what}; restore it from a copy, or build the index again with "
        "--replace"
    )


def unreadable(path: Path, error: OSError) -> StoreError:
    """The error for a file of an index that the system doesn't let us read."""
    return StoreError(f"{path} cannot be read ({error.strerror}); check its permissions")


def _connect(path: Path, mode: Literal["ro", "rw", "rwc"]) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    # isolation_level None: transactions begin where `transaction` says and nowhere else
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA trusted_schema = OFF")
        if mode != "ro":
            connection.execute("PRAGMA journal_mode = DELETE")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    except BaseException:
        connection.close()
        raise
    return connection
