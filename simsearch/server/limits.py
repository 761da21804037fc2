"""What a server allows: who may do what, and how much of it."""

from __future__ import annotations

import hmac
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from simsearch.errors import SettingsError

READ_VARIABLE, WRITE_VARIABLE = "SIMSEARCH_READ_TOKEN", "SIMSEARCH_WRITE_TOKEN"
_SHORTEST = 16


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one may ask for. Sizes are in bytes, times in seconds.

    ``body`` is the most a request may have, ``body_time`` how long it may take to arrive,
    ``timeout`` how long an answer may. ``queries`` are those of one request, ``hits`` the largest
    ``k``, ``documents`` and ``texts`` the most of those, ``characters`` the most of a text that is
    no document: reading a longer one would keep others waiting. For ``batch_tokens``,
    ``waiting_tokens`` and ``window`` see ``Worker``.
    """

    body: int = 8 * 2**20
    body_time: float = 10.0
    timeout: float = 30.0
    queries: int = 256
    hits: int = 1000
    texts: int = 2048
    characters: int = 100_000
    documents: int = 10_000
    batch_tokens: int = 4096
    waiting_tokens: int = 200_000
    window: float = 0.002
    connections: int = 1024
    writes_waiting: int = 8


@dataclass(frozen=True, slots=True)
class Tokens:
    """The bearer tokens that allow reading and writing; who may write may read.

    Without one for reading everybody may read, without one for writing nobody may write.
    """

    read: tuple[str, ...] = ()
    write: tuple[str, ...] = ()

    def may_read(self, given: str | None) -> bool:
        """Whether this token, or none, allows searching."""
        return not self.read or _any_equal(given, self.read + self.write)

    def may_write(self, given: str | None) -> bool:
        """Whether this token, or none, allows changing the index."""
        return _any_equal(given, self.write)


def _any_equal(given: str | None, tokens: tuple[str, ...]) -> bool:
    """Compared to the last byte with every token, so that the time taken tells nothing."""
    if given is None:
        return False
    return sum([hmac.compare_digest(given.encode(), token.encode()) for token in tokens]) > 0


def read_tokens(path: Path | None, environment: Mapping[str, str] = os.environ) -> Tokens:
    """The tokens of a file, ``read TOKEN`` or ``write TOKEN`` a line, and of the environment.

    Raises SettingsError for a file that cannot be read or has another line, and for a token that
    is short enough to be guessed.
    """
    found: dict[str, list[str]] = {"read": [], "write": []}
    for right, variable in (("read", READ_VARIABLE), ("write", WRITE_VARIABLE)):
        if environment.get(variable):
            found[right].append(_checked(environment[variable], variable))
    if path is not None:
        for number, line in enumerate(_lines(path), start=1):
            words = line.split()
            if not words or words[0].startswith("#"):
                continue
            if len(words) != 2 or words[0] not in found:
                raise SettingsError(
                    f"{path}, line {number}: expected `read TOKEN` or `write TOKEN`"
                )
            found[words[0]].append(_checked(words[1], f"{path}, line {number}"))
    return Tokens(tuple(found["read"]), tuple(found["write"]))


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8").splitlines()
    except UnicodeDecodeError:
        raise SettingsError(f"{path}: not UTF-8; write one `read TOKEN` a line") from None


def _checked(token: str, where: str) -> str:
    if len(token) < _SHORTEST or not token.isascii() or not token.isprintable() or " " in token:
        raise SettingsError(
            f"{where}: a token is {_SHORTEST} or more ASCII characters without spaces; "
            "make one with `openssl rand -hex 24`"
        )
    return token
