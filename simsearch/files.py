"""New files and folders that appear whole or not at all: written aside, then renamed."""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from simsearch.errors import SettingsError


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def check_new_file(path: Path) -> None:
    """Raise SettingsError if no file can be written at ``path``; ask before long work."""
    if path.is_dir():
        raise SettingsError(f"{path} is a folder; give the name of a file to write")
    if not path.parent.is_dir():
        raise SettingsError(f"{path}: there is no folder {path.parent}; make it first")


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """A file beside ``path`` to write, which takes its place when the block ends well.

    After an exception ``path`` is as it was. Raises SettingsError as ``check_new_file`` does.
    """
    check_new_file(path)
    aside = _aside(path)
    try:
        yield aside
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder beside ``path`` to fill, which takes its name when the block ends well.

    Makes the folders above. ``path`` may be an empty folder; anything else there is an OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = _aside(path)
    aside.mkdir()
    try:
        yield aside
        if path.is_dir():
            path.rmdir()  # only if it is empty: Windows renames onto nothing
        aside.rename(path)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _aside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
