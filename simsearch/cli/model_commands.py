"""The verbs about models: which there are, fetching one, exporting one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from simsearch.cli.options import (
    config_option,
    encoder_options,
    json_option,
    model_option,
    pooling_option,
    print_json,
    settings_from,
)


@click.command()
@click.option(
    "--fetch",
    "names",
    multiple=True,
    metavar="M",
    help="Fetch M now, or what is new of it; may be given several times.",
)
@json_option
def models(names: tuple[str, ...], as_json: bool) -> None:
    """List the models that have a short name, and whether this machine has them.

    --model takes such a name, or a folder, an archive (.zip, .tar.gz) by path or URL, or owner/name
    on the Hugging Face hub. What is missing is fetched when it is first used.

    \b
    simsearch models
    simsearch models --fetch bge-small-zh-v1.5 --fetch hfl/chinese-macbert-base
    """
    from simsearch.checkpoint import load_checkpoint
    from simsearch.cli.render import print_models
    from simsearch.sources import MODELS, find_source, printable_name, state_of

    for asked in names:
        name, source = printable_name(asked), find_source(asked, refresh=True)
        load_checkpoint(source.reference, offline=True)  # that it can be used is worth knowing now
        if as_json:
            print_json({"name": name, "reference": source.reference, "folder": str(source.folder)})
        else:
            click.echo(f"{name}: {source.folder}")
    if names:
        return
    rows = [(model, state_of(model)) for model in MODELS.values()]
    if not as_json:
        print_models(rows)
        return
    for model, state in rows:
        print_json({**_as_json(model), "state": state or None})


@click.command()
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="What to write: a new or empty folder.",
)
@model_option
@pooling_option
@encoder_options
@config_option
@json_option
def export_hf(out: Path, as_json: bool, **options: Any) -> None:
    """Write a model for sentence-transformers, which then gives the same vectors.

    Pooling, layers, whitening and prompts go with it, and simsearch loads the folder as the same
    encoder. What sentence-transformers would compute otherwise is refused: NEZHA, static_mean, and
    max over several layers.

    \b
    simsearch export-hf --out zhen-small-128 --whitening faq-whitening.npz --dim 128
    """
    from simsearch import pipeline
    from simsearch.cli.render import loading

    settings = settings_from(options)
    with loading(settings.encoder.model):
        encoder = pipeline.load_encoder(settings.encoder)
        encoder.export_hf(out)
    if as_json:
        print_json({"out": str(out), "dim": encoder.dim, "fingerprint": encoder.fingerprint})
    click.echo(f"{out}: a model for sentence-transformers, {encoder.dim} dimensions", err=True)


def _as_json(model: Any) -> dict[str, Any]:
    return {
        "name": model.name,
        "languages": model.languages,
        "licence": model.licence,
        "source": model.source,
        "package": model.package[0] if model.package else None,
        "weights": model.weights,
        "pooling": model.pooling,
        "prompts": dict(model.prompts),
        "tuned": model.tuned,
        "reads_pairs": model.reads_pairs,
    }
