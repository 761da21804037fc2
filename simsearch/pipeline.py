"""Where the parts are put together: build an index, open one, benchmark poolings."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np

from simsearch.config import CorpusSettings, EncoderSettings, OnError, encoder_settings
from simsearch.corpus import Row, RowProblem, hash_inputs, read_corpus
from simsearch.encoder import Vectors
from simsearch.errors import CheckpointError, CorpusError, SettingsError
from simsearch.evaluation.files import (
    builtin_word_order,
    read_pairs,
    read_retrieval,
    read_word_order,
)
from simsearch.evaluation.report import BenchmarkResult
from simsearch.evaluation.tasks import PairsTask, RetrievalTask, Task, WordOrderTask
from simsearch.files import check_new_file, new_file
from simsearch.readers import text_lines
from simsearch.search import Searcher
from simsearch.sentence_encoder import Progress, SentenceEncoder
from simsearch.store import BuildPlan, IndexWriter, StoredIndex
from simsearch.whitening import Whitening

OnProgress = Callable[[int, int | None], None]
"""Called with the number of texts that have vectors, and of all (``None``: not known)."""


@dataclass(frozen=True, slots=True)
class BuildReport:
    """What a build did.

    ``documents`` are in the index; ``skipped`` rows are not, and ``problems`` says why for the
    first of them; ``truncated`` texts were longer than the encoder takes. ``changed`` is false
    where the folder held this very index already; ``resumed`` documents had their vectors from an
    interrupted build.
    """

    folder: Path
    documents: int
    skipped: int
    problems: tuple[str, ...]
    truncated: int
    resumed: int
    changed: bool


def load_encoder(settings: EncoderSettings) -> SentenceEncoder:
    """The encoder that the settings describe."""
    return SentenceEncoder.load(
        settings.model,
        pooling=settings.pooling,
        layers=settings.layers,
        whitening=settings.whitening,
        dim=settings.dim,
        precision=settings.precision,
        runtime=settings.runtime,
    )


def build(
    corpus: str | Path | Sequence[str | Path],
    index: str | Path | None = None,
    *,
    encoder: EncoderSettings | SentenceEncoder | None = None,
    text_column: str | None = None,
    id_column: str | None = None,
    on_error: OnError = "stop",
    replace: bool = False,
    progress: OnProgress | None = None,
) -> BuildReport:
    """Build an index of the corpus files in ``index`` (default: indexes/<first file's stem>).

    An interrupted build of the same corpus and encoder is resumed; a finished one is left as it is.
    Raises CorpusError for files or rows that cannot be used (rows, unless ``on_error`` is "skip"),
    StoreError if the folder holds something else and ``replace`` is not set, CheckpointError and
    SettingsError for the encoder. After any error the folder holds what it held before.
    """
    paths = [Path(p) for p in ([corpus] if isinstance(corpus, (str, Path)) else corpus)]
    if not paths:
        raise CorpusError("no corpus file was given; give at least one")
    if on_error not in get_args(OnError):
        raise SettingsError(f"on_error is {on_error!r}; expected {' or '.join(get_args(OnError))}")
    folder = Path(index) if index is not None else default_index(paths)
    columns = {"text_column": text_column, "id_column": id_column}
    inputs = hash_inputs(paths, **columns)
    if not isinstance(encoder, SentenceEncoder):
        encoder = load_encoder(encoder or EncoderSettings())
    plan = BuildPlan(
        inputs=f"{inputs} {on_error}",
        identity=encoder.identity,
        fingerprint=encoder.fingerprint,
        settings=_reopening(encoder),
        dim=encoder.dim,
    )
    with IndexWriter.open(folder, plan, replace=replace) as writer:
        if writer.finished:
            return BuildReport(folder, writer.total, 0, (), writer.truncated, 0, changed=False)
        skipped, problems = 0, tuple[str, ...]()
        if not writer.ingested:
            report = writer.ingest(read_corpus(paths, **columns), on_error=on_error)
            skipped, problems = report.skipped, report.problems
        resumed = writer.done
        _encode_pending(writer, encoder, progress)
        writer.finish()
        return BuildReport(
            folder, writer.total, skipped, problems, writer.truncated, resumed, changed=True
        )


def _encode_pending(
    writer: IndexWriter, encoder: SentenceEncoder, progress: OnProgress | None
) -> None:
    advance = _counting(progress, writer.done, writer.total)
    for shard in writer.pending_shards():
        before = encoder.truncated
        vectors = encoder.encode(shard.texts, progress=advance)
        writer.commit(shard, vectors, encoder.truncated - before)


def _counting(progress: OnProgress | None, done: int, total: int | None) -> Progress:
    """What an encoder calls with the number of texts just done, from that of all done so far."""

    def advance(texts: int) -> None:
        nonlocal done
        done += texts
        if progress is not None:
            progress(done, total)

    return advance


def default_index(corpus: Sequence[Path]) -> Path:
    """``indexes/<stem of the first file>``: ``faq.csv.gz`` goes to ``indexes/faq``."""
    name = corpus[0].name.removesuffix(".gz")
    return Path("indexes") / Path(name).stem


def _reopening(encoder: SentenceEncoder) -> dict[str, Any]:
    """What an index keeps so that a query can load the same encoder again."""
    source = encoder.whitening.source if encoder.whitening else None
    if encoder.whitening and not source:
        raise SettingsError(
            "the encoder's whitening is in no file, so a query could not find it again; save it, "
            "and load the encoder with whitening=PATH"
        )
    return {
        "model": encoder.checkpoint.reference,
        "pooling": encoder.pooling.name,
        "layers": list(encoder.pooling.layers) or None,
        "whitening": str(source) if source else None,
        "dim": encoder.dim if source else None,
    }


def open_index(
    folder: str | Path,
    *,
    encoder: SentenceEncoder | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Searcher:
    """Open a finished index for queries, with the encoder that it was built with.

    ``overrides`` are encoder settings to use instead of the stored ones (a checkpoint that has
    moved, another runtime). Raises the StoreErrors of the folder, and EncoderMismatchError if the
    encoder is not the one of the index.
    """
    stored = StoredIndex.open(Path(folder))
    try:
        if encoder is None:
            encoder = _stored_encoder(stored, overrides or {})
        return Searcher(encoder, stored)
    except BaseException:
        stored.close()
        raise


def _stored_encoder(stored: StoredIndex, overrides: Mapping[str, Any]) -> SentenceEncoder:
    given = {key: value for key, value in overrides.items() if value is not None}
    kept = dict(stored.settings)
    if "pooling" in given:
        kept["layers"] = None  # they belong to the stored pooling
    settings = encoder_settings({**kept, **given}, str(stored.folder))
    try:
        return load_encoder(settings)
    except CheckpointError as error:
        if "model" in given:
            raise
        raise CheckpointError(
            f"{error}\n{stored.folder} was built with that checkpoint; if it has moved, name its "
            "place with --model"
        ) from None


def read_tasks(
    pairs: Iterable[str | Path] = (),
    retrieval: Iterable[str | Path] = (),
    word_order: Iterable[str | Path] = (),
) -> list[Task]:
    """The tasks in these files and folders; the built-in word-order suite if there are none.

    Raises TaskError for a file that does not have its layout.
    """
    for given in (pairs, retrieval, word_order):
        if isinstance(given, (str, Path)):
            raise SettingsError(f"{given!r} is one path; expected a list of paths, such as [path]")
    tasks: list[Task] = [
        *(PairsTask(str(path), read_pairs(path)) for path in pairs),
        *(RetrievalTask(str(path), read_retrieval(path)) for path in retrieval),
        *(WordOrderTask(str(path), read_word_order(path)) for path in word_order),
    ]
    return tasks or [WordOrderTask("word-order", builtin_word_order())]


def benchmark(
    tasks: Sequence[Task], encoders: Iterable[EncoderSettings]
) -> Iterator[BenchmarkResult]:
    """Run every task on every encoder, one result at a time, encoder by encoder."""
    for settings in encoders:
        encoder = load_encoder(settings)
        for task in tasks:
            before = encoder.truncated
            result = task.run(encoder)
            if cut := encoder.truncated - before:
                limit = encoder.checkpoint.max_length
                note = f"cut to the model's length of {limit} tokens: {cut:,} of the texts"
                result = replace(result, notes=(*result.notes, note))
            yield BenchmarkResult(settings.model, encoder.pooling.name, result)


def fit_whitening(
    encoder: SentenceEncoder,
    corpus: Sequence[str | Path],
    settings: CorpusSettings,
    progress: OnProgress | None = None,
) -> Whitening:
    """Fit a whitening on the texts of corpus files. Raises CorpusError as ``build`` does."""
    rows = read_corpus(
        [Path(p) for p in corpus],
        text_column=settings.text_column,
        id_column=settings.id_column,
    )
    return encoder.fit_whitening(_texts(rows, settings.on_error), _counting(progress, 0, None))


def _texts(rows: Iterable[Row | RowProblem], on_error: OnError) -> Iterator[str]:
    for row in rows:
        if isinstance(row, Row):
            yield row.text
        elif on_error == "stop":
            raise CorpusError(f"{row}\nMend the row, or leave such rows out with --on-error skip")


def encode_file(
    encoder: SentenceEncoder, path: Path, out: Path, progress: OnProgress | None = None
) -> int:
    """Encode a text file line by line, empty lines included, into an ``.npy`` file.

    ``out`` holds float32 unit rows (lines, dim), all of them or, after any error, what it held
    before. Returns the number of lines. Raises CorpusError for a file that is not UTF-8 text.
    """
    check_new_file(out)
    if not path.is_file():
        raise CorpusError(f"{path}: not a file; write the lines to one, since it is read twice")
    count = sum(1 for _ in text_lines(path))
    done = 0
    with _new_array(out, (count, encoder.dim)) as rows:
        advance = _counting(progress, 0, count)
        for vectors in encoder.encode_stream(text_lines(path), progress=advance):
            rows[done : done + len(vectors)] = vectors
            done += len(vectors)
        if done != count:
            raise CorpusError(f"{path}: had {count} lines, then {done}; leave it alone meanwhile")
    return count


@contextlib.contextmanager
def _new_array(path: Path, shape: tuple[int, int]) -> Iterator[Vectors]:
    """A float32 array to fill, which becomes the ``.npy`` file ``path`` when all went well."""
    with new_file(path) as aside:
        if shape[0]:
            rows = np.lib.format.open_memmap(aside, "w+", np.float32, shape)
            yield rows
            rows.flush()
        else:  # which cannot be mapped into memory
            with aside.open("wb") as file:
                np.save(file, np.empty(shape, np.float32))
            yield np.empty(shape, np.float32)
