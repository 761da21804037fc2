"""The verbs of the command line.

The pipeline, and with it NumPy, FAISS and the rest, is imported inside the commands: `--help` and a
mistyped option answer at once.
"""

from __future__ import annotations

import codecs
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from simsearch import __version__
from simsearch.cli.options import (
    EXISTING_FILE,
    config_option,
    corpus_options,
    encoder_options,
    json_option,
    model_option,
    pooling_option,
    settings_from,
    several,
)
from simsearch.errors import CorpusError

# Queries from a pipe are answered this many at a time: few enough to wait for, enough to batch.
_QUERIES_AT_ONCE = 256

corpus_argument = click.argument(
    "corpus", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="CORPUS..."
)
index_argument = click.argument("index", type=click.Path(path_type=Path), metavar="DIR")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, message="simsearch %(version)s")
def cli() -> None:
    """Semantic search over sentences, Chinese and English, with BERT.

    \b
    simsearch build faq.csv                      index the column "text" into indexes/faq
    simsearch query indexes/faq "怎么退款？"       the nearest sentences
    simsearch benchmark --pooling mean --pooling cls
                                                 what each pooling knows of word order
    """


@cli.command()
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
    from simsearch.cli.render import loading, progress_bar

    settings = settings_from(options)
    with loading():
        encoder = pipeline.load_encoder(settings.encoder)
    with progress_bar("Encoding") as progress:
        report = pipeline.build(
            corpus,
            index,
            encoder=encoder,
            text_column=settings.corpus.text_column,
            id_column=settings.corpus.id_column,
            on_error=settings.corpus.on_error,
            replace=replace,
            progress=progress,
        )
    if as_json:
        _print_json({**_fields(report), "folder": str(report.folder)})
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


@cli.command()
@index_argument
@click.argument("text", nargs=-1)
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
    from simsearch.cli.render import hits_as_json, loading, print_hits

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
                    _print_json(hits_as_json(asked, hits))
                else:
                    print_hits(asked, hits)


def _stdin_lines() -> Iterator[str]:
    for number, line in enumerate(sys.stdin.buffer, start=1):
        if number == 1:
            line = line.removeprefix(codecs.BOM_UTF8)
        try:
            yield line.decode("utf-8").removesuffix("\n").removesuffix("\r")
        except UnicodeDecodeError as error:
            raise CorpusError(
                f"stdin, line {number}: not UTF-8 ({error.reason} at byte {error.start + 1})"
            ) from None


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


@cli.command()
@index_argument
@json_option
def info(index: Path, as_json: bool) -> None:
    """Say what the index DIR holds and which encoder made it; every file is checked."""
    from simsearch.cli.render import print_facts
    from simsearch.store import StoredIndex

    with StoredIndex.open(index) as stored:
        facts = stored.info()
    if as_json:
        _print_json(facts)
    else:
        print_facts(facts)


@cli.command()
@click.argument("file", type=EXISTING_FILE)
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), metavar="X.npy", help="What to write."
)
@model_option
@pooling_option
@encoder_options
@config_option
def encode(file: Path, out: Path, **options: Any) -> None:
    """Encode each line of FILE, empty ones included, into a row of an .npy file.

    Rows are float32 and of unit length, so that their inner products are cosines.

    \b
    simsearch encode sentences.txt --out vectors.npy --pooling first_last_mean
    """
    from simsearch import pipeline
    from simsearch.cli.render import loading, progress_bar

    settings = settings_from(options)
    with loading():
        encoder = pipeline.load_encoder(settings.encoder)
    with progress_bar("Encoding") as progress:
        rows = pipeline.encode_file(encoder, file, out, progress)
    click.echo(f"{out}: {rows:,} rows of {encoder.dim}", err=True)


@cli.command()
@click.argument("text_a")
@click.argument("text_b")
@click.option(
    "--pooling", "poolings", multiple=True, metavar="P", help="May be given several times."
)
@model_option
@encoder_options
@config_option
@json_option
def similarity(
    text_a: str, text_b: str, poolings: tuple[str, ...], as_json: bool, **options: Any
) -> None:
    """Print the cosine similarity of two texts, computed in float32 unless told otherwise.

    \b
    simsearch similarity 张三请李四吃饭。 李四请张三吃饭。 --pooling static_mean --pooling mean
    """
    from simsearch import pipeline
    from simsearch.cli.render import loading

    for pooling in several(poolings) or (None,):
        settings = settings_from({**options, "pooling": pooling}, default_precision="float32")
        with loading():
            encoder = pipeline.load_encoder(settings.encoder)
        a, b = encoder.encode([text_a, text_b], prompt="query")
        score = float(a.astype("float64") @ b)
        name = encoder.pooling.name
        if as_json:
            _print_json({"a": text_a, "b": text_b, "pooling": name, "score": score})
        else:
            click.echo(f"{score:.6f}  {name}")


@cli.command()
@click.option("--pairs", multiple=True, metavar="FILE", help="score<TAB>sentence1<TAB>sentence2.")
@click.option("--retrieval", multiple=True, metavar="DIR", help="A folder in BEIR layout.")
@click.option(
    "--word-order", multiple=True, metavar="FILE", help="Triples: sentence, paraphrase, swap."
)
@click.option("--model", "models", multiple=True, metavar="M", help="May be given several times.")
@click.option(
    "--pooling", "poolings", multiple=True, metavar="P", help="May be given several times."
)
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="DIR", help="Also write DIR/results.jsonl."
)
@encoder_options
@config_option
@json_option
def benchmark(
    pairs: tuple[str, ...],
    retrieval: tuple[str, ...],
    word_order: tuple[str, ...],
    models: tuple[str, ...],
    poolings: tuple[str, ...],
    out: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Compare poolings on your own data, or on the built-in word-order suite.

    Computed in float32 unless told otherwise; intervals are 95 % bootstrap intervals.

    \b
    simsearch benchmark
    simsearch benchmark --pairs stsb-dev.tsv --retrieval cmrc2018/ --pooling mean --pooling cls
    """
    from simsearch import pipeline
    from simsearch.cli.render import print_results
    from simsearch.evaluation.report import write_results

    settings = settings_from(options, default_precision="float32")
    tasks = pipeline.read_tasks(pairs, retrieval, word_order)
    encoders = [
        settings_from(
            {**options, "model": model, "pooling": pooling}, default_precision="float32"
        ).encoder
        for model in several(models) or [settings.encoder.model]
        for pooling in several(poolings) or settings.benchmark.poolings
    ]
    results = []
    for result in pipeline.benchmark(tasks, encoders):
        results.append(result)
        if as_json:
            _print_json(result.as_json())
        elif sys.stderr.isatty():
            click.echo(f"{result.result.task}  {result.model}  {result.pooling}", err=True)
    if not as_json:
        print_results(results)
    if out is not None:
        click.echo(f"wrote {write_results(results, out)}", err=True)


@cli.command()
@corpus_argument
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), metavar="W.npz", help="What to write."
)
@model_option
@pooling_option
@encoder_options
@corpus_options
@config_option
def whiten(corpus: tuple[Path, ...], out: Path, **options: Any) -> None:
    """Fit a whitening on the texts of CORPUS, for --whitening and --dim.

    Fit it on texts like those that will be searched, never on the ones that a benchmark scores.

    \b
    simsearch whiten faq.csv --out faq-whitening.npz --pooling first_last_mean
    simsearch build faq.csv --pooling first_last_mean --whitening faq-whitening.npz --dim 128
    """
    from simsearch import pipeline
    from simsearch.cli.render import loading, progress_bar

    settings = settings_from(options, default_precision="float32")
    with loading():
        encoder = pipeline.load_encoder(settings.encoder)
    with progress_bar("Encoding") as progress:
        whitening = pipeline.fit_whitening(encoder, corpus, settings.corpus, progress)
    whitening.save(out)
    click.echo(
        f"{out}: fitted on {whitening.rows:,} texts, gives up to {whitening.rank} dimensions",
        err=True,
    )


def _fields(record: Any) -> dict[str, Any]:
    return {name: getattr(record, name) for name in record.__slots__}


def _print_json(value: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n")
