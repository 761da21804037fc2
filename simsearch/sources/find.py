"""What the name of a model stands for, and the folder that holds it."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from simsearch.errors import CheckpointError
from simsearch.sources.archive import archive_folder, is_archive, pinned_address
from simsearch.sources.hub import hub_snapshot, is_repo_name
from simsearch.sources.registry import MODELS, Model, installed_folder, model_of_repo
from simsearch.sources.web import shown

State = Literal["embedded", "installed", "cached", ""]


def printable_name(name: str | Path) -> str:
    """The name as it may be printed and kept: an address without login and signature."""
    text = str(name)
    return shown(text) if "://" in text else text


@dataclass(frozen=True, slots=True)
class Source:
    """Where a checkpoint is.

    ``reference`` finds the same one again from anywhere on this machine; ``defaults`` (see
    ``Checkpoint``) and ``config`` (keys of the config file) are for checkpoints whose own files
    don't say; ``weights`` is the hash that they must have, where it is known.
    """

    folder: Path
    reference: str
    defaults: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    weights: str | None = None


def find_source(name: str | Path, *, offline: bool = False, refresh: bool = False) -> Source:
    """The folder that ``name`` stands for, fetched if it must be.

    In this order: an embedded model; a folder; an archive, by path or URL; a short name of the
    registry; a repository of the hub, ``owner/name`` or ``owner/name@revision``. With ``offline``
    the network is never asked; with ``refresh`` it is asked whether a repository has moved on.
    Raises CheckpointError if there is no such thing, or it cannot be had.
    """
    text = str(name)
    if not text.strip():
        raise CheckpointError("the name of the checkpoint is empty; `simsearch models` lists some")
    model = MODELS.get(text)
    if model is not None and model.source == "embedded":
        return _registered(model, offline, refresh)
    path = Path(text)
    with contextlib.suppress(RuntimeError):  # the home of a user who doesn't exist
        path = path.expanduser()
    if path.is_dir():
        return Source(path.resolve(), str(path.resolve()))
    if path.is_file():
        return _archive(path)
    if "://" in text:
        folder = archive_folder(text, offline=offline)
        return Source(folder, pinned_address(text, folder))
    if model is not None:
        return _registered(model, offline, refresh)
    if isinstance(name, str) and is_repo_name(text):
        return _repository(text, offline, refresh)
    short, at, revision = text.partition("@")
    near = difflib.get_close_matches(text, MODELS, n=1)
    hint = f"did you mean {near[0]!r}?" if near else "`simsearch models` lists the short names"
    if at and short in MODELS and MODELS[short].repo is not None:
        hint = f"did you mean {MODELS[short].repo}@{revision}?"
    raise CheckpointError(
        f"no checkpoint {text!r}: it is neither a folder, nor an archive, nor a short name, nor a "
        f"repository of the Hugging Face hub (owner/name); {hint}"
    )


def _archive(path: Path) -> Source:
    if not is_archive(path.name):
        raise CheckpointError(
            f"{path}: is a file; give the folder that holds the checkpoint, or an archive of it "
            "(.zip, .tar.gz)"
        )
    return Source(archive_folder(str(path.resolve())), str(path.resolve()))


def _registered(model: Model, offline: bool, refresh: bool) -> Source:
    defaults = {"pooling": model.pooling, "prompts": model.prompts}
    folder, reference = installed_folder(model), model.name
    if folder is None and model.url is not None:
        folder, reference = archive_folder(model.url, offline=offline), model.name
    elif folder is None and model.repo is not None:
        snapshot = hub_snapshot(model.repo, offline=offline, refresh=refresh)
        folder, reference = snapshot.folder, snapshot.reference
    assert folder is not None  # a model is embedded, in a package, in an archive or on the hub
    return Source(folder, reference, defaults, model.config, model.weights)


def _repository(name: str, offline: bool, refresh: bool) -> Source:
    repo, _, revision = name.partition("@")
    model = model_of_repo(repo)
    if model is not None and not revision:
        return _registered(model, offline, refresh)
    snapshot = hub_snapshot(name, offline=offline, refresh=refresh)
    if model is None:
        return Source(snapshot.folder, snapshot.reference)
    # an older revision may have other weights, and is used in the same way
    defaults = {"pooling": model.pooling, "prompts": model.prompts}
    return Source(snapshot.folder, snapshot.reference, defaults)


def state_of(model: Model) -> State:
    """Whether this machine has the model: embedded, in a package, or downloaded before."""
    if model.source == "embedded":
        return "embedded"
    if installed_folder(model) is not None:
        return "installed"
    try:
        find_source(model.name, offline=True)
    except CheckpointError:
        return ""
    return "cached"
