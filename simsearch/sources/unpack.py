"""Unpack a zip or tar into a folder: strictly, and never outside of it."""

from __future__ import annotations

import contextlib
import errno
import gzip
import os
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from simsearch.errors import CheckpointError
from simsearch.sources.members import BadArchive, Member, Meter, Names, damaged, refused
from simsearch.sources.tars import is_tar, tar_members
from simsearch.sources.zips import zip_members

_ZIP = (b"PK\x03\x04", b"PK\x05\x06")  # with members and without
_GZIP = b"\x1f\x8b"
_WEB_PAGE = (b"<!doctype", b"<html", b"<head", b"<?xml")
# what Python's decoders raise for bytes that make no sense
_NONSENSE = (
    OSError,
    EOFError,
    ValueError,
    OverflowError,
    RuntimeError,
    KeyError,
    IndexError,
    struct.error,
    zlib.error,
    tarfile.TarError,
    zipfile.BadZipFile,
)
_NAME_TROUBLE = (
    errno.ENAMETOOLONG,
    errno.EILSEQ,
    errno.EINVAL,
    errno.EEXIST,
    errno.ENOTDIR,
    errno.EISDIR,
)
_Item = TypeVar("_Item")


def unpack(archive: Path, folder: Path, *, name: str | None = None) -> dict[str, int]:
    """Write the files of a zip, tar or tar.gz into an empty folder; return their sizes by path.

    Which of the three it is, its bytes say, not its name. Only files and folders are taken;
    permissions, owners and times are not, nor what macOS leaves behind (``__MACOSX``, ``._*``,
    ``.DS_Store``). Raises CheckpointError if the archive (called ``name`` then) is damaged, holds
    anything else, or too much; OSError if the files cannot be written. Then the folder has to be
    deleted: some of the files may be there.
    """
    try:
        meter = Meter(archive.stat().st_size)
        # closed here, for an open file cannot be deleted on Windows
        with contextlib.closing(_members(archive, meter)) as members:
            return _write(_reading(members), folder, meter)
    except BadArchive as error:
        raise CheckpointError(f"{name or archive}: {error}") from None


def _members(path: Path, meter: Meter) -> Generator[Member, None, None]:
    with path.open("rb") as file:
        head = file.read(512)
        file.seek(0)
        if head.startswith(_ZIP):
            yield from zip_members(path, meter)
        elif head.startswith(_GZIP):
            with gzip.GzipFile(fileobj=file) as unzipped:
                yield from tar_members(unzipped, meter)
        elif is_tar(head):
            yield from tar_members(file, meter)
        else:
            raise _no_archive(head)


def _no_archive(head: bytes) -> BadArchive:
    if not head:
        return BadArchive("is empty; download or copy it again")
    if head.lstrip(b"\xef\xbb\xbf \r\n\t").lower().startswith(_WEB_PAGE):
        return BadArchive(
            "is a web page and no archive; find the address of the file itself (this one may lead "
            "to a page about it, or to a login)"
        )
    return BadArchive("is no archive that we can read; expected a zip, a tar or a tar.gz")


def _reading(items: Iterable[_Item]) -> Iterator[_Item]:
    """The items; what the decoders stumble over while they make them is damage."""
    iterator = iter(items)
    while True:
        try:
            item = next(iterator)
        except StopIteration:
            return
        except _NONSENSE as error:
            raise damaged(str(error) or type(error).__name__) from None
        yield item


def _write(members: Iterable[Member], folder: Path, meter: Meter) -> dict[str, int]:
    names, sizes = Names(), {}
    for member in members:
        meter.count_member()
        parts = names.add(member.name, member.is_folder)
        path = folder.joinpath(*parts)
        blocks = _reading(member.blocks)
        if _is_clutter(parts):
            for _ in blocks:
                pass
        elif member.is_folder:
            path.mkdir(parents=True, exist_ok=True)
        else:
            sizes["/".join(parts)] = _write_file(path, member.name, blocks)
    if not sizes:
        raise BadArchive("holds no files; expected a checkpoint")
    return sizes


def _is_clutter(parts: tuple[str, ...]) -> bool:
    return parts[0] == "__MACOSX" or any(
        part == ".DS_Store" or part.startswith("._") for part in parts
    )


def _write_file(path: Path, name: str, blocks: Iterable[bytes]) -> int:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("xb")
    except OSError as error:
        if error.errno in _NAME_TROUBLE:
            raise refused(name, f"has a name that cannot be used here ({error.strerror})") from None
        raise
    with file:
        for block in blocks:
            file.write(block)
        file.flush()
        os.fsync(file.fileno())  # the rename that follows must not outlive a crash that these don't
        return file.tell()
