"""An archive of a checkpoint, on this machine or on the web, as a folder of the cache.

::

    archives/
    ├── unpacked/SHA256/files/…      what was in the archive of this hash
    ├── unpacked/SHA256/files.json   its files and their sizes
    ├── urls/KEY.json                the hash of what an address led to
    ├── paths/KEY.json               the hash of a file, by path, size and time of change
    ├── downloads/KEY, KEY.part      what is under way
    └── locks/KEY.lock               one process at a time; always empty

All of it can be deleted at any time. An address is asked once: what it led to is kept until it is
deleted, or until the address is given with another hash.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from simsearch.cache import (
    cache_folder,
    discard,
    folder_made_by,
    read_json,
    remember,
    write_json,
    writing,
)
from simsearch.errors import CheckpointError
from simsearch.files import sha256_of
from simsearch.sources.download import download
from simsearch.sources.web import check_address, shown, url_key

_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")
_CONFIGS = ("bert_config.json", "config.json")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")  # two letters or more: C:/ is a drive
_HASH = re.compile(r"[0-9a-fA-F]{64}")


def is_archive(name: str) -> bool:
    """Whether a path or an address ends as an archive does."""
    path = name
    with contextlib.suppress(ValueError):  # an address that is none
        path = urlsplit(name).path if _is_url(name) else name
    return path.lower().endswith(_SUFFIXES)


def archive_folder(name: str, *, sha256: str | None = None, offline: bool = False) -> Path:
    """The folder of the checkpoint in the archive ``name``, unpacked in the cache.

    ``name`` is a path, or an http or https address, which may end in ``#sha256=`` and the hash that
    the archive must have; ``sha256`` says the same. With a hash, an archive of that hash that is in
    the cache is taken, wherever it was from; any other is refused. With ``offline`` an address is
    looked up in the cache only.

    Raises CheckpointError if the archive cannot be had, is not the expected one, or cannot be
    unpacked safely; SettingsError if the cache cannot be written.
    """
    if not _is_url(name):
        return _from_file(name, _checked_hash(sha256))
    url, _, fragment = name.partition("#")
    check_address(url)
    pinned = _checked_hash(fragment.removeprefix("sha256=") if fragment else None)
    wanted = _checked_hash(sha256) or pinned
    if pinned not in (None, wanted):
        raise CheckpointError(
            f"{shown(url)}: two different hashes were given, {pinned} and {wanted}; give one"
        )
    return _from_web(url, wanted, offline)


def pinned_address(url: str, folder: Path) -> str:
    """What finds the ``folder`` of an archive from the web again, without the address' secrets."""
    sha256 = folder.relative_to(_archives() / "unpacked").parts[0]
    return f"{shown(url)}#sha256={sha256}"


def _is_url(name: str) -> bool:
    return _SCHEME.match(name) is not None


def _checked_hash(sha256: str | None) -> str | None:
    if sha256 is None:
        return None
    if _HASH.fullmatch(sha256) is None:
        # not repeated: it may be the rest of a password that has a # in it
        raise CheckpointError(
            "the hash of an archive is not one; expected 64 hexadecimal digits, as in "
            "https://host/model.zip#sha256=…"
        )
    return sha256.lower()


def _from_file(name: str, wanted: str | None) -> Path:
    path = Path(name)
    with contextlib.suppress(RuntimeError):  # the home of a user who doesn't exist
        path = path.expanduser()
    if not path.is_file():
        raise CheckpointError(
            f"{name}: there is no such file; give the path of an archive ({', '.join(_SUFFIXES)}), "
            "or its address on the web"
        )
    path = path.resolve()
    stamp = _stamp(path)
    key = hashlib.sha256(f"{path}\0{stamp}".encode("utf-8", "surrogateescape")).hexdigest()
    memo = _archives() / "paths" / f"{key}.json"
    found = _remembered(memo)
    if found is None:
        try:
            found = sha256_of(path)
        except OSError as error:
            raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from None
        remember(memo, {"path": str(path), "sha256": found})
    if wanted not in (None, found):
        raise CheckpointError(
            f"{path}: its SHA-256 is {found}, expected {wanted}; download or copy it again"
        )
    if not _is_whole(found):
        _unpack_once(path, found, stamp, name)
    return _checkpoint_in(_files(found))


def _from_web(url: str, wanted: str | None, offline: bool) -> Path:
    memo = _archives() / "urls" / f"{url_key(url)}.json"
    found = wanted or _remembered(memo)
    if found is not None and _is_whole(found):
        return _checkpoint_in(_files(found))
    if offline:
        raise CheckpointError(
            f"{shown(url)}: is not in the cache ({_archives()}), and offline the web is not asked; "
            f"fetch it with `simsearch models --fetch {shown(url)}`, or give the archive's path"
        )
    with _lock(url_key(url)):
        found = wanted or _remembered(memo)
        if found is None or not _is_whole(found):  # else another process was faster
            found = _fetched_and_unpacked(url, wanted)
            remember(memo, {"url": shown(url), "sha256": found})
    return _checkpoint_in(_files(found))


def _fetched_and_unpacked(url: str, wanted: str | None) -> str:
    archive = _archives() / "downloads" / url_key(url)
    found = _fetched(url, archive, wanted)
    try:
        _unpack_once(archive, found, _stamp(archive), shown(url))
    except CheckpointError:
        archive.unlink(missing_ok=True)  # it would be of no more use the next time
        raise
    archive.unlink(missing_ok=True)
    return found


def _fetched(url: str, archive: Path, wanted: str | None) -> str:
    """Download the archive, if it isn't there from a time when the disk was full; its hash."""
    if archive.is_file():
        found = sha256_of(archive)
        if wanted in (None, found):
            return found
    return download(url, archive, sha256=wanted)


def _remembered(memo: Path) -> str | None:
    sha256 = (read_json(memo) or {}).get("sha256")
    return sha256 if isinstance(sha256, str) and _HASH.fullmatch(sha256) else None


def _is_whole(sha256: str) -> bool:
    """Whether the archive of this hash was unpacked, and nothing of it deleted since."""
    listing = read_json(_files(sha256).with_suffix(".json")) or {}
    sizes = listing.get("sizes")
    return isinstance(sizes, dict) and all(
        _size(_files(sha256) / name) == size for name, size in sizes.items()
    )


def _files(sha256: str) -> Path:
    return _archives() / "unpacked" / sha256 / "files"


def _unpack_once(archive: Path, sha256: str, stamp: tuple[int, int], name: str) -> None:
    """Unpack the archive, unless it is done. ``stamp`` is what it was when it was hashed."""
    from simsearch.sources.unpack import unpack  # brings tarfile and zipfile, seldom needed

    def make(aside: Path) -> None:
        (aside / "files").mkdir()
        sizes = unpack(archive, aside / "files", name=name)
        if _stamp(archive) != stamp:
            raise CheckpointError(f"{name}: was changed while it was read; try again")
        write_json(aside / "files.json", {"archive": name, "sizes": sizes})

    with _lock(sha256):
        if _is_whole(sha256):
            return
        folder = _files(sha256).parent
        discard(folder)  # of which some is gone
        folder_made_by(folder, make)


def _checkpoint_in(folder: Path) -> Path:
    """The folder that holds the configuration: archives often wrap it into folders."""
    level = [folder]
    while level:
        found = [path for path in level if any((path / name).is_file() for name in _CONFIGS)]
        if len(found) > 1:
            names = ", ".join(sorted(path.relative_to(folder).as_posix() for path in found))
            raise CheckpointError(
                f"{folder}: several checkpoints ({names}); give the folder of one"
            )
        if found:
            return found[0]
        level = [path for parent in level for path in parent.iterdir() if path.is_dir()]
    # none is known by that; who reads it as a checkpoint will say what is missing
    while len(inside := list(folder.iterdir())) == 1 and inside[0].is_dir():
        folder = inside[0]
    return folder


def _stamp(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _archives() -> Path:
    return cache_folder() / "archives"


@contextlib.contextmanager
def _lock(key: str) -> Iterator[None]:
    """Keep other processes and threads from what has this key, until the block ends."""
    from filelock import FileLock

    path = _archives() / "locks" / f"{key}.lock"
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
