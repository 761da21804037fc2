"""The verbs about an encoder: encode, similarity, whiten, calibrate.

The pipeline, and with it NumPy, FAISS and the rest, is imported inside the commands: `--help` and a
mistyped option answer at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from simsearch.cli.options import (
    EXISTING_FILE,
    config_option,
    corpus_argument,
    corpus_options,
    counted,
    encoder_options,
    json_option,
    model_option,
    pooling_option,
    print_json,
    settings_from,
    several,
    unicode_text,
)
from simsearch.files import check_new_file


@click.command()
@click.argument("file", type=EXISTING_FILE)
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), metavar="X.npy", help="What to write."
)
@model_option
@pooling_option
@encoder_options
@config_option
@json_option
def encode(file: Path, out: Path, as_json: bool, **options: Any) -> None:
    """Encode each line of FILE, empty ones included, into a row of an .npy file.

    Rows are float32 and of unit length, so that their inner products are cosines.

    \b
    simsearch encode sentences.txt --out vectors.npy --pooling first_last_mean
    """
    from simsearch import pipeline
    from simsearch.cli.render import loading, print_truncation, progress_bar

    settings = settings_from(options)
    check_new_file(out)
    with loading(settings.encoder.model):
        encoder = pipeline.load_encoder(settings.encoder)
    with progress_bar("Encoding") as progress:
        rows = pipeline.encode_file(encoder, file, out, progress)
    if as_json:
        print_json({"out": str(out), "rows": rows, "dim": encoder.dim})
    click.echo(f"{out}: {counted(rows, 'row')} of {encoder.dim}", err=True)
    print_truncation(encoder.truncated)


@click.command()
@click.argument("text_a", callback=unicode_text)
@click.argument("text_b", callback=unicode_text)
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
    from simsearch.cli.render import loading, print_truncation

    for pooling in several(poolings) or (None,):
        settings = settings_from({**options, "pooling": pooling}, default_precision="float32")
        with loading(settings.encoder.model):
            encoder = pipeline.load_encoder(settings.encoder)
        a, b = encoder.encode([text_a, text_b], prompt="query")
        score = max(-1.0, min(1.0, float(a.astype("float64") @ b)))
        name = encoder.pooling.name
        if as_json:
            print_json({"a": text_a, "b": text_b, "pooling": name, "score": score})
        else:
            click.echo(f"{score:.6f}  {name}")
    print_truncation(encoder.truncated)


@click.command()
@corpus_argument
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), metavar="W.npz", help="What to write."
)
@model_option
@pooling_option
@encoder_options
@corpus_options
@config_option
@json_option
def whiten(corpus: tuple[str, ...], out: Path, as_json: bool, **options: Any) -> None:
    """Fit a whitening on the texts of CORPUS, for --whitening and --dim.

    Fit it on texts like those that will be searched, never on the ones that a benchmark scores.

    \b
    simsearch whiten faq.csv --out faq-whitening.npz --pooling first_last_mean
    simsearch build faq.csv --pooling first_last_mean --whitening faq-whitening.npz --dim 128
    """
    from simsearch import pipeline
    from simsearch.cli.render import loading, print_truncation, progress_bar

    settings = settings_from(options, default_precision="float32")
    check_new_file(out)
    with loading(settings.encoder.model):
        encoder = pipeline.load_encoder(settings.encoder)
    with progress_bar("Encoding") as progress:
        whitening = pipeline.fit_whitening(encoder, corpus, settings.corpus, progress)
    whitening.save(out)
    if as_json:
        print_json({"out": str(out), "texts": whitening.rows, "rank": whitening.rank})
    click.echo(
        f"{out}: fitted on {whitening.rows:,} texts, gives up to {whitening.rank} dimensions",
        err=True,
    )
    print_truncation(encoder.truncated)


@click.command()
@corpus_argument
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), metavar="C.npz", help="What to write."
)
@model_option
@pooling_option
@encoder_options
@corpus_options
@config_option
@json_option
def calibrate(corpus: tuple[str, ...], out: Path, as_json: bool, **options: Any) -> None:
    """Measure on the texts of CORPUS what --precision int8 needs to know of a model.

    Reads 1,024 texts from all over it: half to see how large the model's values are, half to see
    what int8 loses. Nothing is written where that is too much.

    \b
    simsearch calibrate faq.csv --out faq-int8.npz
    simsearch build faq.csv --precision int8 --calibration faq-int8.npz
    """
    from simsearch import pipeline
    from simsearch.cli.render import loading, print_truncation, progress_bar

    # the model's own precision is what int8 is compared with
    settings = settings_from({**options, "precision": "float32"})
    check_new_file(out)
    with loading(settings.encoder.model):
        encoder = pipeline.load_encoder(settings.encoder)
    with progress_bar("Encoding") as progress:
        calibration = pipeline.fit_calibration(encoder, corpus, settings.corpus, progress)
    calibration.save(out)
    if as_json:
        print_json(
            {
                "out": str(out),
                "texts": calibration.texts,
                "held_out": calibration.held_out,
                "cosine": calibration.cosine,
                "least_cosine": calibration.least_cosine,
            }
        )
    click.echo(
        f"{out}: calibrated on {counted(calibration.texts, 'text')}; on {calibration.held_out:,} "
        f"others the cosine of int8 with float32 is {calibration.cosine:.4f} on average, "
        f"{calibration.least_cosine:.4f} at least",
        err=True,
    )
    print_truncation(encoder.truncated)
