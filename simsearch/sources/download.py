"""A file from the web, whole or not at all: resumed where it was cut, bounded and verified."""

from __future__ import annotations

import os
import re
import shutil
import time
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from simsearch.cache import read_json, write_json, writing
from simsearch.errors import CheckpointError, SettingsError
from simsearch.files import sha256_of
from simsearch.sources import web

if TYPE_CHECKING:
    import requests

MOST_BYTES = 16 << 30  # a BERT LARGE with its optimizer's state has some 4 GiB
_BLOCK = 1 << 16
_TRIES = 5  # requests, none of which brings the file further by _PROGRESS bytes
_PROGRESS = 16 << 20
_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})")
_NOTHING_LEFT = re.compile(r"bytes \*/(\d{1,18})")


def download(
    url: str, path: Path, *, sha256: str | None = None, most_bytes: int = MOST_BYTES
) -> str:
    """Put what is at ``url`` into the file ``path``, and return its SHA-256.

    What a broken download brought stays beside ``path`` as ``.part``; this call goes on from there,
    and so does the next one, if the server can and still has the same file. Two processes may not
    do this with one ``path`` at a time: lock it.

    Raises CheckpointError if the file cannot be had, has more than ``most_bytes``, or is not the
    one of the hash ``sha256``; SettingsError if it cannot be written.
    """
    web.check_address(url)
    part = _Part(path, url)
    _fetch(url, part, most_bytes)
    found = sha256_of(part.path)
    if sha256 is not None and found != sha256.lower():
        part.drop()
        raise CheckpointError(
            f"{web.shown(url)}: its SHA-256 is {found}, expected {sha256.lower()}; the file was "
            "deleted. Check where the expected one is from: the server may have a newer file, or "
            "not the one that you trust"
        )
    with writing(path):
        part.land(path)
    return found


class _Part:
    """What has come of a file, and a note that tells whether the server can go on with it."""

    def __init__(self, path: Path, url: str) -> None:
        self.path = path.with_name(f"{path.name}.part")
        self._note_path = path.with_name(f"{path.name}.part.json")
        self._key = web.url_key(url)

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.is_file() else 0

    @property
    def validator(self) -> str | None:
        """What the server called this version; ``None`` if there is nothing to go on with."""
        note = read_json(self._note_path) or {}
        validator = note.get("validator") if note.get("url") == self._key else None
        return validator if self.size and isinstance(validator, str) else None

    def note(self, validator: str | None) -> None:
        """Before the first byte: bytes without a note are never gone on with."""
        if validator is not None:
            write_json(self._note_path, {"url": self._key, "validator": validator})

    def drop(self) -> None:
        with writing(self.path):
            self.path.unlink(missing_ok=True)
            self._note_path.unlink(missing_ok=True)

    def land(self, path: Path) -> None:
        with self.path.open("rb+") as file:
            os.fsync(file.fileno())
        self.path.replace(path)
        self._note_path.unlink(missing_ok=True)


def _fetch(url: str, part: _Part, most_bytes: int) -> None:
    """Ask until all of it is there."""
    import requests
    from urllib3.exceptions import HTTPError

    with writing(part.path):
        part.path.parent.mkdir(parents=True, exist_ok=True)
    tries, mark, connected, trouble = 0, part.size, False, None
    with web.session() as session:
        while tries < _TRIES:
            if tries:
                time.sleep(web.BACK_OFF * 2 ** (tries - 1))
            try:
                if _go_on(session, url, part, most_bytes):
                    return
            except (requests.ConnectionError, requests.Timeout, HTTPError) as error:
                if not connected and web.never_connected(error):
                    raise web.unreachable(url, error) from None
                trouble = error
            except (requests.RequestException, ValueError) as error:  # a redirect to no address
                raise web.unreachable(url, error) from None
            connected = True
            tries += 1
            if part.size >= mark + _PROGRESS:
                tries, mark = 1, part.size
    raise web.cut(url, trouble, part.size)


def _go_on(session: requests.Session, url: str, part: _Part, most_bytes: int) -> bool:
    """Ask for what is missing and write what comes; whether that was all of it."""
    # bytes as they lie on the disk of the server: positions in a compressed copy are others
    headers = {"Accept-Encoding": "identity"}
    validator = part.validator
    if validator is not None:
        headers |= {"Range": f"bytes={part.size}-", "If-Range": validator}
    with web.answer_to(session, url, headers) as answer:
        if validator is not None and answer.status_code == 416:
            ended = _NOTHING_LEFT.fullmatch(answer.headers.get("Content-Range", ""))
            if ended and int(ended[1]) == part.size and _same_version(answer, validator):
                return True
            part.drop()
            return False
        if validator is not None and answer.status_code == 206:
            total = _total(answer, part.size)
            if total is None or not _same_version(answer, validator):
                part.drop()
                return False
        elif answer.status_code == 200:
            part.drop()
            total = answer.raw.length_remaining  # ``None`` if it was not announced
        else:
            raise web.refusal(url, answer)
        _check_encoding(url, answer)
        _check_size(url, part, total, most_bytes)
        if answer.status_code == 200:
            part.note(_validator(answer))
        return _write(url, answer, part, total, most_bytes)


def _total(answer: requests.Response, start: int) -> int | None:
    """The size of the whole file, if this answer is the rest of it from ``start`` on."""
    found = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
    if found is None:
        return None
    first, last, total = map(int, found.groups())
    announced = answer.raw.length_remaining
    whole = first == start <= last == total - 1 and announced in (None, total - start)
    return total if whole else None


def _validator(answer: requests.Response) -> str | None:
    """What names this version of the file byte by byte: a strong ETag, or else its date."""
    etag: str | None = answer.headers.get("ETag")
    if etag is not None:
        return None if etag.startswith("W/") else etag
    return answer.headers.get("Last-Modified")


def _same_version(answer: requests.Response, validator: str) -> bool:
    """Whether the answer names no other version; it need not name one (RFC 9110, 15.3.7)."""
    header = "ETag" if validator.startswith('"') else "Last-Modified"
    return answer.headers.get(header, validator) == validator


def _check_encoding(url: str, answer: requests.Response) -> None:
    encoding = answer.headers.get("Content-Encoding", "identity").lower()
    # some servers describe any .gz as gzip-encoded; the bytes that they send are the file
    if encoding != "identity" and not urlsplit(url).path.lower().endswith((".gz", ".tgz")):
        raise CheckpointError(
            f"{web.shown(url)}: the server sends it as {encoding}, though it was asked for the "
            "bare file; download the file yourself and give its path"
        )


def _check_size(url: str, part: _Part, total: int | None, most_bytes: int) -> None:
    if total is None:
        return
    if total > most_bytes:
        raise _too_long(url, f"has {total}", most_bytes)
    free = shutil.disk_usage(part.path.parent).free
    if total - part.size > free:
        raise SettingsError(
            f"{part.path.parent}: {free} bytes are free, but {web.shown(url)} needs "
            f"{total - part.size}; make room, or set SIMSEARCH_CACHE to a folder that has it"
        )


def _too_long(url: str, has: str, most_bytes: int) -> CheckpointError:
    return CheckpointError(
        f"{web.shown(url)}: {has} bytes, expected {most_bytes} at most; check that it is an "
        "archive of one checkpoint"
    )


def _write(
    url: str, answer: requests.Response, part: _Part, total: int | None, most_bytes: int
) -> bool:
    """Append the answer's body; False if it is shorter than announced."""
    from tqdm import tqdm

    name, size = PurePosixPath(urlsplit(url).path).name, part.size
    bar = tqdm(
        desc=name, total=total, initial=size, unit="B", unit_scale=True, disable=None, leave=False
    )
    with bar, writing(part.path), part.path.open("ab") as file:
        for block in answer.raw.stream(_BLOCK, decode_content=False):
            size += len(block)
            if size > (most_bytes if total is None else total):
                break
            file.write(block)
            bar.update(len(block))
    if total is None and size > most_bytes:
        part.drop()
        raise _too_long(url, f"goes on after {most_bytes}", most_bytes)
    if total is not None and size > total:
        part.drop()
        return False
    return total is None or size == total
