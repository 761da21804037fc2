"""What an archive may hold: names that are safe on every system, and not too much of anything."""

from __future__ import annotations

import contextlib
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

# a BERT LARGE with its optimizer's state has some 4 GiB in a handful of files
MOST_BYTES = 16 << 30
MOST_MEMBERS = 10_000
MOST_DEPTH = 16
# weights hardly get smaller; a bomb begins where zeros would, at a thousand to one
MOST_RATIO = 100
FREE_OF_RATIO = 64 << 20
BLOCK = 1 << 20

_LONGEST_PART = 255  # bytes, the limit of nearly all file systems
_LONGEST_NAME = 1024
_UNTAKEN = re.compile(r'[<>:"|?*]')  # by Windows; a colon also names a drive or a hidden stream
_RESERVED = re.compile(
    r"(con|prn|aux|nul|clock\$|conin\$|conout\$|(com|lpt)[0-9¹²³]) *(\.|$)", re.I
)


class BadArchive(Exception):
    """The archive cannot be used; the message goes on from its name."""


def damaged(how: str) -> BadArchive:
    """Its bytes are not what they were."""
    return BadArchive(f"is damaged or cut short ({how}); download or copy it again")


def refused(name: str, why: str) -> BadArchive:
    """A member is not written."""
    name = name if len(name) < 80 else f"{name[:79]}…"
    return BadArchive(
        f"its member {name!r} {why}; if you trust the archive, unpack it yourself and give the "
        "folder"
    )


@dataclass(frozen=True, slots=True)
class Member:
    """A file or folder in an archive; ``blocks`` are the file's bytes, to be read once, in turn."""

    name: str
    is_folder: bool
    blocks: Iterator[bytes]


class Meter:
    """Counts what comes out of an archive of ``packed`` bytes."""

    def __init__(self, packed: int) -> None:
        self._packed = packed
        self._bytes = self._members = 0

    def count(self, size: int) -> None:
        """Add bytes. Raises BadArchive when they are too many."""
        self._bytes += size
        self.check(self._bytes)

    def check(self, size: int) -> None:
        """Raise BadArchive if so many bytes are too many."""
        if size > MOST_BYTES:
            raise BadArchive(
                f"unpacks to more than the {MOST_BYTES} bytes that we take; expected one checkpoint"
            )
        if size > max(FREE_OF_RATIO, MOST_RATIO * self._packed):
            raise BadArchive(
                f"unpacks to more than {MOST_RATIO} times its {self._packed} bytes, as "
                "decompression bombs do; expected a checkpoint, which hardly gets smaller"
            )

    def count_member(self) -> None:
        """Add a member. Raises BadArchive when they are too many."""
        self._members += 1
        if self._members > MOST_MEMBERS:
            raise BadArchive(f"has more than {MOST_MEMBERS} members; expected one checkpoint")


def decoded(raw: bytes) -> str | None:
    """A name of unmarked encoding: UTF-8, else GBK as Windows writes in China, else ``None``.

    UTF-8 first, for GBK's pairs of bytes are hardly ever valid UTF-8, but not the other way round.
    """
    for encoding in ("utf-8", "gbk"):
        with contextlib.suppress(UnicodeDecodeError):
            return raw.decode(encoding)
    return None


class Names:
    """The names seen so far, as file systems compare them that ignore case or normalize."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[str, bool]] = {}

    def add(self, name: str, is_folder: bool) -> tuple[str, ...]:
        """The parts of a member's path. Raises BadArchive if it is not safe, or taken already."""
        parts = _parts(name)
        for depth in range(1, len(parts)):
            self._add(name, "/".join(parts[:depth]), True)
        self._add(name, "/".join(parts), is_folder)
        return parts

    def _add(self, name: str, path: str, is_folder: bool) -> None:
        decomposed = unicodedata.normalize("NFD", path)
        key = unicodedata.normalize("NFD", decomposed.casefold())
        if key not in self._seen:
            self._seen[key] = (path, is_folder)
            return
        known, was_folder = self._seen[key]
        if known != path:
            raise refused(name, f"differs from {known!a} only by case or by the form of an accent")
        if was_folder != is_folder:
            raise refused(name, f"wants {path!r} to be a file and a folder")
        if not is_folder:
            raise refused(name, "is there twice")


def _parts(name: str) -> tuple[str, ...]:
    if name.startswith("/"):
        raise refused(name, "is an absolute path")
    if len(name.encode("utf-8", "surrogatepass")) > _LONGEST_NAME:
        raise refused(name, f"has a name of more than {_LONGEST_NAME} bytes")
    parts = tuple(name.split("/"))
    if len(parts) > MOST_DEPTH:
        raise refused(name, f"lies deeper than {MOST_DEPTH} folders")
    for part in parts:
        if (why := _objection(part)) is not None:
            raise refused(name, why)
    return parts


def _objection(part: str) -> str | None:
    """What is wrong with one component of a path, if anything."""
    if part == "":
        return "has an empty component"
    if part == "..":
        return "leads out of its folder (..)"
    if part == ".":
        return "has the component '.'"
    if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in part):
        return "has a control character, or bytes in an unknown encoding"
    if "\\" in part:
        return "has a backslash, which is a separator on Windows"
    if (letter := _UNTAKEN.search(part)) is not None:
        return f"has the character {letter[0]!r}, which Windows does not take in names"
    if part[-1] in ". ":
        return "has a component that ends with a dot or a space, which Windows drops"
    if _RESERVED.match(part):
        return f"has the component {part!r}, which is a device on Windows"
    if len(part.encode()) > _LONGEST_PART:
        return f"has a component of more than {_LONGEST_PART} bytes"
    return None
