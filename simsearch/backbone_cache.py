"""A backbone that remembers what it computed, on disk: a benchmark goes on where it stopped.

``CACHE/pooled/<backbone>/<texts>/`` holds the pooled hidden states of one block of texts, a
``.npy`` for each head, and what computing them cost. The first name hashes all that changes a
hidden state, the second the texts with their prompt. Benchmarks ask for the same texts again and
again, so this is where they look; an index is built without it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from simsearch.backbone import Backbone, Pooled, Progress
from simsearch.cache import cache_folder, read_json, write_json, writing
from simsearch.calibration import Calibration
from simsearch.checkpoint import Checkpoint
from simsearch.config import Precision, RuntimeName
from simsearch.encoder import Prompt, Vectors, fingerprint
from simsearch.files import replaced
from simsearch.identity import states_identity
from simsearch.weights import WeightHashes

# Texts of a block: what an interrupted run may have to compute again.
_BLOCK = 2048
_FACTS = "cost.json"
_GIBIBYTE = 1 << 30


@dataclass(frozen=True, slots=True)
class Cost:
    """What it took to compute hidden states: texts, their tokens, wall-clock seconds."""

    texts: int = 0
    tokens: int = 0
    seconds: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.texts + other.texts, self.tokens + other.tokens, self.seconds + other.seconds
        )


class CachedBackbone(Backbone):
    """A backbone for many poolings of the same texts.

    ``heads`` are all that will be wanted: the first time that any of them is asked of a text, all
    are computed, in one pass over the model. ``cost`` sums what that took, be it now or in the
    run that filled the cache; where a later run wanted other heads, the seconds of both.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        hashes: WeightHashes,
        heads: Sequence[str],
        *,
        precision: Precision,
        runtime: RuntimeName,
        calibration: Calibration | None = None,
        threads: int | None = None,
    ) -> None:
        super().__init__(
            checkpoint,
            hashes,
            precision=precision,
            runtime=runtime,
            calibration=calibration,
            threads=threads,
        )
        self.cost = Cost()
        self._heads = tuple(dict.fromkeys(heads))
        self._counted = set[Path]()
        identity = states_identity(checkpoint, hashes)
        how = {"precision": precision, "runtime": runtime, "pooler": hashes.pooler}
        if calibration is not None:
            how["calibration"] = calibration.hash
        self._folder = _root() / fingerprint({**identity, **how})[:32]

    def pooled(
        self,
        texts: Sequence[str],
        heads: Sequence[str],
        prompt: Prompt,
        progress: Progress | None = None,
    ) -> Pooled:
        """See ``Backbone``; ``heads`` are some of those that this one was made for."""
        blocks = []
        for start in range(0, len(texts), _BLOCK):
            block = texts[start : start + _BLOCK]
            folder = self._folder / _hash(self.prompted(block, prompt))
            stored = _read(folder, heads, len(block))
            if stored is None:
                self._compute(folder, block, prompt, progress)
                stored = _read(folder, heads, len(block))
                assert stored is not None, folder
            elif progress is not None:
                progress(len(block))
            if folder not in self._counted:
                self._counted.add(folder)
                self.cost += _cost(folder)
            blocks.append(stored)
        columns = zip(*(block.heads for block in blocks), strict=True)
        return Pooled(
            tuple(column[0] if len(column) == 1 else np.concatenate(column) for column in columns),
            sum(block.truncated for block in blocks),
            sum(block.tokens for block in blocks),
        )

    def _compute(
        self, folder: Path, texts: Sequence[str], prompt: Prompt, progress: Progress | None
    ) -> None:
        missing = [head for head in self._heads if _load(folder, head, len(texts)) is None]
        self.open(missing)  # before the clock starts: it compiles the graph
        started = time.perf_counter()
        computed = super().pooled(texts, missing, prompt, progress)
        seconds = time.perf_counter() - started
        before = read_json(folder / _FACTS) or {}
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            for head, vectors in zip(missing, computed.heads, strict=True):
                with replaced(_file(folder, head)) as aside, aside.open("wb") as file:
                    np.save(file, vectors, allow_pickle=False)
        write_json(
            folder / _FACTS,
            {
                "texts": len(texts),
                "truncated": computed.truncated,
                "tokens": computed.tokens,
                "seconds": seconds + float(before.get("seconds", 0)),
            },
        )


def trim_pooled(gibibytes: float) -> None:
    """Forget the hidden states that were not asked for the longest, down to this many GiB.

    What cannot be deleted stays.
    """
    entries = []
    with contextlib.suppress(OSError):
        for folder in _root().glob("*/*"):
            size = sum(file.stat().st_size for file in folder.iterdir())
            entries.append((folder.stat().st_mtime_ns, size, folder))
    excess = sum(size for _, size, _ in entries) - gibibytes * _GIBIBYTE
    for _, size, folder in sorted(entries):
        if excess <= 0:
            return
        shutil.rmtree(folder, ignore_errors=True)
        excess -= size


def _root() -> Path:
    return cache_folder() / "pooled"


def _hash(texts: Sequence[str]) -> str:
    digest = hashlib.sha256()
    for text in texts:
        encoded = text.encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(8, "little") + encoded)
    return digest.hexdigest()[:32]


def _file(folder: Path, head: str) -> Path:
    return folder / f"{head}.npy"


def _read(folder: Path, heads: Sequence[str], count: int) -> Pooled | None:
    """The stored heads of a block; ``None`` unless all are there and whole."""
    facts = read_json(folder / _FACTS)
    if facts is None:
        return None
    truncated, tokens = facts.get("truncated"), facts.get("tokens")
    if not isinstance(truncated, int) or not isinstance(tokens, int):
        return None
    loaded = [_load(folder, head, count) for head in heads]
    found = tuple(vectors for vectors in loaded if vectors is not None)
    if len(found) < len(heads):
        return None
    with contextlib.suppress(OSError):
        os.utime(folder)  # was asked for now: see trim_pooled
    return Pooled(found, truncated, tokens)


def _load(folder: Path, head: str, count: int) -> Vectors | None:
    try:
        vectors = np.load(_file(folder, head), allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    whole = vectors.ndim == 2 and vectors.dtype == np.float32 and len(vectors) == count
    return vectors if whole else None


def _cost(folder: Path) -> Cost:
    facts = read_json(folder / _FACTS) or {}
    return Cost(
        int(facts.get("texts", 0)), int(facts.get("tokens", 0)), float(facts.get("seconds", 0))
    )
