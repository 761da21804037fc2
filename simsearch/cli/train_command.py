"""The verbs that train an encoder, and predict with what was trained to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from simsearch.cli.index_commands import line_batches, stdin_lines
from simsearch.cli.options import (
    EXISTING_FILE,
    added,
    computation_options,
    config_option,
    counted,
    json_option,
    model_option,
    pooling_option,
    print_json,
    settings_from,
    unicode_text,
)

_METHODS = ("mlm", "simcse", "contrastive", "cosent", "distill", "classify", "label", "rerank")
_above_0 = click.FloatRange(0, min_open=True)
_share = click.FloatRange(0, 1, max_open=True)
_training_options = (
    click.option("--epochs", type=click.IntRange(1), metavar="N", help="Times.  [default: 1]"),
    click.option(
        "--batch-size", type=click.IntRange(2), metavar="N", help="Examples.  [default: 64]"
    ),
    click.option(
        "--accumulate", type=click.IntRange(1), metavar="N", help="Parts of a batch.  [default: 1]"
    ),
    click.option("--learning-rate", type=_above_0, metavar="X", help="The peak.  [default: 2e-5]"),
    click.option(
        "--warmup", type=click.FloatRange(0, 1), metavar="X", help="Share of steps.  [default: 0.1]"
    ),
    click.option(
        "--layer-decay",
        type=click.FloatRange(0, 1, min_open=True),
        metavar="X",
        help="The rate of a layer to that of the next.  [default: 1]",
    ),
    click.option("--weight-decay", type=click.FloatRange(0), metavar="X", help="[default: 0.01]"),
    click.option("--clip", type=_above_0, metavar="X", help="Norm of gradients.  [default: 1]"),
    click.option("--dropout", type=_share, metavar="X", help="[default: 0.1]"),
    click.option("--temperature", type=_above_0, metavar="X", help="Of cosines.  [default: 0.05]"),
    click.option(
        "--mask",
        type=click.FloatRange(0, 1, min_open=True, max_open=True),
        metavar="X",
        help="Share of tokens that mlm hides.  [default: 0.15]",
    ),
    click.option("--bfloat16/--float32", default=None, help="Large products.  [default: float32]"),
    click.option(
        "--evaluate-every", type=click.IntRange(1), metavar="N", help="Steps.  [default: an epoch]"
    ),
    click.option(
        "--patience",
        type=click.IntRange(1),
        metavar="N",
        help="Stop after so many evaluations without gain.  [default: never]",
    ),
    click.option("--seed", type=click.IntRange(0, 2**31 - 1), metavar="N", help="[default: 0]"),
)


@click.command()
@click.argument("method", type=click.Choice(_METHODS))
@click.option(
    "--data", multiple=True, required=True, type=EXISTING_FILE, metavar="FILE", help="Repeatable."
)
@click.option("--dev", type=EXISTING_FILE, metavar="FILE", help="To keep the best step by.")
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), metavar="DIR", help="What to write."
)
@click.option(
    "--least-score",
    type=float,
    metavar="X",
    help="contrastive: --data has graded pairs, and these belong together.",
)
@click.option(
    "--teacher", metavar="M", help="distill: a model, or an .npy file with a row for each text."
)
@click.option("--from-scratch", is_flag=True, help="mlm, distill: begin with random weights.")
@model_option
@pooling_option
@click.option("--max-length", type=click.IntRange(min=3), metavar="N", help="Tokens of a text.")
@click.option("--text-column", metavar="NAME", help="Of the texts of simcse, distill, mlm.")
@added(_training_options)
@config_option
@json_option
def train(
    method: str,
    data: tuple[Path, ...],
    dev: Path | None,
    out: Path,
    least_score: float | None,
    teacher: str | None,
    from_scratch: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Train an encoder on your own texts, and write it as a checkpoint.

    \b
    cosent       pairs with a score: score<TAB>sentence1<TAB>sentence2
    contrastive  what belongs together: text<TAB>counterpart[<TAB>false counterpart]...
    simcse       texts alone (a corpus)
    distill      texts alone, and the vectors that another model has for them
    classify     a table with the columns text and label, for `simsearch predict`
    label        a character or word and its tag a line, an empty line after each text; for the same
    rerank       pairs with 1 for the same meaning, 0 for another, for `--reranker`
    mlm          texts alone, to make the model know their words before the others

    --dev has pairs with a score; for mlm, classify and label, more of what they are trained on.
    Interrupted, the same command goes on, and ends with the same weights.

    \b
    simsearch train cosent --data train.tsv --dev dev.tsv --out tuned --epochs 4
    simsearch build faq.csv --model tuned
    """
    from simsearch import pipeline
    from simsearch.cli.render import progress_bar

    settings = settings_from(options)
    with progress_bar("Training") as progress:
        report = pipeline.train(
            method,  # type: ignore[arg-type]  # click has checked it
            data,
            out,
            dev=dev,
            encoder=settings.encoder,
            settings=settings.train,
            corpus=settings.corpus,
            least_score=least_score,
            teacher=teacher,
            from_scratch=from_scratch,
            progress=progress,
            evaluated=_print_evaluation,
        )
    if as_json:
        print_json(
            {
                "out": str(out),
                "examples": report.examples,
                "steps": report.steps,
                "best_step": report.best_step,
                "metric": report.metric,
                "first": report.first,
                "best": report.best,
            }
        )
    click.echo(f"{out}: trained on {counted(report.examples, 'example')}", err=True)
    if report.metric is not None:
        click.echo(
            f"{report.metric} {report.first:.4f} before, {report.best:.4f} after "
            f"{counted(report.best_step, 'step')} of {report.steps:,}",
            err=True,
        )


def _print_evaluation(row: Mapping[str, float]) -> None:
    measured = ", ".join(
        f"{name.replace('_', ' ')} {value:.4f}"
        for name, value in row.items()
        if name == "loss" or name.startswith("dev_")
    )
    if measured:  # before the first step nothing is, without a dev file
        click.echo(f"step {row['step']:,}: {measured}", err=True)


@click.command()
@click.argument("model", metavar="MODEL")
@click.argument("text", nargs=-1, callback=unicode_text)
@computation_options
@config_option
@json_option
def predict(model: str, text: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Say the class of each TEXT (or of each line of stdin), or the entities in it.

    MODEL is what `simsearch train classify` or `label` made; or `rerank`, whose texts are two, with
    a tab between: how probable it is that they mean the same.

    \b
    simsearch predict intents "Where is my card?"
    simsearch predict entities --json < resumes.txt > entities.jsonl
    """
    from simsearch import pipeline
    from simsearch.cli.render import loading, print_prediction

    settings = settings_from({**options, "model": model})
    with loading(model):
        predictor = pipeline.load_predictor(settings.encoder)
    for texts in [list(text)] if text else line_batches(stdin_lines()):
        for asked, found in zip(texts, pipeline.predict(predictor, texts), strict=True):
            if as_json:
                print_json({"text": asked, **found})
            else:
                print_prediction(asked, found)
