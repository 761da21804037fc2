"""The files of an index folder: their names, durable writing, sweeping, and the writer's lock."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from simsearch.errors import IndexBusyError, StoreError

INDEX = "index.sqlite"
BUILDING = "building.sqlite"
MANIFEST = "manifest.json"
LOCK = "writer.lock"

_SEGMENT = re.compile(r"vectors-[0-9a-f]{16}\.f32")
_CELLS = re.compile(r"cells-[0-9a-f]{16}\.faiss")
_INGEST = re.compile(r"ingest-[0-9a-f]{16}\.sqlite(-journal)?")
# What a killed writer can leave where there is no index yet.
_BEGUN = re.compile(rf"writer\.lock|{_INGEST.pattern}|building\.sqlite-(journal|wal|shm)")
# Everything a killed writer can leave: written aside and not renamed, or not named by a database.
_SWEPT = re.compile(
    rf"({_SEGMENT.pattern}|{_CELLS.pattern})(\.tmp)?|{_INGEST.pattern}|manifest\.json\.tmp"
)


def new_segment_name() -> str:
    """A file name that no segment has had."""
    return f"vectors-{secrets.token_hex(8)}.f32"


def is_segment_name(name: object) -> bool:
    """Whether this is the name of a segment (and so lies in the folder, not anywhere else)."""
    return isinstance(name, str) and _SEGMENT.fullmatch(name) is not None


def new_cells_name() -> str:
    """A file name that no cells have had."""
    return f"cells-{secrets.token_hex(8)}.faiss"


def is_cells_name(name: object) -> bool:
    """Whether this is the name of such a file (and so lies in the folder, not anywhere else)."""
    return isinstance(name, str) and _CELLS.fullmatch(name) is not None


def new_ingest_name() -> str:
    """A file name for a database that is being filled with documents."""
    return f"ingest-{secrets.token_hex(8)}.sqlite"


def write_whole(path: Path, *parts: bytes | memoryview) -> None:
    """Write a file that, even if the machine stops, is there with all of ``parts`` or not at all.

    Raises StoreError where the system refuses (disk full, no permission).
    """
    aside = path.with_name(path.name + ".tmp")
    with disk_errors(path):
        with aside.open("wb") as file:
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in ``folder`` durable; Windows does so by itself and can't be asked."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn what the system says about ``path`` into a StoreError."""
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"{path} cannot be written: {error.strerror or error}; mend that and run the same "
            "command again"
        ) from error


def remove_side_files(database: Path) -> None:
    """Remove what SQLite keeps beside ``database``.

    Needed before another file takes its name: a journal that was left would be played into it.
    """
    for suffix in ("-journal", "-wal", "-shm"):
        database.with_name(database.name + suffix).unlink(missing_ok=True)


def remove_database(path: Path) -> None:
    """Remove a database and what SQLite keeps beside it, if they are there."""
    path.unlink(missing_ok=True)
    remove_side_files(path)


def sweep(folder: Path, named: Collection[str]) -> None:
    """Remove our own files that are garbage: those not in ``named``. Others are never touched."""
    for path in folder.iterdir():
        if _SWEPT.fullmatch(path.name) and path.name not in named and path.is_file():
            remove_file(path)


def remove_file(path: Path) -> None:
    """Remove a file of ours that no database names any more."""
    with suppress(PermissionError):  # Windows, while a reader has it open: the next sweep
        path.unlink(missing_ok=True)


class FolderLock:
    """The right to write a folder, for one holder at a time.

    Creates the folder (parents too) and locks it. Raises StoreError, before anything is changed,
    for a file or for a folder with other things in it than an index; IndexBusyError if another
    writer has the lock.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._created = [path for path in (folder, *folder.parents) if not path.exists()]
        _refuse_foreign(folder)
        # not thread_local: whoever closes the writer may be another thread than the one that opened
        self._lock = FileLock(folder / LOCK, timeout=0, thread_local=False)
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self._acquire()

    def _acquire(self) -> None:
        try:
            self._lock.acquire()
        except Timeout:
            raise IndexBusyError(
                f"{self._folder} is being written by another process; wait until it has finished"
            ) from None

    def release(self) -> None:
        """Let others write; leave no trace in a folder that holds no index."""
        if _holds_index(self._folder):
            self._lock.release()
            return
        # Unlinked while locked: a waiting process sees that the file it has locked is gone, and
        # starts over. Windows doesn't unlink open files; there an empty lock file stays.
        with suppress(OSError):
            (self._folder / LOCK).unlink()
        self._lock.release()
        with suppress(OSError):  # not empty: it wasn't ours alone
            for path in self._created:
                path.rmdir()


def _holds_index(folder: Path) -> bool:
    return (folder / INDEX).exists() or (folder / BUILDING).exists()


def _refuse_foreign(folder: Path) -> None:
    """StoreError unless the folder is absent, empty, an index, or what a killed writer left."""
    if folder.exists() and not folder.is_dir():
        raise StoreError(f"{folder} is a file; an index is a folder: give another --index DIR")
    if not folder.exists() or _holds_index(folder):
        return
    names = sorted(path.name for path in folder.iterdir())
    foreign = [name for name in names if not _BEGUN.fullmatch(name)]
    if foreign:
        raise StoreError(
            f"{folder} is not empty and not an index (it holds {foreign[0]!r}), so it is never "
            "touched; give another --index DIR, or an empty one"
        )
