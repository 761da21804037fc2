"""The verb that finds something to train on in an index."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from simsearch.cli.index_commands import index_argument
from simsearch.cli.options import (
    EXISTING_FILE,
    config_option,
    counted,
    encoder_options,
    encoder_overrides,
    json_option,
    model_option,
    pooling_option,
    print_json,
)


@click.command()
@index_argument
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), metavar="FILE", help="What to write."
)
@click.option(
    "--examples",
    type=EXISTING_FILE,
    metavar="FILE",
    help="Find hard negatives for these: text<TAB>counterpart.",
)
@click.option(
    "--negatives",
    type=click.IntRange(1),
    metavar="N",
    help="Of each example.  [default: 5]",
)
@click.option(
    "--margin",
    type=click.FloatRange(0, 1, min_open=True),
    metavar="X",
    help="Their cosines are below so much of the counterpart's.  [default: 0.95]",
)
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1, min_open=True),
    metavar="X",
    help="Without --examples: the least cosine of two texts.  [default: 0.8]",
)
@model_option
@pooling_option
@encoder_options
@config_option
@json_option
def mine(
    index: Path,
    out: Path,
    examples: Path | None,
    negatives: int | None,
    margin: float | None,
    threshold: float | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Find hard negatives, or pairs that may be paraphrases, in the index DIR.

    With --examples each of them is written with the documents that are nearest to its text and yet
    wrong: what the encoder that made the index has still to learn to tell apart. Without, the pairs
    of texts that are nearest to each other are written with their cosines, for somebody to look at.

    \b
    simsearch mine indexes/faq --examples pairs.tsv --out hard.tsv
    simsearch train contrastive --data hard.tsv --out tuned
    simsearch mine indexes/faq --threshold 0.85 --out paraphrases.tsv
    """
    from simsearch import pipeline
    from simsearch.cli.render import progress_bar

    if examples is None and (negatives, margin) != (None, None):
        raise click.UsageError("--negatives and --margin are for --examples; give them too")
    if examples is not None and threshold is not None:
        raise click.UsageError("--threshold is for pairs; with --examples give --margin")
    overrides = encoder_overrides(options)
    with progress_bar("Mining") as progress:
        if examples is None:
            report = pipeline.mine_paraphrases(
                index, out, threshold=threshold or 0.8, progress=progress
            )
        else:
            report = pipeline.mine_negatives(
                index,
                examples,
                out,
                count=negatives or 5,
                margin=margin or 0.95,
                overrides=overrides,
                progress=progress,
            )
    if as_json:
        print_json({"out": str(out), "lines": report.lines, "examples": report.examples})
    click.echo(f"{out}: {counted(report.lines, 'line')}", err=True)
    if report.examples is not None and report.lines < report.examples:
        click.echo(
            f"{counted(report.examples - report.lines, 'example')} left out: not so many documents "
            "are wrong enough",
            err=True,
        )
