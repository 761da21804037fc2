"""Runtimes: run an encoder's graph, from token ids to the pooled heads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol, get_args

import numpy as np
import numpy.typing as npt

from simsearch.calibration import Calibration, Ranges
from simsearch.checkpoint import Checkpoint
from simsearch.config import Precision, RuntimeName
from simsearch.encoder import Vectors
from simsearch.errors import SettingsError
from simsearch.weights import WeightHashes

Ids = npt.NDArray[np.int32]


class Runtime(Protocol):
    """A graph that is ready to run, from any thread.

    Ids are int32 (batch, tokens), 0 being padding; the heads are those that it was opened with.
    """

    def rows(self, tokens: int) -> int:
        """How many rows of so many tokens make a good batch."""

    def run(self, ids: Ids) -> list[Vectors]:
        """The heads for one batch, as soon as can be."""

    def run_all(self, batches: Iterable[Ids]) -> Iterator[list[Vectors]]:
        """The heads for each batch, in their order; several are run at once if that saves time."""


def open_runtime(
    name: RuntimeName,
    checkpoint: Checkpoint,
    hashes: WeightHashes,
    heads: Sequence[str],
    *,
    precision: Precision,
    calibration: Calibration | None,
    threads: int | None,
) -> Runtime:
    """Make the checkpoint's graph ready to give these heads (outputs, see pooling.py).

    ``precision`` "auto" computes in bfloat16 where the hardware does, "int8" as ``calibration``
    says; ``threads`` are OpenVINO's, by default as many as the process may use. Raises
    SettingsError for another runtime or precision, or for a calibration that does not fit.
    """
    if name not in get_args(RuntimeName) or precision not in get_args(Precision):
        raise SettingsError(
            f"runtime {name!r} with precision {precision!r} is not possible; runtimes are "
            f"{', '.join(get_args(RuntimeName))}, precisions {', '.join(get_args(Precision))}"
        )
    if precision == "int8":
        _check_int8(name, hashes, calibration)
    # Each engine costs a second or more to import, so only the chosen one is.
    if name == "tensorflow":
        from simsearch.runtime.tensorflow import TensorFlowRuntime

        return TensorFlowRuntime(checkpoint, heads, precision)
    from simsearch.runtime.openvino import OpenVinoRuntime

    return OpenVinoRuntime(
        checkpoint, hashes, heads, precision=precision, calibration=calibration, threads=threads
    )


def _check_int8(name: RuntimeName, hashes: WeightHashes, calibration: Calibration | None) -> None:
    if name != "openvino":
        raise SettingsError(f"precision 'int8' is for runtime 'openvino', not {name!r}")
    if calibration is None:
        raise SettingsError(
            "precision 'int8' needs the ranges of this model's values on texts like yours; measure "
            "them with `simsearch calibrate`, and name the file with --calibration"
        )
    if calibration.weights != hashes.backbone:
        raise SettingsError(
            "this calibration was made for another model (SHA-256 of its weights "
            f"{calibration.weights[:16]}…, these have {hashes.backbone[:16]}…); make one for this "
            "model with `simsearch calibrate`"
        )


def observed_ranges(
    checkpoint: Checkpoint, hashes: WeightHashes, batches: Iterable[Ids]
) -> list[Ranges]:
    """What ``Calibration.ranges`` holds, from these batches."""
    from simsearch.runtime.openvino import observed_ranges as observe

    return observe(checkpoint, hashes, batches)
