"""The members of a tar, read in one pass."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator

from simsearch.sources.members import BLOCK, BadArchive, Member, Meter, damaged, decoded, refused

_LONGEST_HEADER = 1 << 20  # bytes from one member's contents to the next one's
_EndMark = tarfile.EOFHeaderError  # type: ignore[attr-defined]
_KINDS = {
    tarfile.LNKTYPE: "is a hard link",
    tarfile.SYMTYPE: "is a symbolic link",
    tarfile.CHRTYPE: "is a device",
    tarfile.BLKTYPE: "is a device",
    tarfile.FIFOTYPE: "is a pipe",
}


class _Stream(io.BufferedIOBase):
    """The bytes of a tar, counted, forward only, and only as many as the next step may take."""

    def __init__(self, file: io.BufferedIOBase, meter: Meter) -> None:
        self._file, self._meter = file, meter
        self._position = self._allowed = 0

    def allow(self, size: int) -> None:
        self._allowed = size

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or not 0 <= size <= self._allowed:
            # tarfile would keep all of a header, of whatever length, in memory
            raise BadArchive(
                f"has a header of more than {_LONGEST_HEADER} bytes; expected some 100"
            )
        block = self._file.read(size)
        self._allowed -= len(block)
        self._position += len(block)
        self._meter.count(len(block))
        return block

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        if whence != io.SEEK_SET or offset < self._position:
            raise damaged("a header points backwards")
        while self._position < offset and self.read(min(BLOCK, offset - self._position)):
            pass
        return self._position


class _Info(tarfile.TarInfo):
    """A member. Bytes that are none are damage, which ``tarfile`` would take for the end."""

    @classmethod
    def fromtarfile(cls, tarfile_: tarfile.TarFile, /) -> _Info:
        try:
            return super().fromtarfile(tarfile_)
        except _EndMark:
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(str(error)) from None


def is_tar(head: bytes) -> bool:
    """Whether a file that begins with these 512 bytes is a tar."""
    try:
        tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")
    except _EndMark:
        return True
    except tarfile.HeaderError:
        return False
    return True


def tar_members(file: io.BufferedIOBase, meter: Meter) -> Iterator[Member]:
    """The files and folders in a tar, in its order; read the blocks of each before the next one.

    Raises BadArchive.
    """
    stream = _Stream(file, meter)
    stream.allow(_LONGEST_HEADER)
    with tarfile.open(
        fileobj=stream, mode="r:", tarinfo=_Info, encoding="utf-8", errors="surrogateescape"
    ) as archive:
        for info in archive:
            # `tar -C folder .` writes every name with ./ before it
            name = _name(info).removeprefix("./")
            _check(info, name)
            if name != ".":
                yield Member(name, info.isdir(), _blocks(stream, info))
            stream.allow(_LONGEST_HEADER)
        stream.allow(_LONGEST_HEADER)
        while block := stream.read(1 << 16):  # to the end, where gzip has its checksum
            if block.strip(b"\0"):
                raise damaged("something follows the mark of its end")


def _name(info: tarfile.TarInfo) -> str:
    return decoded(info.name.encode("utf-8", "surrogateescape")) or info.name


def _check(info: tarfile.TarInfo, name: str) -> None:
    if info.issparse():
        raise refused(name, "is a sparse file")
    if info.type not in (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE):
        raise refused(name, _KINDS.get(info.type, f"is of the unknown kind {info.type!r}"))
    if info.size < 0 or (info.isdir() and info.size):
        raise refused(name, f"has the size {info.size}")


def _blocks(stream: _Stream, info: tarfile.TarInfo) -> Iterator[bytes]:
    left = info.size
    stream.allow(left)
    while left:
        block = stream.read(min(left, BLOCK))
        if not block:
            raise damaged(f"it ends within {info.name!r}")
        left -= len(block)
        yield block
