"""The model under the pooling: texts to pooled hidden states, of several poolings in one pass."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from simsearch.batching import Batch, batches, padded
from simsearch.calibration import Calibration, Ranges
from simsearch.checkpoint import Checkpoint
from simsearch.config import Precision, RuntimeName
from simsearch.encoder import Prompt, Vectors
from simsearch.pooling import token_head
from simsearch.runtime import Ids, Runtime, observed_ranges, open_runtime
from simsearch.tokenizer import TextPair, TokenBatch, Tokenizer
from simsearch.weights import WeightHashes

Progress = Callable[[int], None]
_Text = TypeVar("_Text", str, TextPair)

_STATIC = "static_mean"
_OBSERVED_TOKENS = 2048  # of a batch


@dataclass(frozen=True, slots=True)
class Pooled:
    """What a pass over some texts gave.

    ``heads`` are the outputs asked for (see pooling.py), each float32 (texts, hidden), of any
    length; ``truncated`` counts the texts that were cut to the model's length, ``tokens`` what was
    left of all, [CLS] and [SEP] included.
    """

    heads: tuple[Vectors, ...]
    truncated: int
    tokens: int


class Backbone:
    """A checkpoint, its tokenizer and its graph, shared by all that pools what it computes.

    ``calibration`` is what precision "int8" needs; ``threads`` are those of OpenVINO, by default as
    many as the process may use.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        hashes: WeightHashes,
        *,
        precision: Precision,
        runtime: RuntimeName,
        calibration: Calibration | None = None,
        threads: int | None = None,
    ) -> None:
        self.checkpoint, self.hashes = checkpoint, hashes
        self.precision, self.runtime = precision, runtime
        self.calibration, self.threads = calibration, threads
        self.tokenizer = Tokenizer.of(checkpoint)
        self._opened: dict[tuple[str, ...], list[tuple[Runtime, tuple[str, ...]]]] = {}
        self._lock = threading.Lock()

    def open(self, heads: Sequence[str]) -> None:
        """Make the graph ready for these heads now, and not when the first text comes."""
        self._runtimes(tuple(heads))

    def pooled(
        self,
        texts: Sequence[str],
        heads: Sequence[str],
        prompt: Prompt,
        progress: Progress | None = None,
    ) -> Pooled:
        """Heads of these texts, in their order; there is at least one of both.

        Equal texts are computed once. ``prompt`` says which of the model's prompts, if it has them,
        is put before each text; ``progress`` is called with the number of texts just done.
        """
        return self._pooled(texts, lambda block: self.tokenized(block, prompt), heads, progress)

    def pooled_pairs(self, pairs: Sequence[TextPair], heads: Sequence[str]) -> Pooled:
        """Heads of two texts that are read together, in the order of ``pairs``; at least one."""
        return self._pooled(pairs, self.tokenizer.encode_pairs, heads)

    def _pooled(
        self,
        texts: Sequence[_Text],
        tokenize: Callable[[Sequence[_Text]], TokenBatch],
        heads: Sequence[str],
        progress: Progress | None = None,
    ) -> Pooled:
        distinct, place = _distinct(texts)
        times = np.bincount(place)
        runtimes = self._runtimes(tuple(heads))
        made: Iterable[Batch] = batches(distinct, tokenize, runtimes[0][0].rows)
        if len(runtimes) > 1:
            made = list(made)
        rows_of: dict[str, Vectors] = {}
        for runtime, names in runtimes:
            truncated = tokens = 0
            mine, given = itertools.tee(made)
            for batch, outputs in zip(mine, runtime.run_all(b.ids for b in given), strict=True):
                for name, vectors in zip(names, outputs, strict=True):
                    if name not in rows_of:
                        rows_of[name] = np.empty((len(distinct), vectors.shape[1]), np.float32)
                    rows_of[name][batch.rows] = vectors
                copies = times[batch.rows]
                truncated += int(copies @ batch.cut)
                tokens += int(copies @ batch.lengths)
                if progress is not None and runtime is runtimes[-1][0]:
                    progress(int(copies.sum()))
        found = (rows_of[head] for head in heads)
        return Pooled(
            tuple(rows if len(distinct) == len(texts) else rows[place] for rows in found),
            truncated,
            tokens,
        )

    def _runtimes(self, heads: tuple[str, ...]) -> list[tuple[Runtime, tuple[str, ...]]]:
        """Runtimes that together give these heads, each with those of its own."""
        with self._lock:
            if heads not in self._opened:
                # The reference for order-blindness promises equal vectors to 1e-6, which bfloat16
                # cannot hold, and it has no matrix product that bfloat16 could speed up.
                # TensorFlow computes it in float32 anyway.
                rounded = self.runtime == "openvino" and self.precision != "float32"
                apart = rounded and _STATIC in heads
                groups = ((_STATIC,), tuple(h for h in heads if h != _STATIC))
                self._opened[heads] = [
                    (self._open(group, "float32" if group == (_STATIC,) else None), group)
                    for group in (groups if apart else (heads,))
                    if group
                ]
            return self._opened[heads]

    def _open(self, heads: Sequence[str], precision: Precision | None = None) -> Runtime:
        return open_runtime(
            self.runtime,
            self.checkpoint,
            self.hashes,
            heads,
            precision=precision or self.precision,
            calibration=self.calibration,
            threads=self.threads,
        )

    def with_precision(self, precision: Precision, calibration: Calibration | None) -> Backbone:
        """The same model, computed otherwise."""
        return Backbone(
            self.checkpoint,
            self.hashes,
            precision=precision,
            runtime=self.runtime,
            calibration=calibration,
            threads=self.threads,
        )

    def observed_ranges(
        self, texts: Sequence[str], progress: Progress | None = None
    ) -> list[Ranges]:
        """What ``Calibration.ranges`` holds, from these texts as documents."""

        def tokenize(block: Sequence[str]) -> TokenBatch:
            return self.tokenized(block, "document")

        def ids() -> Iterator[Ids]:
            for batch in batches(texts, tokenize, lambda tokens: 1 + _OBSERVED_TOKENS // tokens):
                yield batch.ids
                if progress is not None:
                    progress(len(batch.rows))

        return observed_ranges(self.checkpoint, self.hashes, ids())

    def tokenized(self, texts: Sequence[str], prompt: Prompt) -> TokenBatch:
        """The ids that the model sees for each text, truncated, with [CLS] and [SEP]."""
        return self.tokenizer.encode(self.prompted(texts, prompt))

    def prompted(self, texts: Sequence[str], prompt: Prompt) -> Sequence[str]:
        """The texts with the model's prompt before each."""
        before = self.checkpoint.prompts.get(prompt, "")
        return [before + text for text in texts] if before else texts

    def token_states(self, ids: Sequence[int]) -> Vectors:
        """The last hidden state of one text, float32 (len(ids), hidden)."""
        head = token_head(self.checkpoint.architecture.num_hidden_layers)
        ((runtime, _),) = self._runtimes((head,))
        (states,) = runtime.run(padded([ids]))
        vectors: Vectors = states[0]
        return vectors


def _distinct(texts: Sequence[_Text]) -> tuple[list[_Text], npt.NDArray[np.int64]]:
    """Each text once, and for all of them its number there."""
    number: dict[_Text, int] = {}
    place = [number.setdefault(text, len(number)) for text in texts]
    return list(number), np.array(place, np.int64)
