"""Model repositories of the Hugging Face hub: from ``owner/name@revision`` to a folder.

Files are fetched by ``huggingface_hub`` into its own cache (HF_HOME, HF_HUB_CACHE), which other
programs share. What is complete there is noted in a small file of ours, so that neither a request
nor the import of ``huggingface_hub`` (half a second) is needed a second time.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import re
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from simsearch.cache import cache_folder, read_json, remember
from simsearch.errors import CheckpointError, SettingsError
from simsearch.files import new_file, sha256_of
from simsearch.sources.hub_errors import HUB, explained
from simsearch.sources.hub_files import chosen_files
from simsearch.sources.web import check_address

if TYPE_CHECKING:
    from huggingface_hub.hf_api import ModelInfo

_T = TypeVar("_T")

# the rules of huggingface_hub.utils.validate_repo_id, whose import is too slow for every query
_REPO = re.compile(r"(?!.*(--|\.\.))(?!.*\.git$)\w([\w.-]{0,94}\w)?/\w([\w.-]{0,94}\w)?", re.ASCII)
# what git allows in the name of a branch, without the surprises
_REVISION = re.compile(r"(?!.*(\.\.|//))\w([\w./+-]*[\w+-])?")
_WAITS = (1, 2, 4)  # seconds, after an error of the server
_TIMEOUT = 30  # seconds, for the list of a repository's files


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A repository at one commit: ``folder`` holds the files of it that an encoder needs."""

    folder: Path
    repo: str
    commit: str

    @property
    def reference(self) -> str:
        """The name that means the same files for ever: "owner/name@commit"."""
        return f"{self.repo}@{self.commit}"


def is_repo_name(name: str) -> bool:
    """Whether the hub could have a repository of this name: "owner/name", "owner/name@revision".

    A path of two parts is one too: look for a folder first.
    """
    repo, at, revision = name.partition("@")
    known = not at or _REVISION.fullmatch(revision) is not None
    return known and _REPO.fullmatch(repo) is not None


def hub_snapshot(name: str, *, offline: bool = False, refresh: bool = False) -> Snapshot:
    """The files of "owner/name" or "owner/name@revision" that an encoder needs, fetched if missing.

    A complete snapshot in the hub's cache is used as it is; ``refresh`` asks the hub whether the
    branch has moved since. ``offline`` makes no request whatever else is set (as HF_HUB_OFFLINE=1
    does), and wins over ``refresh``. Raises CheckpointError if there is no such repository, if it
    holds no weights that can be read safely, or if it cannot be fetched.
    """
    if not is_repo_name(name):
        raise CheckpointError(f"{name!r} is no name on the hub; expected owner/name[@revision]")
    repo, _, revision = name.partition("@")
    revision = revision or "main"
    cache = _hub_cache()
    forbidden = "nothing is downloaded here" if offline else _offline_mode()
    refresh = refresh and not offline
    if refresh and forbidden:
        raise CheckpointError(f"{name}: the hub cannot be asked anew, as {forbidden}; unset it")
    if not refresh and (found := _local(cache, repo, revision, unlisted=bool(forbidden))):
        return found
    if forbidden:
        raise CheckpointError(
            f"{name!r} is neither a folder here nor complete in the hub's cache {cache}, and "
            f"{forbidden}; fetch it first (simsearch models --fetch {name}), set HF_HOME to the "
            "cache that has it, or give a folder"
        )
    try:
        listing = _listing(name, repo, revision)
    except CheckpointError:
        if refresh or not (found := _local(cache, repo, revision, unlisted=True)):
            raise
        return found
    return _fetched(name, cache, repo, revision, listing)


def _offline_mode() -> str:
    for variable in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        if os.environ.get(variable, "").upper() in ("1", "ON", "YES", "TRUE"):
            return f"{variable} is set"
    return ""


def _hub_cache() -> Path:
    """Where huggingface_hub keeps files: its own rule, for the environment as it is now."""
    env = os.environ
    home = env.get("HF_HOME") or Path(env.get("XDG_CACHE_HOME") or "~/.cache", "huggingface")
    folder = env.get("HF_HUB_CACHE") or env.get("HUGGINGFACE_HUB_CACHE") or Path(home, "hub")
    return Path(os.path.expandvars(folder)).expanduser().resolve()


# --- what is there already


def _local(cache: Path, repo: str, revision: str, *, unlisted: bool) -> Snapshot | None:
    """The snapshot, if it is complete.

    Another program may have fetched some files without a list of all; with ``unlisted`` those do if
    no necessary one is missing.
    """
    note = read_json(_note(cache, repo, revision)) or {}
    with contextlib.suppress(KeyError, TypeError, AttributeError, OSError):  # no note of ours
        folder, sizes = Path(note["folder"]), note["files"].items()
        whole = all((folder / name).stat().st_size == size for name, size in sizes)
        if whole and (note["listed"] or unlisted):
            return Snapshot(folder, repo, str(note["commit"]))
    return _adopted(cache, repo, revision, unlisted=unlisted)


def _adopted(cache: Path, repo: str, revision: str, *, unlisted: bool) -> Snapshot | None:
    """The same without a note of ours, which is then made."""
    if not (cache / f"models--{repo.replace('/', '--')}").is_dir():
        return None  # told without the import
    _disable_telemetry()
    from huggingface_hub import get_cached_repo_tree, try_to_load_from_cache
    from huggingface_hub.errors import CachedRepoTreeNotFoundError

    for config in ("config.json", "bert_config.json"):
        path = try_to_load_from_cache(repo, config, cache, revision)
        if isinstance(path, str):
            break
    else:
        return None
    folder = Path(path).parent
    snapshot = Snapshot(folder, repo, folder.name)
    try:
        tree = get_cached_repo_tree(repo, revision=snapshot.commit, cache_dir=cache)
        chosen = chosen_files({file.path for file in tree}, snapshot.reference)
        listed = True
    except CachedRepoTreeNotFoundError:
        names = {path.relative_to(folder).as_posix() for path in folder.rglob("*")}
        try:
            chosen = chosen_files(names, snapshot.reference) if unlisted else []
        except CheckpointError:
            return None
        listed = False
    if not chosen or not all((folder / name).is_file() for name in chosen):
        return None
    for name in chosen:
        # a file is a link to one that bears its hash, unless the file system knows no links
        blob = (folder / name).readlink().name if (folder / name).is_symlink() else ""
        if len(blob) == 64:
            _verify(folder / name, blob, keep=unlisted)
    _take_note(cache, snapshot, {revision, snapshot.commit}, chosen, listed=listed)
    return snapshot


def _note(cache: Path, repo: str, revision: str) -> Path:
    key = hashlib.sha256(f"{cache}\0{repo}\0{revision}".encode()).hexdigest()
    return cache_folder() / "hub" / f"{key}.json"


def _take_note(
    cache: Path, snapshot: Snapshot, revisions: set[str], files: list[str], *, listed: bool
) -> None:
    content = {
        "folder": str(snapshot.folder),
        "commit": snapshot.commit,
        "listed": listed,
        "files": {name: (snapshot.folder / name).stat().st_size for name in files},
    }
    for revision in revisions:
        remember(_note(cache, snapshot.repo, revision), content)


# --- what the hub has


def _disable_telemetry() -> None:
    """Before the first import of huggingface_hub, which else looks which program calls it."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")


def _endpoint() -> str:
    endpoint = os.environ.get("HF_ENDPOINT", "").rstrip("/") or HUB
    try:
        check_address(endpoint)
    except CheckpointError as error:
        raise CheckpointError(f"HF_ENDPOINT: {error}") from None
    return endpoint


def _listing(name: str, repo: str, revision: str) -> ModelInfo:
    """Commit and files; CheckpointError if the hub does not say."""
    _disable_telemetry()
    from huggingface_hub import HfApi

    api = HfApi(endpoint=_endpoint(), library_name="simsearch")
    ask = functools.partial(
        api.model_info, repo, revision=revision, files_metadata=True, timeout=_TIMEOUT
    )
    try:
        info = _patiently(ask)
        if info.sha is None or info.siblings is None:
            raise ValueError("the answer has no list of files")
    except Exception as error:  # its HTTP client has exceptions of its own
        raise explained(error, name, _endpoint()) from error
    return info


def _fetched(name: str, cache: Path, repo: str, revision: str, listing: ModelInfo) -> Snapshot:
    from huggingface_hub import hf_hub_download

    files = {file.rfilename: file for file in listing.siblings or ()}
    commit = str(listing.sha)
    chosen = chosen_files(files, name)
    folder = cache
    for file in chosen:  # one after another: where the weights are, all others are
        fetch = functools.partial(
            hf_hub_download,
            repo,
            file,
            revision=commit,
            cache_dir=cache,
            endpoint=_endpoint(),
            library_name="simsearch",
            tqdm_class=_bar(file),
        )
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("error", "Not enough free disk space")
                path = Path(_patiently(fetch))
        except Exception as error:
            raise explained(error, name, _endpoint()) from error
        folder = path.parents[file.count("/")]
    for file in chosen:
        if (lfs := files[file].lfs) is not None:
            _verify(folder / file, lfs.sha256, keep=False)
    snapshot = Snapshot(folder, repo, commit)
    if revision != commit:
        # as huggingface_hub does for a branch, so that offline all programs know its commit
        reference = folder.parent.parent / "refs" / revision
        with contextlib.suppress(OSError, SettingsError):  # a cache for reading only, say
            reference.parent.mkdir(parents=True, exist_ok=True)
            with new_file(reference) as aside:
                aside.write_text(commit, "utf-8")
    _take_note(cache, snapshot, {revision, commit}, chosen, listed=True)
    return snapshot


def _bar(file: str) -> Any:
    """Makes huggingface_hub's progress bar, on terminals only, with a better name than a URL."""
    from huggingface_hub.utils.tqdm import tqdm

    bar: Any = tqdm

    def named(*, desc: str = "", **options: Any) -> Any:
        return bar(desc=desc if desc.startswith(file) else file, disable=None, **options)

    return named


def _patiently(call: Callable[[], _T]) -> _T:
    """Call again after an error of the server where huggingface_hub does not."""
    from huggingface_hub.errors import HfHubHTTPError

    for wait in _WAITS:
        try:
            return call()
        except HfHubHTTPError as error:
            if error.response.status_code < 500:
                raise
        time.sleep(wait)
    return call()


def _verify(path: Path, expected: str, *, keep: bool) -> None:
    """Refuse a file that came damaged; delete it unless ``keep``, as when it cannot be had anew."""
    if (found := sha256_of(path)) == expected:
        return
    what_next = "fetch the model again with `simsearch models --fetch`"
    if not keep:
        path.resolve().unlink(missing_ok=True)  # the file itself, not the link to it
        what_next = "it is deleted; run again to fetch it anew"
    raise CheckpointError(
        f"{path}: SHA-256 is {found}, expected {expected}; the file came damaged, and {what_next}"
    )
