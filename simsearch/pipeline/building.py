"""Build an index: corpus to documents, chunks, vectors, one after the other and resumably."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from simsearch.cluster import check_cluster
from simsearch.config import (
    ENGINES,
    ColumnType,
    Duplicates,
    EncoderSettings,
    Engine,
    IndexSettings,
    OnError,
    corpus_settings,
)
from simsearch.corpus import hash_inputs, read_corpus
from simsearch.encoder import Encoder
from simsearch.errors import SettingsError
from simsearch.index.planner import plan_index
from simsearch.pipeline.engines import encode_here, encode_on_cluster
from simsearch.pipeline.opening import load_encoder
from simsearch.pipeline.progress import OnProgress, counting
from simsearch.readers import corpus_paths
from simsearch.records import Document
from simsearch.sentence_encoder import SentenceEncoder
from simsearch.store import BuildPlan, Chunk, IndexWriter, Spans


@dataclass(frozen=True, slots=True)
class BuildReport:
    """What a build did.

    ``documents`` are in the index, as ``chunks`` vectors (as many, where documents are not cut into
    chunks); ``collapsed`` rows had a text that was there already; ``skipped`` rows are not, and
    ``problems`` says why for the first of them.
    ``truncated`` documents were longer than the ``max_length`` tokens that the encoder takes;
    ``truncated_documents`` has (id, tokens) of the first of them. ``changed`` is false where the
    folder held this very index already; ``resumed`` vectors were from an interrupted build.
    ``seconds`` says how long it took to encode and store the texts ("encoding"), to build the
    search of their vectors ("search"), and to index their words ("words").
    """

    folder: Path
    documents: int
    chunks: int
    collapsed: int
    skipped: int
    problems: tuple[str, ...]
    truncated: int
    truncated_documents: tuple[tuple[str, int], ...]
    max_length: int
    resumed: int
    seconds: Mapping[str, float] = field(compare=False)
    changed: bool


def build(
    corpus: str | Path | Sequence[str | Path],
    index: str | Path | None = None,
    *,
    encoder: EncoderSettings | SentenceEncoder | None = None,
    text_column: str | None = None,
    id_column: str | None = None,
    types: dict[str, ColumnType] | None = None,
    on_error: OnError = "stop",
    duplicates: Duplicates = "keep",
    chunk: Sequence[int] | int | None = None,
    search: IndexSettings | None = None,
    replace: bool = False,
    engine: Engine = "local",
    ray_address: str | None = None,
    progress: OnProgress | None = None,
) -> BuildReport:
    """Build an index of the corpus files in ``index`` (default: indexes/<first file's stem>).

    A file may be a URI such as s3://bucket/faq.csv, of a file system that fsspec knows.

    ``chunk``, (tokens, overlap), cuts each document into chunks of at most so many tokens, of which
    consecutive ones share ``overlap``; each has its own vector, and a document is found by the best
    of its chunks. Without, what is longer than the encoder takes is cut off.

    ``types`` are those of columns of metadata, by name ("string", "integer", "number", "boolean",
    "list"): see values.py. Without, what a table holds is strings.

    ``duplicates`` says what becomes of a row whose text an earlier one has: it is a document too
    ("keep"), it is left out ("collapse"), or it is a row that cannot be used ("refuse").

    ``search`` says how the vectors are to be searched; by default exactly while that is fast, else
    approximately, with a recall of 0.95.

    With ``engine`` "ray" the texts are encoded by the machines of the Ray cluster at
    ``ray_address``, by default the one of $RAY_ADDRESS or of this machine. They need simsearch and
    the model, by the same path or name; documents are read and vectors stored here, and the index
    is the one that machines of their kind build alone. ``encoder`` must then be settings.

    An interrupted build of the same corpus and encoder is resumed, by either engine; a finished one
    is left as it is.
    Raises CorpusError for files or rows that cannot be used (rows, unless ``on_error`` is "skip"),
    StoreError if the folder holds something else and ``replace`` is not set, CheckpointError and
    SettingsError for encoder, ``types`` or ``chunk``. After any error the folder holds what it held
    before.
    """
    paths = corpus_paths(corpus)
    _check_engine(engine, ray_address, encoder)
    given: dict[str, Any] = {"types": types or {}, "on_error": on_error, "duplicates": duplicates}
    given["chunk"] = chunk
    settings = corpus_settings(given, "build")
    folder = Path(index) if index is not None else default_index(paths)
    columns: dict[str, Any] = {"text_column": text_column, "id_column": id_column}
    columns["types"] = settings.types
    inputs = hash_inputs(paths, **columns)
    described = encoder if isinstance(encoder, EncoderSettings) else EncoderSettings()
    if not isinstance(encoder, SentenceEncoder):
        encoder = load_encoder(described)
    _check_chunk(settings.chunk, encoder)
    plan = BuildPlan(
        inputs=f"{inputs} {on_error} {duplicates}",
        identity=encoder.identity,
        fingerprint=encoder.fingerprint,
        settings=_reopening(encoder),
        dim=encoder.dim,
        chunk=settings.chunk,
        search=search or IndexSettings(),
    )
    with IndexWriter.open(folder, plan, replace=replace) as writer:
        collapsed, skipped, problems, resumed = 0, 0, tuple[str, ...](), 0
        seconds: dict[str, float] = {}
        changed = not writer.finished
        if changed:
            if not writer.ingested:
                rows, spans = read_corpus(paths, **columns), chunk_spans(settings.chunk, encoder)
                report = writer.ingest(rows, on_error=on_error, duplicates=duplicates, spans=spans)
                collapsed, skipped, problems = report.collapsed, report.skipped, report.problems
            try:
                plan_index(writer.total, encoder.dim, plan.search)  # before the long work
            except SettingsError:
                writer.give_up()
                raise
            resumed = writer.done
            begin = time.perf_counter()
            advance, shards = counting(progress, resumed, writer.total), writer.pending_shards()
            if engine == "ray":
                encoded = encode_on_cluster(shards, encoder, described, ray_address, advance)
            else:
                encoded = encode_here(shards, encoder, advance)
            with closing(encoded):  # a cluster is left at once, whatever happens
                for shard, (vectors, truncated) in encoded:
                    writer.commit(shard, vectors, truncated)
            encoding = time.perf_counter() - begin
            making = writer.finish()
            seconds = {"encoding": encoding, "search": making.search, "words": making.words}
        return BuildReport(
            folder=folder,
            documents=writer.facts.documents,
            chunks=writer.facts.rows,
            collapsed=collapsed,
            skipped=skipped,
            problems=problems,
            truncated=writer.facts.truncation.documents,
            truncated_documents=writer.facts.truncation.first,
            max_length=encoder.max_length,
            resumed=resumed,
            seconds=seconds,
            changed=changed,
        )


def build_documents(
    documents: Iterable[Document],
    index: str | Path,
    *,
    encoder: EncoderSettings | SentenceEncoder | None = None,
    search: IndexSettings | None = None,
    replace: bool = False,
) -> BuildReport:
    """Build an index of documents that are in memory: ``build``, without a corpus file.

    They are written to a temporary file, of which ``build`` reads. Raises what ``build`` raises.
    """
    text, id_ = "simsearch:text", "simsearch:id"  # which no metadata has
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "documents.jsonl"
        with corpus.open("w", encoding="utf-8") as file:
            for document in documents:
                row = {**document.metadata, text: document.text, id_: document.id}
                file.write(json.dumps(row) + "\n")
        return build(
            corpus,
            index,
            encoder=encoder,
            text_column=text,
            id_column=id_,
            search=search,
            replace=replace,
        )


def _check_engine(
    engine: Engine, ray_address: str | None, encoder: EncoderSettings | SentenceEncoder | None
) -> None:
    if engine not in ENGINES:
        raise SettingsError(f"the engine is {engine!r}; give one of {', '.join(ENGINES)}")
    if engine == "ray" and isinstance(encoder, SentenceEncoder):
        raise SettingsError("engine 'ray' loads the encoder on each machine; give EncoderSettings")
    if engine == "ray":
        check_cluster(ray_address)  # before the corpus is read
    elif ray_address is not None:
        raise SettingsError(f"the Ray address {ray_address} is of use with engine 'ray' only")


def _check_chunk(chunk: Chunk | None, encoder: Encoder) -> None:
    """SettingsError if so many tokens don't fit into the encoder beside its own."""
    if chunk is None:
        return
    tokens, _ = chunk
    room = encoder.max_length - encoder.token_counts([""])[0]
    if tokens > room:
        raise SettingsError(
            f"chunk is {tokens} tokens, and the encoder takes {encoder.max_length}, its special "
            f"tokens and prompt included; give {room} at most"
        )


def chunk_spans(chunk: Chunk | None, encoder: Encoder) -> Spans | None:
    """What cuts texts into chunks, if they are to be cut."""
    if chunk is None:
        return None
    tokens, overlap = chunk
    return lambda texts: encoder.spans(texts, tokens, overlap)


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
        **encoder.checkpoint.overrides,
        "pooling": encoder.pooling.name,
        "layers": list(encoder.pooling.layers) or None,
        "whitening": str(source) if source else None,
        "dim": encoder.dim if source else None,
    }
