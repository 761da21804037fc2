"""The verb benchmark."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from simsearch.cli.options import (
    LayersOrEach,
    computation_options,
    config_option,
    corpus_options,
    json_option,
    print_json,
    reranker_option,
    settings_from,
    several,
)


@click.command()
@click.option("--pairs", multiple=True, metavar="FILE", help="score<TAB>sentence1<TAB>sentence2.")
@click.option("--retrieval", multiple=True, metavar="DIR", help="A folder in BEIR layout.")
@click.option(
    "--classification",
    multiple=True,
    metavar="PATH",
    help="Labelled texts: a folder with train and test, or one file.",
)
@click.option(
    "--word-order",
    multiple=True,
    metavar="FILE",
    help='Triples: sentence, paraphrase, swap; "word-order" is the built-in suite.',
)
@click.option("--label-column", metavar="NAME", help="Column with the labels.  [default: label]")
@click.option("--model", "models", multiple=True, metavar="M", help="May be given several times.")
@click.option(
    "--pooling", "poolings", multiple=True, metavar="P", help="May be given several times."
)
@click.option(
    "--layers",
    type=LayersOrEach("0,-1"),
    multiple=True,
    metavar="L",
    help='Hidden states to pool: 0,-1; "each": every one by itself, and the pooling\'s own.',
)
@click.option("--whitening", metavar="FILE", help="A whitening that `simsearch whiten` fitted.")
@click.option(
    "--whiten-on",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="CORPUS",
    help="Training texts to fit a whitening on for each strategy.",
)
@click.option(
    "--dim",
    "dims",
    type=click.IntRange(min=1),
    multiple=True,
    metavar="N",
    help="Whitened dimensions to keep; with --whiten-on several times.",
)
@click.option(
    "--rerank",
    type=click.Choice(["order"]),
    help="Also with pairs of the same words looked at again.",
)
@reranker_option
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Also write DIR/results.jsonl and the page DIR/report.html.",
)
@computation_options
@corpus_options
@config_option
@json_option
def benchmark(
    pairs: tuple[str, ...],
    retrieval: tuple[str, ...],
    classification: tuple[str, ...],
    word_order: tuple[str, ...],
    label_column: str | None,
    models: tuple[str, ...],
    poolings: tuple[str, ...],
    layers: tuple[Any, ...],
    whitening: str | None,
    whiten_on: tuple[Path, ...],
    dims: tuple[int, ...],
    out: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Compare poolings on your own data, or on the built-in word-order suite.

    Of config.yaml it takes the model and the poolings to compare, and no layers or whitening.
    Each text goes through a model once, whatever the number of strategies, and what the model gave
    is kept in the cache: a benchmark that was interrupted goes on. Computed in float32 unless told
    otherwise; intervals are 95 % bootstrap intervals.

    \b
    simsearch benchmark
    simsearch benchmark --pairs stsb-dev.tsv --retrieval cmrc2018/ --pooling mean --pooling cls
    simsearch benchmark --classification intents/ --layers each --out report/
    simsearch benchmark --pairs dev.tsv --whiten-on corpus.txt --dim 256 --dim 128 --out report/
    """
    from simsearch import pipeline
    from simsearch.cli.render import print_results, progress_bar

    if whiten_on and whitening:
        raise click.UsageError("--whitening and --whiten-on: give one of them")
    if len(dims) > 1 and not whiten_on:
        raise click.UsageError("--dim several times needs --whiten-on CORPUS")
    settings = settings_from(options, default_precision="float32")
    # asked for on the command line only: it doubles the work
    comparer = settings.query.reranker if options["rerank"] else None
    # what config.yaml says comes after the hidden states is one strategy; this compares many
    compared = {
        "pooling": None,
        "layers": None,
        "whitening": whitening,
        "dim": dims[0] if dims and not whiten_on else None,
    }
    tasks = pipeline.read_tasks(
        pairs,
        retrieval,
        word_order,
        classification,
        label_column=label_column,
        corpus=settings.corpus,
    )
    if out is not None:
        pipeline.check_report_folder(out)
    sweep = pipeline.Sweep(
        several(poolings) or settings.benchmark.poolings,
        _readings(layers) or [None],
        list(pipeline.corpus_texts(whiten_on, settings.corpus)) if whiten_on else (),
        list(dict.fromkeys(dims)) if whiten_on and dims else [None],
    )
    names = several(models) or [settings.encoder.model]
    encoders = [settings.encoder.model_copy(update={**compared, "model": name}) for name in names]
    with progress_bar("Encoding") as progress:
        results = pipeline.benchmark(tasks, encoders, sweep, progress, reranker=comparer)
    pipeline.trim_pooled(settings.benchmark.cache)
    for result in results:
        if as_json:
            print_json(result.as_json())
    if not as_json:
        print_results(results)
    if out is not None:
        written = pipeline.write_report(results, out)
        click.echo(f"wrote {' and '.join(map(str, written))}", err=True)


def _readings(layers: tuple[Any, ...]) -> list[Any]:
    """The readings of a sweep; "each" brings the pooling's own with it."""
    found: list[Any] = []
    for given in layers:
        found += [None, "each"] if given == "each" else [tuple(given)]
    return list(dict.fromkeys(found))
