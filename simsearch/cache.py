"""Where derived data are kept between runs: converted graphs and the hashes of weights.

The folder is ``$SIMSEARCH_CACHE``, else the user's cache folder. Everything in it can be deleted at
any time. Entries appear by one rename, so that a reader never sees half of one.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import platformdirs

from simsearch.errors import SettingsError
from simsearch.files import new_folder, remedy, remove_folder, replaced, sha256_of

_FILES = "files.json"
_DAY = 24 * 60 * 60


def cache_folder() -> Path:
    """The folder, which may not exist yet."""
    return Path(os.environ.get("SIMSEARCH_CACHE") or platformdirs.user_cache_dir("simsearch"))


def read_json(path: Path) -> dict[str, Any] | None:
    """A cached JSON object; ``None`` if it is not there or is not one."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Cache a JSON object that has to be there; SettingsError if it cannot be written."""
    with writing(path), replaced(_made(path)) as aside:
        aside.write_text(json.dumps(content, indent=1), "utf-8")


def remember(path: Path, content: dict[str, Any]) -> None:
    """Cache a JSON object that only saves time, if that is possible."""
    with contextlib.suppress(SettingsError):
        write_json(path, content)


def folder_made_by(path: Path, make: Callable[[Path], None]) -> Path:
    """``path``, filled by ``make`` if it is not there yet."""
    if path.is_dir():
        return path
    _sweep(path.parent)
    try:
        with writing(path), new_folder(path) as aside:
            make(aside)
    except SettingsError:
        # another process may have been faster, and what it made is the same
        if not path.is_dir():
            raise
    return path


def whole_folder_made_by(path: Path, make: Callable[[Path], None]) -> Path:
    """``folder_made_by``, which makes the folder anew if a file in it is not as it was made.

    Files are known by size and time of change, and if that differs (a copy) by their hash.
    """

    def make_and_note(folder: Path) -> None:
        make(folder)
        note = {file.name: _facts(file) for file in folder.iterdir()}
        (folder / _FILES).write_text(json.dumps(note, indent=1), "utf-8")

    if path.is_dir() and not _is_whole(path):
        discard(path)
    return folder_made_by(path, make_and_note)


def discard(path: Path) -> None:
    """Delete a folder of the cache, if it is there."""
    with writing(path):
        remove_folder(path)


def _facts(file: Path) -> dict[str, Any]:
    stat = file.stat()
    return {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns, "sha256": sha256_of(file)}


def _is_whole(folder: Path) -> bool:
    note = read_json(folder / _FILES)
    if not note:
        return False
    now = {}
    try:
        for name, known in note.items():
            stat = (folder / name).stat()
            if stat.st_size != known["size"]:
                return False
            unchanged = stat.st_mtime_ns == known["mtime_ns"]
            now[name] = known if unchanged else _facts(folder / name)
            if now[name]["sha256"] != known["sha256"]:
                return False
    except (OSError, KeyError, TypeError):  # a file is gone, or the note is none of ours
        return False
    if now != note:
        remember(folder / _FILES, now)
    return True


def _sweep(parent: Path) -> None:
    """Remove what a process that was killed while it made a folder has left."""
    with contextlib.suppress(OSError):
        for left in parent.glob(".*.tmp"):
            if time.time() - left.stat().st_mtime > _DAY:
                shutil.rmtree(left, ignore_errors=True)


def _made(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an OSError of the block, which writes ``path``, into a SettingsError with advice."""
    try:
        yield
    except OSError as error:
        raise SettingsError(
            f"{path}: the cache cannot be written ({error.strerror or error}); "
            + remedy(error, "set SIMSEARCH_CACHE to a folder that can be written")
        ) from None
