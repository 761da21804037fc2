"""A folder of weights, read: what an encoder needs to know of it, without TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from simsearch.checkpoint.architecture import Architecture, architecture_from, first_position
from simsearch.checkpoint.huggingface import sentence_transformers_defaults
from simsearch.checkpoint.json_file import read_json
from simsearch.checkpoint.layout import Layout, config_alone, find_layout
from simsearch.checkpoint.vocabulary import Vocabulary, read_vocabulary
from simsearch.config import Family, manifest_settings
from simsearch.errors import CheckpointError, SettingsError
from simsearch.sources import find_source, printable_name

MANIFEST = "simsearch.json"
_SHORTEST = 3  # [CLS], [SEP] and a token between them
# Embedding tables are rounded up to a multiple that suits the hardware, 256 at most; a vocabulary
# that is shorter by more belongs to another model.
_MOST_UNUSED_ROWS = 255


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A folder of weights that we can read, and the defaults that come with it.

    ``name`` is what the user called it and ``reference`` what finds the same one again from
    anywhere; ``first_position`` is the row of the position table that belongs to the first token;
    ``max_length`` counts tokens, [CLS] and [SEP] included; ``prompts`` maps "query" and "document"
    to what is put before a text; ``known_weights`` is the hash that its weights must have, where
    the name is known to us; ``overrides`` are the options that went before its files.
    """

    name: str
    reference: str
    folder: Path
    layout: Layout
    architecture: Architecture
    first_position: int
    vocabulary: Vocabulary
    lower_case: bool
    strip_accents: bool
    max_length: int
    pooling: str = "mean"
    layers: tuple[int, ...] | None = None
    prompts: Mapping[str, str] = field(default_factory=dict)
    whitening: Path | None = None
    dim: int | None = None
    known_weights: str | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)

    @property
    def weight_files(self) -> tuple[Path, ...]:
        """The files that hold the variables."""
        return self.layout.weights


def load_checkpoint(
    name: str | Path,
    *,
    family: Family | None = None,
    lower_case: bool | None = None,
    strip_accents: bool | None = None,
    max_length: int | None = None,
    offline: bool = False,
    weights: bool = True,
) -> Checkpoint:
    """Find the checkpoint that ``name`` stands for (see ``sources.find_source``), and read it.

    What is given goes before what the checkpoint's files say. With ``offline`` nothing is ever
    asked of the network. Without ``weights`` only config and vocabulary need be there, for a model
    that is to begin anew. Raises CheckpointError if there is none, if a file is missing or is not
    what it should be, or if the model is of a family we don't know, and SettingsError for what is
    given and doesn't fit the checkpoint.
    """
    options = {
        "family": family,
        "lower_case": lower_case,
        "strip_accents": strip_accents,
        "max_length": max_length,
    }
    overrides = {key: value for key, value in options.items() if value is not None}
    source = find_source(name, offline=offline)
    layout = find_layout(source.folder) if weights else config_alone(source.folder)
    config = {**source.config, **read_json(layout.config)}
    architecture = architecture_from(config, layout.config, family, layout.seen_family())
    first = 0 if family else first_position(config, layout.config)
    vocabulary = read_vocabulary(source.folder)
    _check_vocabulary(vocabulary, architecture, layout, first)
    manifest = _manifest(source.folder / MANIFEST)
    # ours says how the vectors are made, whatever sentence-transformers needs to make the same
    complete = "pooling" in manifest
    theirs = {} if complete else sentence_transformers_defaults(source.folder)
    chosen = {**source.defaults, **theirs, **manifest}
    lower, strip = _casing(vocabulary, chosen, overrides)
    layers, whitening = chosen.get("layers"), chosen.get("whitening")
    return Checkpoint(
        name=printable_name(name),
        reference=source.reference,
        folder=source.folder,
        layout=layout,
        architecture=architecture,
        first_position=first,
        vocabulary=vocabulary,
        lower_case=lower,
        strip_accents=strip,
        max_length=_length(max_length, chosen.get("max_length"), architecture, source.folder),
        pooling=chosen.get("pooling", "mean"),
        layers=None if layers is None else tuple(layers),
        prompts={k: str(v) for k, v in chosen.get("prompts", {}).items() if v},
        whitening=None if whitening is None else source.folder / Path(whitening).name,
        dim=chosen.get("dim"),
        known_weights=source.weights,
        overrides=overrides,
    )


def _manifest(path: Path) -> dict[str, Any]:
    try:
        return manifest_settings(read_json(path, optional=True), str(path))
    except SettingsError as error:
        raise CheckpointError(str(error)) from None


def _check_vocabulary(
    vocabulary: Vocabulary, architecture: Architecture, layout: Layout, first_position: int
) -> None:
    rows = architecture.vocab_size
    exact = layout.format == "google" and vocabulary.program is None
    if not rows - (0 if exact else _MOST_UNUSED_ROWS) <= vocabulary.size <= rows:
        raise CheckpointError(
            f"{vocabulary.path}: has {vocabulary.size} lines, but the embedding table has "
            f"{rows} rows (vocab_size in the config); use the vocabulary that belongs to this "
            "checkpoint"
        )
    positions = architecture.max_position_embeddings
    meant = vocabulary.padding == first_position - 1 and positions % 8 == 0
    if first_position and vocabulary.program is None and not meant:
        raise CheckpointError(
            f"{layout.config}: model_type is RoBERTa's, yet the vocabulary is a BERT's. Chinese "
            "whole-word-masking RoBERTa is a BERT: say --family bert, or set model_type to 'bert'"
        )


def _casing(
    vocabulary: Vocabulary, chosen: Mapping[str, Any], overrides: Mapping[str, Any]
) -> tuple[bool, bool]:
    """Whether a text is lowered first, and whether WordPiece strips accents.

    Any other tokenizer strips them or not by rules of its own.
    """
    if vocabulary.program is not None:
        if "strip_accents" in overrides:
            raise SettingsError(
                f"{vocabulary.path} has rules of its own for accents; leave strip_accents out"
            )
        return bool({**chosen, **overrides}.get("lower_case")), False
    own = not vocabulary.looks_cased if vocabulary.lower_case is None else vocabulary.lower_case
    lower = bool({"lower_case": own, **chosen, **overrides}["lower_case"])
    # sentence-transformers may lower before a tokenizer that goes by its own rule for accents
    follows = lower if {"lower_case", "strip_accents"} & overrides.keys() else own
    said = follows if vocabulary.strip_accents is None else vocabulary.strip_accents
    return lower, bool({"strip_accents": said, **chosen, **overrides}["strip_accents"])


def _length(given: int | None, usual: int | None, architecture: Architecture, folder: Path) -> int:
    longest = architecture.max_position_embeddings
    bounded = architecture.family not in ("nezha", "roformer")  # whose positions are computed
    if given is not None:
        if bounded and given > longest:
            raise SettingsError(
                f"max_length {given} is more than the {longest} positions that this checkpoint has"
            )
        return given
    length = longest if usual is None else usual
    length = min(length, longest) if bounded else length
    if length < _SHORTEST:
        raise CheckpointError(
            f"{folder}: its files cut a text to {length} tokens; expected {_SHORTEST} or more, "
            "which --max-length can say"
        )
    return length
