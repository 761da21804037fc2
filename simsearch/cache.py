"""Where derived data are kept between runs: converted graphs and the hashes of weights.

The folder is ``$SIMSEARCH_CACHE``, else the user's cache folder. Everything in it can be deleted at
any time. Entries appear by one rename, so that a reader never sees half of one.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import platformdirs

from simsearch.errors import SettingsError


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
    """Cache a JSON object."""
    with (
        _writable(path.parent),
        tempfile.NamedTemporaryFile(
            "w", dir=path.parent, suffix=".tmp", delete=False, encoding="utf-8"
        ) as file,
    ):
        json.dump(content, file, indent=1)
    Path(file.name).replace(path)


def folder_made_by(path: Path, make: Callable[[Path], None]) -> Path:
    """``path``, made by ``make`` in a folder beside it if it is not there yet."""
    if path.is_dir():
        return path
    with _writable(path.parent):
        aside = Path(tempfile.mkdtemp(dir=path.parent, suffix=".tmp"))
    try:
        make(aside)
        try:
            aside.rename(path)
        except OSError:
            # another process was faster, and what it made is the same
            if not path.is_dir():
                raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return path


class _writable:
    """Creates a folder; on failure says which variable moves the cache elsewhere."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __enter__(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            self.__exit__(type(error), error, None)

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError):
            raise SettingsError(
                f"{self.folder}: cannot write the cache ({error.strerror}); set "
                "SIMSEARCH_CACHE to a folder that can be written"
            ) from None
