"""The verbs about an index: build, query, info.

The pipeline, and with it NumPy, FAISS and the rest, is imported inside the commands: `--help` and a
mistyped option answer at once.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import nullcontext, redirect_stdout
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from simsearch.cli.options import (
    Numbers,
    config_option,
    corpus_argument,
    corpus_options,
    counted,
    duplicates_option,
    encoder_options,
    encoder_overrides,
    filter_option,
    index_options,
    json_option,
    model_option,
    pooling_option,
    print_json,
    reranker_option,
    settings_from,
    unicode_text,
)
from simsearch.errors import CorpusError
from simsearch.readers import stream_lines, without_line_end

if TYPE_CHECKING:
    from simsearch.answering import Answering
    from simsearch.config import Engine
    from simsearch.pipeline import BuildReport

# Queries from a pipe are answered this many at a time: few enough to wait for, enough to batch.
_QUERIES_AT_ONCE = 256

index_argument = click.argument("index", type=click.Path(path_type=Path), metavar="DIR")


@click.command()
@corpus_argument
@click.option(
    "--index", type=click.Path(path_type=Path), metavar="DIR", help="[default: indexes/<CORPUS>]"
)
@click.option("--replace", is_flag=True, help="Build anew what DIR holds.")
@click.option(
    "--chunk",
    type=Numbers("200,40"),
    metavar="TOKENS[,OVERLAP]",
    help="Cut texts into chunks of so many tokens, each with a vector.",
)
@click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="Who encodes: this machine, or a Ray cluster.",
)
@click.option("--ray-address", metavar="HOST:PORT", help="[default: $RAY_ADDRESS, or here]")
@model_option
@pooling_option
@encoder_options
@corpus_options
@duplicates_option
@index_options
@config_option
@json_option
def build(
    corpus: tuple[str, ...],
    index: Path | None,
    replace: bool,
    engine: Engine,
    ray_address: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Build an index of CORPUS: .txt, .csv, .tsv, .jsonl (each also .gz) or .parquet files.

    An interrupted build resumes when the same command is run again. CORPUS may also be a URI of a
    file system that fsspec knows.

    \b
    simsearch build faq.csv --text-column question --id-column number
    simsearch build news.csv --type year=integer --type tags=list
    simsearch build notes.txt news.jsonl.gz --index indexes/all --on-error skip
    simsearch build articles.jsonl --chunk 200,40
    simsearch build s3://bucket/corpus.jsonl.gz --engine ray --ray-address 10.0.0.1:6379
    """
    from simsearch import pipeline
    from simsearch.cli.render import printable, progress_bar

    settings = settings_from(options)
    # what Ray has to say, it says where the answer goes
    aside = redirect_stdout(sys.stderr) if engine == "ray" else nullcontext()
    with progress_bar("Building") as progress, aside:
        report = pipeline.build(
            corpus,
            index,
            encoder=settings.encoder,
            text_column=settings.corpus.text_column,
            id_column=settings.corpus.id_column,
            types=settings.corpus.types,
            on_error=settings.corpus.on_error,
            duplicates=settings.corpus.duplicates,
            chunk=settings.corpus.chunk,
            search=settings.index,
            replace=replace,
            engine=engine,
            ray_address=ray_address,
            progress=progress,
        )
    if as_json:
        print_json({**asdict(report), "folder": str(report.folder)})
    chunked = settings.corpus.chunk is not None
    for line in (*_row_messages(report), _build_message(report, chunked)):
        click.echo(printable(line), err=True)


def row_problems(problems: Sequence[str], skipped: int) -> Iterator[str]:
    """What is said of rows that could not be used, the first of which are named."""
    for problem in problems:
        yield f"skipped {problem}"
    if skipped > len(problems):
        yield f"… and {skipped - len(problems):,} more"


def _row_messages(report: BuildReport) -> Iterator[str]:
    yield from row_problems(report.problems, report.skipped)
    if report.changed:
        for id_, tokens in report.truncated_documents:
            yield f"cut {id_}: {tokens:,} tokens, the encoder takes {report.max_length:,}"
        if report.truncated > len(report.truncated_documents):
            yield f"… and {report.truncated - len(report.truncated_documents):,} more"


def _build_message(report: BuildReport, chunked: bool) -> str:
    done = f"{report.folder}{'' if report.changed else ' is up to date'}: "
    done += counted(report.documents, "document")
    if chunked:
        done += f" in {counted(report.chunks, 'chunk')}"
    if report.resumed:
        done += f", {report.resumed:,} of them from the interrupted build"
    if report.collapsed:
        done += f"; {counted(report.collapsed, 'row')} with a text that was there already"
    if report.skipped:
        done += f"; {counted(report.skipped, 'row')} skipped"
    if report.truncated:
        done += f"; {counted(report.truncated, 'text')} cut to the model's length"
        done += "" if chunked else " (--chunk indexes such texts whole)"
    return done if report.changed else f"{done}; nothing to do"


@click.command()
@click.argument("index", metavar="DIR")
@click.argument("text", nargs=-1, callback=unicode_text)
@click.option("-k", type=click.IntRange(min=1), metavar="N", help="Hits per query.  [default: 10]")
@click.option(
    "--threshold",
    type=click.FloatRange(-1, 1),
    metavar="X",
    help="Only hits of this score or more.",
)
@filter_option
@click.option(
    "--mode",
    type=click.Choice(["dense", "lexical", "hybrid"]),
    help="By vectors, by words (BM25), or by both.  [default: dense]",
)
@click.option(
    "--rerank",
    type=click.Choice(["order"]),
    help="Look again at hits that have the query's words: do they say the same?",
)
@reranker_option
@model_option
@pooling_option
@encoder_options
@config_option
@json_option
def query(
    index: str, text: tuple[str, ...], filter: dict[str, Any] | None, as_json: bool, **options: Any
) -> None:
    """Find the documents of DIR that are nearest to each TEXT (or to each line of stdin).

    The score is the cosine similarity. "higher than" says how many of 100 random pairs of documents
    score lower: a high cosine means little where all cosines are high. The encoder is the one of
    the index; --model and the like are only for one that has moved. DIR may also be an index in
    Milvus, milvus+URI or milvus+URI#COLLECTION: see `simsearch export --to milvus`.

    \b
    simsearch query indexes/faq "怎么退款？" "Where is my parcel?" -k 3
    simsearch query indexes/faq "ERR_1043 退款" --mode hybrid
    simsearch query indexes/faq "refund" --filter '{"language": "en", "year": {"$gte": 2020}}'
    simsearch query indexes/faq --json < questions.txt > hits.jsonl
    simsearch query milvus+http://localhost:19530#faq "怎么退款？"
    """
    from simsearch import pipeline
    from simsearch.cli.render import loading, print_hits, print_truncation
    from simsearch.milvus import PREFIX
    from simsearch.records import hits_as_json

    settings = settings_from(options)
    wanted = settings.query
    given = encoder_overrides(options)
    searcher: Answering
    with loading(options["model"]):
        if index.startswith(PREFIX):
            searcher = pipeline.open_milvus(index, overrides=given, reranker=wanted.reranker)
        else:
            searcher = pipeline.open_index(index, overrides=given, reranker=wanted.reranker)
    with searcher:
        for texts in [list(text)] if text else line_batches(stdin_lines()):
            answers = searcher.search(
                texts, wanted.k, wanted.threshold, filter, wanted.mode, wanted.rerank
            )
            for asked, hits in zip(texts, answers, strict=True):
                if as_json:
                    print_json(hits_as_json(asked, hits))
                else:
                    print_hits(asked, hits)
        print_truncation(searcher.encoder.truncated)


def stdin_lines() -> Iterator[str]:
    """The lines of stdin; CorpusError for one that is no UTF-8."""
    for number, line, reason in stream_lines(sys.stdin.buffer, "stdin"):
        if reason is not None:
            raise CorpusError(f"stdin, line {number}: {reason}")
        yield without_line_end(line)


def line_batches(lines: Iterator[str]) -> Iterator[list[str]]:
    """The lines, so many at once as are worth it."""
    batch = []
    for line in lines:
        batch.append(line)
        # someone who types waits for an answer to each line
        if len(batch) == _QUERIES_AT_ONCE or sys.stdin.isatty():
            yield batch
            batch = []
    if batch:
        yield batch


@click.command()
@index_argument
@json_option
def info(index: Path, as_json: bool) -> None:
    """Say what the index DIR holds, which encoder made it, and how well it is searched."""
    from simsearch.cli.render import print_facts
    from simsearch.store import StoredIndex

    with StoredIndex.open(index) as stored:
        facts = stored.info()
    if as_json:
        print_json(facts)
    else:
        print_facts(facts)


@click.command()
@index_argument
@click.option(
    "--threshold",
    default=0.95,
    show_default=True,
    type=click.FloatRange(0, 1, min_open=True),
    metavar="X",
    help="The least cosine of two documents that are put together.",
)
@json_option
def duplicates(index: Path, threshold: float, as_json: bool) -> None:
    """List the clusters of documents in DIR that say nearly the same, greatest first.

    \b
    simsearch duplicates indexes/faq --threshold 0.97
    """
    from simsearch.cli.render import print_cluster, progress_bar
    from simsearch.duplicates import near_duplicates
    from simsearch.store import StoredIndex

    with StoredIndex.open(index) as stored, progress_bar("Comparing") as progress:
        for cluster in near_duplicates(stored, threshold, progress):
            if as_json:
                documents = [
                    {"id": d.document.id, "score": d.score, "text": d.document.text}
                    for d in cluster
                ]
                print_json({"size": len(cluster), "documents": documents})
            else:
                print_cluster(cluster)
