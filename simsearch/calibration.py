"""Calibration: how large a model's values are on real texts, and what int8 loses by it.

Only ranges are kept, no weights: the same file serves any copy of the model, any pooling and any
whitening.
"""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from simsearch.errors import SettingsError
from simsearch.files import new_file

Ranges = npt.NDArray[np.float32]

LEAST_COSINE = 0.995
"""A calibration is kept only if int8 and float32 vectors of other texts agree so well, on average.

A cosine of 0.995 moved Spearman on STS-B by 0.2 points at most, where it was tried.
"""


@dataclass(frozen=True)
class Calibration:
    """Measured ranges of one model.

    ``ranges``: for each of its sites (see ``runtime.openvino.quantization``) float32 (2, inputs),
    the least and the greatest value of each input; ``weights``: SHA-256 of the weights; ``texts``:
    how many were read; ``cosine`` and ``least_cosine``: mean and least of the cosines between int8
    and float32 vectors of ``held_out`` other texts.
    """

    ranges: list[Ranges]
    weights: str
    texts: int
    cosine: float
    least_cosine: float
    held_out: int

    @property
    def hash(self) -> str:
        """SHA-256 of the ranges."""
        digest = hashlib.sha256()
        for ends in self.ranges:
            digest.update(f"{ends.shape}\n".encode())
            digest.update(np.ascontiguousarray(ends, "<f4").tobytes())
        return digest.hexdigest()

    def save(self, path: str | Path) -> None:
        """Write an ``.npz`` file, all of it or nothing; SettingsError if it cannot be written."""
        arrays = {
            "weights": np.array(self.weights),
            "texts": np.array(self.texts),
            "cosine": np.array(self.cosine),
            "least_cosine": np.array(self.least_cosine),
            "held_out": np.array(self.held_out),
            **{f"site{i}": ends for i, ends in enumerate(self.ranges)},
        }
        with new_file(Path(path)) as aside, aside.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)

    @classmethod
    def load(cls, path: str | Path) -> Calibration:
        """Read what ``save`` wrote; SettingsError if the file is something else."""
        try:
            with Path(path).open("rb") as file, np.load(file, allow_pickle=False) as archive:
                count = sum(name.startswith("site") for name in archive.files)
                calibration = cls(
                    ranges=[archive[f"site{i}"] for i in range(count)],
                    weights=str(archive["weights"]),
                    texts=int(archive["texts"]),
                    cosine=float(archive["cosine"]),
                    least_cosine=float(archive["least_cosine"]),
                    held_out=int(archive["held_out"]),
                )
        except FileNotFoundError:
            raise SettingsError(
                f"{path}: no such calibration file; make one with `simsearch calibrate`"
            ) from None
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
            raise SettingsError(
                f"{path}: not a calibration file; make one with `simsearch calibrate`"
            ) from None
        if not calibration.ranges or not all(map(_is_range, calibration.ranges)):
            raise SettingsError(
                f"{path}: its ranges are not finite float32 (2, inputs), least before greatest; "
                "make it anew with `simsearch calibrate`"
            )
        return calibration


def _is_range(ends: Ranges) -> bool:
    return (
        ends.dtype == np.float32
        and ends.ndim == 2
        and len(ends) == 2
        and bool(np.isfinite(ends).all())
        and bool((ends[0] <= ends[1]).all())
    )
