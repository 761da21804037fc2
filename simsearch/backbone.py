"""The model under the pooling: texts to pooled hidden states, of several poolings in one pass."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from simsearch.checkpoint import Checkpoint
from simsearch.config import Precision, RuntimeName
from simsearch.encoder import Prompt, Vectors
from simsearch.pooling import token_head
from simsearch.runtime import Runtime, open_runtime
from simsearch.tokenizer import TokenBatch, Tokenizer
from simsearch.weights import WeightHashes

Progress = Callable[[int], None]

# Larger batches leave the CPU's caches, smaller ones its cores idle.
_BATCH_TOKENS = 2048
_STATIC = "static_mean"


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
    """A checkpoint, its tokenizer and its graph, shared by all that pools what it computes."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        hashes: WeightHashes,
        *,
        precision: Precision,
        runtime: RuntimeName,
    ) -> None:
        self.checkpoint, self.hashes = checkpoint, hashes
        self.precision, self.runtime = precision, runtime
        self.tokenizer = Tokenizer(
            checkpoint.vocabulary,
            lower_case=checkpoint.lower_case,
            strip_accents=checkpoint.strip_accents,
            max_length=checkpoint.max_length,
        )
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

        ``prompt`` says which of the model's prompts, if it has them, is put before each text;
        ``progress`` is called with the number of texts just done.
        """
        tokenized = self.tokenized(texts, prompt)
        ids = tokenized.ids
        runtimes = self._runtimes(tuple(heads))
        rows_of: dict[str, Vectors] = {}
        # Longest first: texts of like length share a batch, and the largest one comes at once.
        order = sorted(range(len(ids)), key=lambda i: -len(ids[i]))
        start = 0
        while start < len(order):
            rows = order[start : start + max(1, _BATCH_TOKENS // len(ids[order[start]]))]
            batch = _padded([ids[i] for i in rows])
            for runtime, names in runtimes:
                for name, vectors in zip(names, runtime.run(batch), strict=True):
                    if name not in rows_of:
                        rows_of[name] = np.empty((len(texts), vectors.shape[1]), np.float32)
                    rows_of[name][rows] = vectors
            start += len(rows)
            if progress is not None:
                progress(len(rows))
        tokens = sum(map(len, ids))
        return Pooled(tuple(rows_of[head] for head in heads), tokenized.truncated, tokens)

    def _runtimes(self, heads: tuple[str, ...]) -> list[tuple[Runtime, tuple[str, ...]]]:
        """Runtimes that together give these heads, each with those of its own."""
        with self._lock:
            if heads not in self._opened:
                # The reference for order-blindness promises equal vectors to 1e-6, which bfloat16
                # cannot hold, and it has no matrix product that bfloat16 could speed up.
                apart = self.precision != "float32" and _STATIC in heads
                groups = ((_STATIC,), tuple(h for h in heads if h != _STATIC))
                self._opened[heads] = [
                    (self._open(group, "float32" if group == (_STATIC,) else None), group)
                    for group in (groups if apart else (heads,))
                    if group
                ]
            return self._opened[heads]

    def _open(self, heads: Sequence[str], precision: Precision | None = None) -> Runtime:
        return open_runtime(
            self.runtime, self.checkpoint, self.hashes, heads, precision or self.precision
        )

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
        (states,) = runtime.run(_padded([ids]))
        vectors: Vectors = states[0]
        return vectors


def _padded(ids: Sequence[Sequence[int]]) -> npt.NDArray[np.int32]:
    batch = np.zeros((len(ids), max(map(len, ids))), np.int32)
    for row, tokens in zip(batch, ids, strict=True):
        row[: len(tokens)] = tokens
    return batch
