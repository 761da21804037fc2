"""Removes what killed writers left: files that no database of the folder names."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import closing
from pathlib import Path

from simsearch.errors import StoreError
from simsearch.store.database import open_database
from simsearch.store.folder import BUILDING, INDEX, sweep
from simsearch.store.meta import load_meta
from simsearch.store.segments import read_segments


def sweep_folder(folder: Path, keep: Collection[str] = ()) -> None:
    """Remove our garbage but for ``keep``, if it is certain what is none.

    A damaged database names nothing, so nothing is removed beside one. For who holds the lock.
    """
    named = set(keep)
    for path in (folder / INDEX, folder / BUILDING):
        if path.is_file():
            try:
                with closing(open_database(path, "ro")) as connection:
                    named.update(segment.name for segment in read_segments(connection, path))
                    file = load_meta(connection, path).search.file
                    named.update([] if file is None else [file.name])
            except StoreError:
                return
    sweep(folder, named)
