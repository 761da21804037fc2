"""The verbs about an index: build, query, info.

The pipeline, and with it NumPy, FAISS and the rest, is imported inside the commands: `--help` and a
mistyped option answer at once.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from simsearch.cli.options import (
    config_option,
    corpus_argument,
    corpus_options,
    encoder_options,
    json_option,
    model_option,
    pooling_option,
    print_json,
    settings_from,
    unicode_text,
)
from simsearch.errors import CorpusError
from simsearch.readers import stream_lines, without_line_end

# Queries from a pipe are answered this many at a time: few enough to wait for, enough to batch.
_QUERIES_AT_ONCE = 256

index_argument = click.argument("index", type=click.Path(path_type=Path), metavar="DIR")


@click.command()
@corpus_argument
@click.option(
    "--index", type=click.Path(path_type=Path), metavar="DIR", help="[default: indexes/<CORPUS>]"
)
@click.option("--replace", is_flag=True, help="Build anew what DIR holds.")
@model_option
@pooling_option
@encoder_options
@corpus_options
@config_option
@json_option
def build(
    corpus: tuple[Path, ...], index: Path | None, replace: bool, as_json: bool, **options: Any
) -> None:
    """Build an index of CORPUS: .txt, .csv, .tsv, .jsonl (each also .gz) or .parquet files.

    An interrupted build resumes when the same command is run again.

    \b
    simsearch build faq.csv --text-column question --id-column number
    simsearch build notes.txt news.jsonl.gz --index indexes/all --on-error skip
    """
    from simsearch import pipeline
    from simsearch.cli.render import progress_bar

    settings = settings_from(options)
    with progress_bar("Building") as progress:
        report = pipeline.build(
            corpus,
            index,
            encoder=settings.encoder,
            text_column=settings.corpus.text_column,
            id_column=settings.corpus.id_column,
            on_error=settings.corpus.on_error,
            replace=replace,
            progress=progress,
        )
    if as_json:
        print_json({**asdict(report), "folder": str(report.folder)})
    for line in _build_messages(report):
        click.echo(line, err=True)


def _build_messages(report: Any) -> Iterator[str]:
    if not report.changed:
        yield f"{report.folder} is up to date: {report.documents:,} documents; nothing to do"
        return
    for problem in report.problems:
        yield f"skipped {problem}"
    if report.skipped > len(report.problems):
        yield f"… and {report.skipped - len(report.problems):,} more"
    done = f"{report.folder}: {report.documents:,} documents"
    if report.resumed:
        done += f", {report.resumed:,} of them from the interrupted build"
    if report.skipped:
        done += f"; {report.skipped:,} rows skipped"
    if report.truncated:
        done += f"; {report.truncated:,} texts cut to the model's length"
    yield done


@click.command()
@index_argument
@click.argument("text", nargs=-1, callback=unicode_text)
@click.option("-k", type=click.IntRange(min=1), metavar="N", help="Hits per query.  [default: 10]")
@click.option(
    "--threshold",
    type=click.FloatRange(-1, 1),
    metavar="X",
    help="Only hits of this score or more.",
)
@model_option
@pooling_option
@encoder_options
@config_option
@json_option
def query(index: Path, text: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Find the documents of DIR that are nearest to each TEXT (or to each line of stdin).

    The score is the cosine similarity. "higher than" says how many of 100 random pairs of documents
    score lower: a high cosine means little where all cosines are high. The encoder is the one of
    the index; --model and the like are only for one that has moved.

    \b
    simsearch query indexes/faq "怎么退款？" "Where is my parcel?" -k 3
    simsearch query indexes/faq --json < questions.txt > hits.jsonl
    """
    from simsearch import pipeline
    from simsearch.cli.render import hits_as_json, loading, print_hits, print_truncation

    settings = settings_from(options)
    names = ("model", "pooling", "layers", "whitening", "dim", "precision", "runtime")
    given = {name: options[name] for name in names}
    given["precision"] = settings.encoder.precision
    given["runtime"] = settings.encoder.runtime
    with loading():
        searcher = pipeline.open_index(index, overrides=given)
    with searcher:
        for texts in [list(text)] if text else _batches(_stdin_lines()):
            answers = searcher.search(texts, settings.query.k, settings.query.threshold)
            for asked, hits in zip(texts, answers, strict=True):
                if as_json:
                    print_json(hits_as_json(asked, hits))
                else:
                    print_hits(asked, hits)
        print_truncation(searcher.encoder.truncated)


def _stdin_lines() -> Iterator[str]:
    for number, line, reason in stream_lines(sys.stdin.buffer, "stdin"):
        if reason is not None:
            raise CorpusError(f"stdin, line {number}: {reason}")
        yield without_line_end(line)


def _batches(lines: Iterator[str]) -> Iterator[list[str]]:
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
    """Say what the index DIR holds and which encoder made it; every file is checked."""
    from simsearch.cli.render import print_facts
    from simsearch.store import StoredIndex

    with StoredIndex.open(index) as stored:
        facts = stored.info()
    if as_json:
        print_json(facts)
    else:
        print_facts(facts)
