"""New files and folders that appear whole or not at all: written aside, then renamed."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from simsearch.errors import SettingsError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


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
    if not os.access(path.parent, os.W_OK):
        raise SettingsError(
            f"{path}: the folder {path.parent} cannot be written; give a name elsewhere"
        )


def remedy(error: OSError, elsewhere: str) -> str:
    """What to do about ``error``: ``elsewhere``, and making room if that helps."""
    # a library that does not say what the system told it has mostly filled the disk
    return f"make room, or {elsewhere}" if error.errno in (*_FULL, None) else elsewhere


def system_error(message: str) -> OSError:
    """The OSError that a library's message repeats in the system's words."""
    for code in errno.errorcode:
        if os.strerror(code) in message:
            return OSError(code, os.strerror(code))
    return OSError(message.partition("\n")[0])


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Turn an OSError of the block, which writes ``path``, into a SettingsError that names it."""
    try:
        yield
    except OSError as error:
        raise SettingsError(
            f"{path}: cannot be written ({error.strerror or error}); "
            f"{remedy(error, 'give a name elsewhere')}"
        ) from None


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """A file beside ``path`` to write, which takes its place when the block ends well.

    After an exception ``path`` is as it was. Raises SettingsError as ``check_new_file`` does, and
    if the system refuses to write, be it in the block.
    """
    check_new_file(path)
    with naming(path), replaced(path) as aside:
        yield aside


@contextlib.contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """``new_file`` without its checks and its advice: an OSError stays one."""
    aside = _aside(path)
    try:
        yield aside
        aside.replace(path)
    finally:
        with contextlib.suppress(OSError):  # a read-only disk says so even if there is nothing
            aside.unlink()


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


def remove_folder(path: Path) -> None:
    """Remove a folder, if it is there, so that nobody sees half of it."""
    aside = _aside(path)
    with contextlib.suppress(FileNotFoundError):
        path.rename(aside)
    shutil.rmtree(aside, ignore_errors=True)


def _aside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
