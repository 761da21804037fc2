"""SQLite: how a database of an index is opened, and what its errors mean.

Each page of a database carries a checksum, written and checked by SQLite's checksum VFS
(sqlite.org/cksumvfs.html): a byte that changes on the disk is an error where it is read, never an
answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Literal, cast

import apsw
import apsw.sqlite_extra

from simsearch.errors import CorruptIndexError, IndexBusyError, StoreError
from simsearch.store.schema import TABLES

APPLICATION_ID = 0x53534958  # "SSIX", in the file's header: made by simsearch
FORMAT = 3  # the header's user_version; a program reads its own and refuses others

_CHECKSUM = 8  # bytes that each page reserves for it; the VFS takes no other number
_VFS = "cksmvfs"
_WAIT = 10_000  # milliseconds for others' locks: a commit, or a reader's search

_CACHE_KIB = 65_536  # ids come in random order; with SQLite's own 2 MB, inserting them is slow


class InterruptedCommitError(StoreError):
    """A killed writer left a commit half done, which can't be undone without writing."""


def create_database(path: Path) -> apsw.Connection:
    """A new database with empty tables."""
    with sqlite_errors(path):
        connection = _connect(path, apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE)
    try:
        with sqlite_errors(path), transaction(connection):
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {FORMAT}")
            for statement in TABLES:
                connection.execute(statement)
    except BaseException:
        connection.close()
        raise
    return connection


def open_database(path: Path, mode: Literal["ro", "rw"]) -> apsw.Connection:
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
        connection = _connect(
            path, apsw.SQLITE_OPEN_READONLY if mode == "ro" else apsw.SQLITE_OPEN_READWRITE
        )
    try:
        with sqlite_errors(path):
            version = connection.pragma("user_version")
        if version != FORMAT:
            raise _other_format(path, version)
        # without it SQLite would take pages as they are
        if connection.reserve_bytes() != _CHECKSUM:
            raise damaged(path, "its pages have no checksums")
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


def records(
    connection: apsw.Connection, statement: str, values: tuple[object, ...] = ()
) -> list[tuple[Any, ...]]:
    """Everything that a statement answers."""
    return list(stream(connection, statement, values))


def record(
    connection: apsw.Connection, statement: str, values: tuple[object, ...] = ()
) -> tuple[Any, ...] | None:
    """The first record that a statement answers, if there is one."""
    return next(stream(connection, statement, values), None)


def stream(
    connection: apsw.Connection, statement: str, values: tuple[object, ...] = ()
) -> Iterator[tuple[Any, ...]]:
    """What a statement answers, one record at a time."""
    found: Iterator[tuple[Any, ...]] = connection.execute(statement, cast(Any, values))
    return found


@contextmanager
def transaction(connection: apsw.Connection) -> Iterator[None]:
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
    except _OUR_MISTAKES:
        raise
    except apsw.Error as error:
        raise _translated(path, error) from error


_OUR_MISTAKES = (
    apsw.BindingsError,
    apsw.ConnectionClosedError,
    apsw.ConstraintError,
    apsw.CursorClosedError,
    apsw.MisuseError,
    apsw.ThreadingViolationError,
)


def _translated(path: Path, error: apsw.Error) -> StoreError:
    if isinstance(error, (apsw.BusyError, apsw.LockedError)):
        return IndexBusyError(f"{path} is being written by another process; try again later")
    if isinstance(error, apsw.FullError):
        return StoreError(
            f"{path}: the disk is full; make room and run the same command again, it goes on where "
            "it stopped"
        )
    reason = getattr(error, "extendedresult", None)
    if reason == apsw.SQLITE_READONLY_ROLLBACK:
        return InterruptedCommitError(
            f"{path} was being written when its writer was killed, and this cannot be undone "
            "where nothing may be written; open it once where it may, or copy the folder there"
        )
    if isinstance(error, (apsw.ReadOnlyError, apsw.CantOpenError, apsw.PermissionsError)):
        return StoreError(f"{path} cannot be opened ({error}); check its permissions")
    if isinstance(error, apsw.IOError):
        if reason in (apsw.SQLITE_IOERR_WRITE, apsw.SQLITE_IOERR_FSYNC):
            return StoreError(
                f"{path} cannot be written ({error}); the disk may be full: make room and run the "
                "same command again, it goes on where it stopped"
            )
        if reason == apsw.SQLITE_IOERR_DATA:
            return damaged(path, "a page of it was altered, its checksum is wrong")
    return damaged(path, str(error))


def damaged(path: Path, what: str) -> CorruptIndexError:
    """The error for a file of an index that isn't what was written."""
    return CorruptIndexError(
        f"{path} is damaged: {what}; restore it from a copy, or build the index again with "
        "--replace"
    )


def unreadable(path: Path, error: OSError) -> StoreError:
    """The error for a file of an index that the system doesn't let us read."""
    return StoreError(f"{path} cannot be read ({error.strerror}); check its permissions")


def _connect(path: Path, flags: int) -> apsw.Connection:
    _checksums()
    name = path.absolute().as_uri()
    connection = apsw.Connection(name, flags=flags | apsw.SQLITE_OPEN_URI, vfs=_VFS)
    try:
        connection.set_busy_timeout(_WAIT)
        connection.pragma("trusted_schema", "OFF")
        if flags & apsw.SQLITE_OPEN_CREATE:
            connection.reserve_bytes(reserve=_CHECKSUM)
        if flags & apsw.SQLITE_OPEN_READWRITE:
            connection.pragma("journal_mode", "DELETE")
            connection.pragma("synchronous", "FULL")
            connection.pragma("cache_size", -_CACHE_KIB)
    except BaseException:
        connection.close()
        raise
    return connection


def roll_back(path: Path) -> None:
    """Undo what a killed writer left half done, as the next writer would."""
    open_database(path, "rw").close()


@cache
def _checksums() -> None:
    """Make the checksum VFS known to SQLite, once in a process."""
    connection = apsw.Connection(":memory:")
    apsw.sqlite_extra.load(connection, "cksumvfs")
    connection.close()
