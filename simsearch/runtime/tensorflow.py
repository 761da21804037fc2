"""The graph as bert4keras built it, run by TensorFlow on what it finds: a TPU, GPUs, or the CPU."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from simsearch.bert import DeviceEncoder, devices
from simsearch.checkpoint import Checkpoint
from simsearch.config import Precision
from simsearch.encoder import Vectors
from simsearch.runtime import Ids

# Tokens that a device is given at once: an accelerator has more cores to keep busy.
_BATCH_TOKENS = {"CPU": 2048, "GPU": 32768, "TPU": 32768}
# How many lengths there are between a power of two and the next. More of them waste less on
# padding; on a TPU each is compiled anew, which takes longer than the padding.
_LENGTHS = {"CPU": 4, "GPU": 4, "TPU": 1}
_LENGTH_UNIT = 8  # tensor cores want multiples of it


class TensorFlowRuntime:
    """Implements ``Runtime``.

    Ids are padded to one of few shapes, as TensorFlow keeps something for each that it has met.
    ``precision`` "auto" computes in bfloat16 on TPUs and on GPUs that multiply it in hardware, and
    in float32 elsewhere.
    """

    def __init__(self, checkpoint: Checkpoint, heads: Sequence[str], precision: Precision) -> None:
        here = devices()
        bfloat16 = precision == "auto" and here.bfloat16
        self._encoder = DeviceEncoder(checkpoint, heads, here, bfloat16=bfloat16)
        self._of_tokens = [head.startswith("tokens@") for head in heads]
        self._longest, self._devices = checkpoint.max_length, here.count
        self._batch_tokens, self._lengths = _BATCH_TOKENS[here.kind], _LENGTHS[here.kind]

    def rows(self, tokens: int) -> int:
        """How many rows of so many tokens are best given to ``run`` at once."""
        return self._devices * max(1, self._batch_tokens // self._padded(tokens))

    def run(self, ids: Ids) -> list[Vectors]:
        """See ``Runtime``. There is at least one row."""
        count, tokens = ids.shape
        ids = np.pad(ids, ((0, 0), (0, self._padded(tokens) - tokens)))
        most = self.rows(tokens)
        parts = [self._run(ids[start : start + most], most) for start in range(0, count, most)]
        outputs = [np.concatenate(part) for part in zip(*parts, strict=True)]
        return [
            output[:, :tokens] if of_tokens else output
            for output, of_tokens in zip(outputs, self._of_tokens, strict=True)
        ]

    def run_all(self, batches: Iterable[Ids]) -> Iterator[list[Vectors]]:
        """See ``Runtime``."""
        return map(self.run, batches)

    def _run(self, ids: Ids, most: int) -> list[Vectors]:
        """The heads of no more than ``most`` rows, after others are added up to a power of two."""
        each = -(-len(ids) // self._devices)
        rows = min((1 << (each - 1).bit_length()) * self._devices, most)
        # copies of a row, as rows of padding alone have no mean
        added = np.repeat(ids[:1], rows - len(ids), axis=0)
        outputs = self._encoder.encode(np.concatenate([ids, added]))
        return [output[: len(ids)] for output in outputs]

    def _padded(self, tokens: int) -> int:
        power = 1 << (tokens - 1).bit_length()
        unit = max(power // (2 * self._lengths), _LENGTH_UNIT)
        length = -(-tokens // unit) * unit
        return max(tokens, min(length, self._longest))  # the model has no position beyond
