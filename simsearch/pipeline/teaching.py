"""The vectors that a teacher has for texts: a model's, encoded once, or those of a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from simsearch.config import EncoderSettings
from simsearch.encoder import Vectors
from simsearch.errors import SettingsError
from simsearch.files import new_file, sha256_of
from simsearch.pipeline.encoding import write_vectors
from simsearch.pipeline.opening import load_encoder
from simsearch.pipeline.progress import OnProgress, counting

TEACHER = "teacher.npy"
"""The name of the file with a model's vectors, while a training goes on."""


class Teacher:
    """A model by its name, or an ``.npy`` file, for some texts.

    ``fingerprint`` is another for other vectors. Raises SettingsError for a file that is none of
    unit rows, float32 (texts, dim), and what ``SentenceEncoder.load`` raises.
    """

    def __init__(self, teacher: str | Path, texts: Sequence[str]) -> None:
        self._texts = texts
        self._encoder = self._given = None
        if str(teacher).endswith(".npy"):
            self._given = _read(Path(teacher))
            if len(self._given) != len(texts):
                raise SettingsError(
                    f"{teacher}: has {len(self._given):,} rows, and the data {len(texts):,} texts; "
                    "expected a row for each"
                )
            _check_unit(self._given, teacher)
            self.fingerprint = sha256_of(Path(teacher))
        else:
            self._encoder = load_encoder(EncoderSettings(model=str(teacher)))
            self.fingerprint = self._encoder.fingerprint

    def vectors(self, work: Path, progress: OnProgress | None = None) -> Vectors:
        """The unit vectors, float32 (texts, dim), mapped; a model's are kept in ``work``."""
        if self._given is not None:
            return self._given
        assert self._encoder is not None  # one of the two
        path = work / TEACHER
        if not path.is_file():
            advance = counting(progress, 0, len(self._texts))
            stream = self._encoder.encode_stream(self._texts, progress=advance)
            with new_file(path) as aside:
                write_vectors(aside, (len(self._texts), self._encoder.dim), stream)
        return _read(path)


def _read(path: Path) -> Vectors:
    try:
        vectors = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise SettingsError(f"{path}: is no .npy file ({error})") from None
    if vectors.ndim != 2 or vectors.dtype != np.float32:
        raise SettingsError(
            f"{path}: holds {vectors.dtype} {vectors.shape}; expected float32 (texts, dim), as "
            "`simsearch encode` writes it"
        )
    found: Vectors = vectors
    return found


def _check_unit(vectors: Vectors, path: str | Path) -> None:
    for start in range(0, len(vectors), 65_536):
        lengths = np.linalg.norm(vectors[start : start + 65_536].astype(np.float64), axis=1)
        wrong = np.flatnonzero(~(np.abs(lengths - 1) < 1e-3))
        if len(wrong):
            row = start + int(wrong[0])
            raise SettingsError(
                f"{path}: row {row} has length {lengths[wrong[0]]:.4g}; expected unit vectors, as "
                "`simsearch encode` writes them"
            )
