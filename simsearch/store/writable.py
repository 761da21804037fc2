"""A finished index opened by the one process that may write it."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import apsw

from simsearch.store.absent import no_index
from simsearch.store.chunks import Chunks, read_chunks
from simsearch.store.database import damaged, open_database
from simsearch.store.facts import Facts, read_facts, write_manifest
from simsearch.store.folder import INDEX, FolderLock
from simsearch.store.garbage import sweep_folder
from simsearch.store.meta import Meta, load_meta
from simsearch.store.segments import Segment, read_segments

if TYPE_CHECKING:
    from typing_extensions import Self


class WritableIndex:
    """A finished index, locked from ``open`` to ``close``: what its writers have in common.

    ``identity``, ``fingerprint``, ``settings`` and ``chunk`` are those of the build: see
    ``BuildPlan``.
    """

    def __init__(self, folder: Path, lock: FolderLock, connection: apsw.Connection) -> None:
        """For ``open``, which holds the lock."""
        self.folder = folder
        self._lock = lock
        self._connection = connection
        self._path = folder / INDEX
        self._meta = meta = load_meta(connection, self._path)
        if meta.stage != "finished":
            raise damaged(self._path, f"its stage is {meta.stage!r}, not 'finished'")
        self.identity, self.fingerprint = meta.identity, meta.fingerprint
        self.settings, self.chunk = meta.settings, meta.chunk
        self._segments = read_segments(connection, self._path)

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Lock a finished index for writing.

        Raises IndexNotFoundError, UnfinishedIndexError, IndexBusyError and CorruptIndexError.
        """
        if not (folder / INDEX).is_file():
            raise no_index(folder)
        lock = FolderLock(folder)
        try:
            connection = open_database(folder / INDEX, "rw")
            try:
                opened = cls(folder, lock, connection)
                sweep_folder(folder)
            except BaseException:
                connection.close()
                raise
        except BaseException:
            lock.release()
            raise
        return opened

    @property
    def facts(self) -> Facts:
        """The facts of the index as it is now."""
        return read_facts(self._connection, self._path)

    def _chunks(self) -> Chunks:
        return read_chunks(
            self._connection, self._path, self._meta.numbered, chunked=self.chunk is not None
        )

    def _committed(self, meta: Meta, segments: list[Segment]) -> None:
        self._meta, self._segments = meta, segments
        write_manifest(self.folder, self.facts)

    def close(self) -> None:
        """Let others write."""
        self._connection.close()
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
