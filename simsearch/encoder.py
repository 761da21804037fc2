"""What an encoder is to the rooms above: texts to unit vectors, and an identity."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from simsearch.records import Span

Vectors = npt.NDArray[np.float32]
Prompt = Literal["document", "query"]

SHARD = 16_384
"""Texts are tokenized, sorted and batched within shards of this many, in the order they come."""


class Encoder(Protocol):
    """What the rooms above need of an encoder."""

    @property
    def dim(self) -> int:
        """Length of a vector."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """Everything that changes a vector, as JSON values by field name."""

    @property
    def fingerprint(self) -> str:
        """``fingerprint(identity)``."""

    @property
    def truncated(self) -> int:
        """How many of the texts encoded so far were longer than the encoder takes, and cut."""

    @property
    def max_length(self) -> int:
        """How many tokens of a text it takes at most, special tokens and prompt included."""

    def encode(self, texts: Sequence[str], prompt: Prompt = "document") -> Vectors:
        """Unit vectors, float32 (len(texts), dim), in the order of ``texts``."""

    def token_ids(self, texts: Sequence[str], prompt: Prompt = "document") -> list[list[int]]:
        """The ids that the model sees for each text, truncated, with [CLS] and [SEP]."""

    def token_counts(self, texts: Sequence[str], prompt: Prompt = "document") -> list[int]:
        """How many tokens each text has, special tokens and prompt included, with nothing cut."""

    def spans(self, texts: Sequence[str], tokens: int, overlap: int) -> list[list[Span]]:
        """Where to cut each text into chunks of at most ``tokens`` tokens, special ones apart.

        Consecutive chunks share up to ``overlap`` tokens. They are in order, the first begins at 0,
        the last ends with the text, and none begins or ends inside a word where that can be
        avoided. A text that is short enough is one chunk.
        """


def fingerprint(identity: Mapping[str, Any]) -> str:
    """SHA-256 (64 hex digits) of ``identity`` as canonical JSON."""
    return hashlib.sha256(canonical_json(identity).encode("ascii")).hexdigest()


def canonical_json(value: object) -> str:
    """One spelling for equal JSON values, for hashing and comparing."""
    return _CANONICAL.encode(value)


# made once: with options of its own, json.dumps makes one for each call, which every document pays
_CANONICAL = json.JSONEncoder(sort_keys=True, ensure_ascii=True, separators=(",", ":"))
