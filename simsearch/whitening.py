"""Whitening: a linear map after which the vectors of a corpus are uncorrelated, of equal variance.

``y = (x - mean) @ kernel`` (Su et al. 2021, "Whitening Sentence Representations for Better
Semantics and Faster Retrieval", arXiv:2103.15316). The columns of ``kernel`` are ordered by the
variance they explain, so the first ``dim`` of them are the best ``dim``-dimensional vectors.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from simsearch.errors import SettingsError
from simsearch.files import new_file

# Directions that explain less than this share of the largest variance are rounding noise of the
# float32 vectors they were fitted on; dividing by them would blow that noise up.
_SMALLEST_RELATIVE_VARIANCE = 1e-7


@dataclass(frozen=True)
class Whitening:
    """A fitted map.

    ``mean``: float32 (hidden,); ``kernel``: float32 (hidden, rank), rank ≤ hidden; ``encoder``: the
    fingerprint of the encoder whose vectors it was fitted on; ``rows``: how many of them;
    ``source``: the file that it was loaded from.
    """

    mean: npt.NDArray[np.float32]
    kernel: npt.NDArray[np.float32]
    encoder: str
    rows: int
    source: Path | None = None

    @property
    def rank(self) -> int:
        """The number of dimensions that the map can give."""
        return int(self.kernel.shape[1])

    @property
    def hash(self) -> str:
        """SHA-256 of mean and kernel."""
        digest = hashlib.sha256(f"{self.kernel.shape}\n".encode())
        digest.update(np.ascontiguousarray(self.mean, "<f4").tobytes())
        digest.update(np.ascontiguousarray(self.kernel, "<f4").tobytes())
        return digest.hexdigest()

    def transform(self, vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Whitened vectors, float32 (n, rank), of ``vectors``, float32 (n, hidden)."""
        return np.asarray((vectors - self.mean) @ self.kernel, np.float32)

    def cut(self, dim: int) -> Whitening:
        """The map onto the first ``dim`` dimensions; SettingsError if there are fewer."""
        if not isinstance(dim, int) or not 1 <= dim <= self.rank:
            raise SettingsError(
                f"dim {dim!r} is not possible: this whitening gives 1 to {self.rank} dimensions "
                f"(it was fitted on {self.rows} vectors)"
            )
        return replace(self, kernel=self.kernel[:, :dim])

    def save(self, path: str | Path) -> None:
        """Write an ``.npz`` file, all of it or nothing; SettingsError if it cannot be written."""
        with new_file(Path(path)) as aside, aside.open("wb") as file:
            self.write(file)

    def write(self, file: BinaryIO) -> None:
        """Write the content of an ``.npz`` file."""
        np.savez(
            file,
            mean=self.mean,
            kernel=self.kernel,
            encoder=np.array(self.encoder),
            rows=np.array(self.rows),
        )

    @classmethod
    def load(cls, path: str | Path) -> Whitening:
        """Read what ``save`` wrote; SettingsError if the file is something else."""
        try:
            with Path(path).open("rb") as file, np.load(file, allow_pickle=False) as archive:
                whitening = cls(
                    mean=archive["mean"],
                    kernel=archive["kernel"],
                    encoder=str(archive["encoder"]),
                    rows=int(archive["rows"]),
                    source=Path(path).resolve(),
                )
        except FileNotFoundError:
            raise SettingsError(
                f"{path}: no such whitening file; fit one with `simsearch whiten`"
            ) from None
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
            # without NumPy's own words, which advise to unpickle it
            raise SettingsError(
                f"{path}: not a whitening file; fit one with `simsearch whiten`"
            ) from None
        mean, kernel = whitening.mean, whitening.kernel
        if (
            {mean.dtype, kernel.dtype} != {np.dtype(np.float32)}
            or (mean.ndim, kernel.ndim) != (1, 2)
            or len(mean) != len(kernel)
            or not (np.isfinite(mean).all() and np.isfinite(kernel).all())
        ):
            raise SettingsError(
                f"{path}: mean {mean.dtype} {mean.shape} and kernel {kernel.dtype} {kernel.shape} "
                "do not fit: expected finite float32 (hidden,) and (hidden, rank)"
            )
        return whitening


def fit_whitening(
    batches: Iterable[npt.NDArray[np.float32]], encoder: str, dim: int | None = None
) -> Whitening:
    """Fit on a stream of vectors, each batch float32 (n, hidden), in memory of hidden² numbers.

    ``encoder`` is the fingerprint of the encoder that made them. Mean and covariance are updated
    batch by batch (Chan, Golub and LeVeque 1983) in float64. Raises SettingsError when the vectors
    span fewer than ``dim`` dimensions, or none.
    """
    rows, mean, scatter = 0, np.zeros(0), np.zeros((0, 0))
    for batch in batches:
        if not len(batch):
            continue
        block = batch.astype(np.float64)
        if rows == 0:
            mean, scatter = np.zeros(block.shape[1]), np.zeros((block.shape[1],) * 2)
        block_mean = block.mean(axis=0)
        centred, shift = block - block_mean, block_mean - mean
        total = rows + len(block)
        scatter += centred.T @ centred + np.outer(shift, shift) * (rows * len(block) / total)
        mean = mean + shift * (len(block) / total)
        rows = total
    if rows < 2:
        raise SettingsError(f"whitening needs at least 2 different texts, got {rows}")
    variance, directions = np.linalg.eigh(scatter / rows)
    variance, directions = variance[::-1], directions[:, ::-1]
    kept = variance > variance[0] * _SMALLEST_RELATIVE_VARIANCE
    if variance[0] <= 0 or not kept.any():
        raise SettingsError(f"whitening needs at least 2 different texts; all {rows} are the same")
    kernel = directions[:, kept] / np.sqrt(variance[kept])
    whitening = Whitening(mean.astype(np.float32), kernel.astype(np.float32), encoder, rows)
    return whitening if dim is None else whitening.cut(dim)
