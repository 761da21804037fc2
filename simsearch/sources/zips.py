"""The members of a zip, checked before any of them is read."""

from __future__ import annotations

import io
import stat
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from simsearch.sources.members import (
    BLOCK,
    BadArchive,
    Member,
    Meter,
    damaged,
    decoded,
    refused,
)

_ENCRYPTED = 0x0001 | 0x0040 | 0x2000  # the file, strongly, the table of contents
_UTF8 = 0x0800
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # others unpack with more memory than we give
_HEADER = 30  # bytes before a member's name
_LONGEST_TABLE = 4 << 20  # of contents, in bytes: zipfile reads it at once


class _Cautious(io.BufferedReader):
    """A file that is never read at once in a length that only the archive vouches for."""

    def read(self, size: int | None = -1, /) -> bytes:
        start = self.tell()
        if size is None or size < 0:
            size = self.seek(0, io.SEEK_END) - start
            self.seek(start)
        if size > _LONGEST_TABLE:
            raise BadArchive(f"has a table of contents of {size} bytes; expected one checkpoint")
        return super().read(size)


def zip_members(path: Path, meter: Meter) -> Iterator[Member]:
    """The files and folders in a zip, in its order. Raises BadArchive."""
    with _Cautious(io.FileIO(path)) as file, zipfile.ZipFile(file) as archive:
        infos = archive.infolist()
        meter.check(sum(info.file_size for info in infos))
        _check_apart(infos)
        for info in infos:
            name = _name(info)
            is_folder = name.endswith("/")
            _check(info, name, is_folder)
            yield Member(name.removesuffix("/"), is_folder, _blocks(archive, info, meter))


def _name(info: zipfile.ZipInfo) -> str:
    # not .filename: it ends at the first NUL, and differs between versions of Python
    name = info.orig_filename
    if info.flag_bits & _UTF8:
        return name
    # unmarked names are cp437 by the book, but UTF-8 or GBK by the tools that people have
    return decoded(name.encode("cp437")) or name


def _check(info: zipfile.ZipInfo, name: str, is_folder: bool) -> None:
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind == stat.S_IFLNK:
        raise refused(name, "is a symbolic link")
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise refused(name, "is neither a file nor a folder but a device, a pipe or a socket")
    if (kind == stat.S_IFDIR and not is_folder) or (is_folder and info.file_size):
        raise refused(name, "is marked as a folder and as a file")
    if info.flag_bits & _ENCRYPTED:
        raise refused(name, "is encrypted")
    if info.compress_type not in _METHODS:
        raise refused(
            name, f"is compressed by method {info.compress_type}; expected 0 (none) or 8 (deflate)"
        )


def _check_apart(infos: Sequence[zipfile.ZipInfo]) -> None:
    """Raise BadArchive if members share bytes: so a small file unpacks to a huge one."""
    end = 0
    for info in sorted(infos, key=lambda info: info.header_offset):
        if info.header_offset < end:
            raise refused(_name(info), "shares its bytes with another, as decompression bombs do")
        end = info.header_offset + _HEADER + len(info.orig_filename) + info.compress_size


def _blocks(archive: zipfile.ZipFile, info: zipfile.ZipInfo, meter: Meter) -> Iterator[bytes]:
    size = 0
    with archive.open(info) as file:  # compares the checksum when it comes to the end
        while block := file.read(BLOCK):
            meter.count(len(block))
            size += len(block)
            yield block
    if size != info.file_size:
        raise damaged(f"{info.orig_filename!r} has {size} of {info.file_size} bytes")
