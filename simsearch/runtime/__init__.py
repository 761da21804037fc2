"""Runtimes: run an encoder's graph, from token ids to the pooled heads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, get_args

import numpy as np
import numpy.typing as npt

from simsearch.checkpoint import Checkpoint
from simsearch.config import Precision, RuntimeName
from simsearch.errors import SettingsError
from simsearch.weights import WeightHashes


class Runtime(Protocol):
    """A graph that is ready to run, from any thread."""

    def run(self, ids: npt.NDArray[np.int32]) -> list[npt.NDArray[np.float32]]:
        """The heads that the runtime was opened with, for ids (batch, tokens), 0 being padding."""


def open_runtime(
    name: RuntimeName,
    checkpoint: Checkpoint,
    hashes: WeightHashes,
    heads: Sequence[str],
    precision: Precision,
) -> Runtime:
    """Make the checkpoint's graph ready to give these heads (outputs, see pooling.py).

    ``precision`` "auto" lets OpenVINO compute in bfloat16 where the CPU does so in hardware. Raises
    SettingsError for another runtime or precision.
    """
    if name not in get_args(RuntimeName) or precision not in get_args(Precision):
        raise SettingsError(
            f"runtime {name!r} with precision {precision!r} is not possible; runtimes are "
            f"{', '.join(get_args(RuntimeName))}, precisions {', '.join(get_args(Precision))}"
        )
    # Each engine costs a second or more to import, so only the chosen one is.
    if name == "tensorflow":
        from simsearch.runtime.tensorflow import TensorFlowRuntime

        return TensorFlowRuntime(checkpoint, heads)
    from simsearch.runtime.openvino import OpenVinoRuntime

    return OpenVinoRuntime(checkpoint, hashes, heads, precision)
