"""Change an index: put documents in, take them out, write it anew, mend it."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simsearch.config import ColumnType, Duplicates, IndexSettings, OnError, corpus_settings
from simsearch.corpus import Row, RowProblem, object_rows, read_corpus, usable
from simsearch.encoder import Encoder, Vectors
from simsearch.errors import CorpusError
from simsearch.filters import parse_filter
from simsearch.pipeline.building import chunk_spans
from simsearch.pipeline.engines import encode_texts
from simsearch.pipeline.opening import index_encoder
from simsearch.pipeline.progress import OnProgress, counting
from simsearch.readers import corpus_paths
from simsearch.records import Document
from simsearch.sentence_encoder import SentenceEncoder
from simsearch.store import Batch, IndexEditor, IndexKeeper, check_encoder

LEAST_QUERIES, MOST_QUERIES = 32, 1024
"""To tune on and to measure with, half of them each: fewer say little, more take longer."""


@dataclass(frozen=True, slots=True)
class AddReport:
    """What ``add`` did, in documents.

    ``added`` are new, ``replaced`` had another text under their id, ``relabelled`` only other
    metadata, ``unchanged`` were there as they are. ``collapsed`` rows had the text of an earlier
    one. ``skipped`` rows could not be used, and
    ``problems`` says why for the first of them. ``truncated`` were longer than the encoder takes.
    ``documents`` are in the index now.
    """

    folder: Path
    added: int
    replaced: int
    relabelled: int
    unchanged: int
    collapsed: int
    skipped: int
    problems: tuple[str, ...]
    truncated: int
    documents: int


@dataclass(frozen=True, slots=True)
class DeleteReport:
    """How many documents ``delete`` took out, the ids that weren't there, and how many are left."""

    folder: Path
    deleted: int
    missing: tuple[str, ...]
    documents: int


def add(
    index: str | Path,
    corpus: str | Path | Sequence[str | Path],
    *,
    encoder: SentenceEncoder | None = None,
    overrides: Mapping[str, Any] | None = None,
    text_column: str | None = None,
    id_column: str | None = None,
    types: Mapping[str, ColumnType] | None = None,
    on_error: OnError = "stop",
    duplicates: Duplicates = "keep",
    progress: OnProgress | None = None,
) -> AddReport:
    """Put the documents of corpus files into a finished index, or in the place of others by id.

    Texts that are there already are not encoded again. Each commit, of some thousand documents,
    stays whatever happens later, and queries find it at once; after an interruption the same call
    goes on. ``types`` are those of columns, as in ``build``, and ``duplicates`` is about texts that
    two rows of the corpus have. ``overrides`` are encoder settings as in ``open_index``. Raises
    CorpusError, before anything is changed, for files or rows that cannot be used (rows, unless
    ``on_error`` is "skip"), the StoreErrors of the folder, and EncoderMismatchError for another
    encoder.
    """
    paths = corpus_paths(corpus)
    given = {"types": dict(types or {}), "on_error": on_error, "duplicates": duplicates}
    settings = corpus_settings(given, "add")
    columns: dict[str, Any] = {"text_column": text_column, "id_column": id_column}
    rows = read_corpus(paths, **columns, types=settings.types)
    return _put(index, rows, settings.on_error, settings.duplicates, encoder, overrides, progress)


def add_documents(
    index: str | Path,
    documents: Sequence[Mapping[str, Any] | Document],
    *,
    encoder: Encoder | None = None,
    on_error: OnError = "stop",
    duplicates: Duplicates = "keep",
) -> AddReport:
    """Put documents that are in memory into a finished index: ``add``, without a file.

    Each is a ``Document``, or a JSON object with a ``text`` and, if it has one, an ``id``; what
    else it has is metadata. Raises what ``add`` raises.
    """
    rows = object_rows(documents, "document")
    return _put(index, rows, on_error, duplicates, encoder, None, None)


def _put(
    index: str | Path,
    rows: Iterable[Row | RowProblem],
    on_error: OnError,
    duplicates: Duplicates,
    encoder: Encoder | None,
    overrides: Mapping[str, Any] | None,
    progress: OnProgress | None,
) -> AddReport:
    counts = dict.fromkeys(("added", "replaced", "relabelled", "unchanged", "truncated"), 0)
    with IndexEditor.open(Path(index)) as editor:
        if encoder is None:
            encoder = index_encoder(editor.folder, editor.settings, overrides or {})
        check_encoder(editor, encoder)
        report = editor.stage(rows, on_error, duplicates)
        advance = counting(progress, 0, report.documents)
        for batch in editor.batches(chunk_spans(editor.chunk, encoder)):
            cut = _commit(editor, encoder, batch)
            advance(batch.documents)
            counts["added"] += len(batch.new) - len(batch.replaced)
            counts["replaced"] += len(batch.replaced)
            counts["relabelled"] += len(batch.relabelled)
            counts["unchanged"] += batch.unchanged
            counts["truncated"] += cut
        return AddReport(
            folder=editor.folder,
            **counts,
            collapsed=report.collapsed,
            skipped=report.skipped,
            problems=report.problems,
            documents=editor.facts.documents,
        )


def _commit(editor: IndexEditor, encoder: Encoder, batch: Batch) -> int:
    """Encode and commit a batch; how many of its documents were cut."""
    vectors, cut = encode_texts(encoder, batch.texts)
    editor.commit(batch, vectors, cut)
    return len({batch.owners[position] for position in cut})


def delete(
    index: str | Path, ids: Sequence[str] = (), *, filter: Mapping[str, Any] | None = None
) -> DeleteReport:
    """Take documents out of a finished index, by id or by their metadata, all in one commit.

    No query finds them any more; ``optimize`` erases what is left of them on the disk. Ids that are
    not there are reported. Raises the StoreErrors of the folder, and SettingsError for a ``filter``
    that is none (see ``simsearch.filters``).
    """
    wanted = None if filter is None else parse_filter(filter)
    with IndexEditor.open(Path(index)) as editor:
        if wanted is not None:
            ids = [*ids, *editor.matching(wanted)]
        missing = editor.delete(ids)
        return DeleteReport(
            folder=editor.folder,
            deleted=len(set(ids)) - len(missing),
            missing=tuple(missing),
            documents=editor.facts.documents,
        )


def optimize(
    index: str | Path,
    settings: IndexSettings | None = None,
    *,
    tune_on: str | Path | None = None,
    text_column: str | None = None,
    encoder: SentenceEncoder | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> bool:
    """Write an index anew, small and quick to search, and erase what was deleted.

    No document is encoded. How it is searched is planned for what it holds now, by ``settings``, or
    by those that it was built with. An approximate search is tuned on the texts of the file
    ``tune_on``, queries such as will be asked (``MOST_QUERIES`` of them, drawn, if there are more);
    on those that were given before; or else on rows of the index, which suits queries that are like
    its documents. ``encoder`` and ``overrides`` are as in ``open_index``, for these queries.

    False where there is nothing to gain. Queries go on meanwhile. Takes the room of a second copy
    until it has finished. Raises the StoreErrors of the folder, SettingsError where no index can be
    as ``settings`` want, and CorpusError for a file that cannot be used, or has fewer than
    ``LEAST_QUERIES`` different queries.
    """
    texts = None if tune_on is None else _queries(Path(tune_on), text_column)
    with IndexKeeper.open(Path(index)) as keeper:
        if texts is None:
            return keeper.optimize(settings)
        if encoder is None:
            encoder = index_encoder(keeper.folder, keeper.settings, overrides or {})
        check_encoder(keeper, encoder)
        return keeper.optimize(settings, encoder.encode(texts, prompt="query"))


def _queries(path: Path, text_column: str | None) -> list[str]:
    """The different texts of a file, of very many so many, drawn, always the same."""
    rows = usable(read_corpus([path], text_column=text_column), "stop")
    texts = list(dict.fromkeys(row.text for row in rows))
    if len(texts) < LEAST_QUERIES:
        raise CorpusError(
            f"{path}: {len(texts)} different queries; give {LEAST_QUERIES} or more to tune on"
        )
    return random.Random(1).sample(texts, min(len(texts), MOST_QUERIES))


def repair(
    index: str | Path,
    *,
    encoder: SentenceEncoder | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> int:
    """Make anew what can be made of an index's documents; returns how many texts were encoded.

    That is vectors that are damaged or missing, and whatever is derived. ``overrides`` are encoder
    settings as in ``open_index``; an encoder is loaded only if it is needed. Raises
    CorruptIndexError for a document that isn't what was written.
    """
    with IndexKeeper.open(Path(index)) as keeper:

        def encode(texts: list[str]) -> Vectors:
            nonlocal encoder
            if encoder is None:
                encoder = index_encoder(keeper.folder, keeper.settings, overrides or {})
                check_encoder(keeper, encoder)
            return encoder.encode(texts)

        return keeper.repair(encode)
