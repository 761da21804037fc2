"""Where derived data are kept between runs: converted graphs and the hashes of weights.

The folder is ``$SIMSEARCH_CACHE``, else the user's cache folder. Everything in it can be deleted at
any time. Entries appear by one rename, so that a reader never sees half of one.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import platformdirs

from simsearch.errors import SettingsError
from simsearch.files import new_file, new_folder


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
    with writing(path), new_file(_made(path)) as aside:
        aside.write_text(json.dumps(content, indent=1), "utf-8")


def folder_made_by(path: Path, make: Callable[[Path], None]) -> Path:
    """``path``, filled by ``make`` if it is not there yet."""
    if path.is_dir():
        return path
    try:
        with writing(path), new_folder(path) as aside:
            make(aside)
    except SettingsError:
        # another process may have been faster, and what it made is the same
        if not path.is_dir():
            raise
    return path


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
            f"{path}: the cache cannot be written ({error.strerror}); make room, or set "
            "SIMSEARCH_CACHE to a folder that can be written"
        ) from None
