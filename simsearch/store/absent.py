"""What to say of a folder that holds no finished index."""

from __future__ import annotations

from pathlib import Path

from simsearch.errors import IndexNotFoundError, StoreError, UnfinishedIndexError
from simsearch.store.database import open_database, records, sqlite_errors
from simsearch.store.folder import BUILDING
from simsearch.store.segments import read_segments


def no_index(folder: Path) -> StoreError:
    """The error that says what is there, and how to make an index."""
    if not (folder / BUILDING).is_file():
        if folder.exists() and not folder.is_dir():
            return IndexNotFoundError(f"{folder} is a file; give the folder of an index")
        state = "holds no index" if folder.is_dir() else "does not exist"
        return IndexNotFoundError(
            f"{folder} {state}; make one with `simsearch build CORPUS --index {folder}`"
        )
    return UnfinishedIndexError(
        f"the build of {folder} was interrupted or is under way{_progress(folder)}; if no other "
        "process is building it, run the same `simsearch build` again: it resumes"
    )


def _progress(folder: Path) -> str:
    """How far the build got, where that can be read without writing (a crash may prevent it)."""
    path = folder / BUILDING
    try:
        connection = open_database(path, "ro")
        try:
            done = sum(segment.rows for segment in read_segments(connection, path))
            with sqlite_errors(path):
                ((documents,),) = records(connection, "SELECT count(*) FROM documents")
                ((chunks,),) = records(connection, "SELECT count(*) FROM chunks")
        finally:
            connection.close()
    except StoreError:
        return ""
    of = f"{chunks} chunks" if chunks else f"{documents} documents"
    return f" ({done} of {of} encoded)"
