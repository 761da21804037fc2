"""Encode files: to an array of vectors, a whitening fitted on them, a calibration of int8."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from simsearch.calibration import Calibration
from simsearch.config import CorpusSettings
from simsearch.corpus import read_corpus, usable
from simsearch.encoder import Vectors
from simsearch.errors import CorpusError
from simsearch.files import check_new_file, new_file
from simsearch.pipeline.progress import OnProgress, counting
from simsearch.readers import corpus_paths, text_lines
from simsearch.sentence_encoder import SentenceEncoder
from simsearch.whitening import Whitening

CALIBRATION_TEXTS = 1024
"""How many texts of a corpus int8 is calibrated on: one half to measure, one to check."""


def fit_whitening(
    encoder: SentenceEncoder,
    corpus: Sequence[str | Path],
    settings: CorpusSettings,
    progress: OnProgress | None = None,
) -> Whitening:
    """Fit a whitening on the texts of corpus files. Raises CorpusError as ``build`` does."""
    return encoder.fit_whitening(corpus_texts(corpus, settings), counting(progress, 0, None))


def fit_calibration(
    encoder: SentenceEncoder,
    corpus: Sequence[str | Path],
    settings: CorpusSettings,
    progress: OnProgress | None = None,
) -> Calibration:
    """Calibrate int8 on texts drawn from all over the corpus files. Raises as ``build`` does."""
    texts = _drawn(corpus_texts(corpus, settings), CALIBRATION_TEXTS)
    # half is run to see ranges, the other half in float32 and in int8
    total = len(texts) // 2 + 2 * (len(texts) // 2)
    return encoder.fit_calibration(texts, counting(progress, 0, total))


def _drawn(texts: Iterable[str], count: int) -> list[str]:
    """``count`` of the texts, each with the same chance (Vitter 1985, algorithm R), or all."""
    rng = np.random.default_rng(0)
    drawn: list[str] = []
    for seen, text in enumerate(texts):
        if seen < count:
            drawn.append(text)
        elif (place := int(rng.integers(seen + 1))) < count:
            drawn[place] = text
    return drawn


def corpus_texts(corpus: Sequence[str | Path], settings: CorpusSettings) -> Iterator[str]:
    """The texts of corpus files, one by one. Raises CorpusError as ``build`` does."""
    rows = read_corpus(
        corpus_paths(corpus),
        text_column=settings.text_column,
        id_column=settings.id_column,
        types=settings.types,
    )
    for row in usable(rows, settings.on_error):
        yield row.text


def encode_file(
    encoder: SentenceEncoder, path: Path, out: Path, progress: OnProgress | None = None
) -> int:
    """Encode a text file line by line, empty lines included, into an ``.npy`` file.

    ``out`` holds float32 unit rows (lines, dim), all of them or, after any error, what it held
    before. Returns the number of lines. Raises CorpusError for a file that is not UTF-8 text and
    SettingsError if ``out`` cannot be written.
    """
    check_new_file(out)
    if not path.is_file():
        raise CorpusError(f"{path}: not a file; write the lines to one, since it is read twice")
    count = sum(1 for _ in text_lines(path))
    with new_file(out) as aside:
        advance = counting(progress, 0, count)
        stream = encoder.encode_stream(text_lines(path), progress=advance)
        done = write_vectors(aside, (count, encoder.dim), stream)
        if done != count:
            raise CorpusError(f"{path}: had {count} lines, then {done}; leave it alone meanwhile")
    return count


def write_vectors(path: Path, shape: tuple[int, int], vectors: Iterable[Vectors]) -> int:
    """Write an ``.npy`` file of ``shape``, float32, from parts of its rows; how many they had."""
    rows = 0
    with path.open("wb") as file:
        _write_header(file, shape)
        for part in vectors:
            # not mapped into memory: a full disk would kill the process
            file.write(np.ascontiguousarray(part, np.float32).data)
            rows += len(part)
    return rows


def _write_header(file: BinaryIO, shape: tuple[int, int]) -> None:
    """Begin an ``.npy`` file of float32 rows."""
    descr = np.lib.format.dtype_to_descr(np.dtype(np.float32))
    header = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
