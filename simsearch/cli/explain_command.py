"""The verb explain."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from simsearch.cli.index_commands import index_argument
from simsearch.cli.options import (
    config_option,
    encoder_options,
    encoder_overrides,
    json_option,
    model_option,
    pooling_option,
    print_json,
    unicode_text,
)

if TYPE_CHECKING:
    from simsearch.pipeline import Explanation


@click.command()
@index_argument
@click.argument("text", metavar="QUERY", callback=unicode_text)
@click.argument("id_", metavar="ID", callback=unicode_text)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="X.svg",
    help="Also draw all tokens with all.",
)
@model_option
@pooling_option
@encoder_options
@config_option
@json_option
def explain(
    index: Path, text: str, id_: str, out: Path | None, as_json: bool, **options: Any
) -> None:
    """Show which tokens of QUERY matched which of the document with that ID.

    Tokens are compared by their vectors in their sentences (the last hidden state), each with the
    nearest of the other text. Where words are the same and stand elsewhere, the places differ.

    \b
    simsearch explain indexes/faq "怎么退款？" 17
    simsearch explain indexes/faq "狗咬人" 3 --out match.svg
    """
    from simsearch import pipeline
    from simsearch.cli.render import loading

    given = encoder_overrides(options)
    with loading(options["model"]):
        searcher = pipeline.open_index(index, overrides=given)
    with searcher:
        explanation = pipeline.explain(searcher, text, id_)
    if out is not None:
        pipeline.write_picture(explanation, out)
    if as_json:
        print_json(_as_json(explanation))
    else:
        _print(explanation)
    if out is not None:
        click.echo(f"wrote {out}", err=True)


def _as_json(explanation: Explanation) -> dict[str, Any]:
    """The JSON object of an explanation; ``cosines`` has a row for each token of the query."""
    from simsearch.records import hit_as_json

    alignment = explanation.alignment
    return {
        **hit_as_json(explanation.hit),
        "query": explanation.query,
        "f1": None if math.isnan(alignment.f1) else alignment.f1,
        "query_tokens": list(alignment.first),
        "text_tokens": list(alignment.second),
        "matches": [asdict(match) for match in alignment.matches],
        "cosines": alignment.cosines.round(6).tolist(),
    }


def _print(explanation: Explanation) -> None:
    """A query, a hit, and for each token of the query the one nearest to it."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from simsearch.cli.render import printable, shown

    console = Console(highlight=False)
    hit, alignment = explanation.hit, explanation.alignment
    console.print(Text(printable(explanation.query), style="bold"))
    console.print(Text(printable(shown(hit))))
    higher = "" if hit.percentile is None else f", higher than {hit.percentile:.1f} %"
    console.print(Text(f"cosine {hit.score:.3f}{higher}; by tokens {alignment.f1:.3f}", "dim"))
    rows = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    rows.add_column("", justify="right", style="dim")
    rows.add_column("token")
    rows.add_column("cosine", justify="right")
    rows.add_column("nearest")
    rows.add_column("", justify="right", style="dim")
    for match in alignment.matches:
        other = printable(match.nearest)
        same = match.token == match.nearest
        rows.add_row(
            str(match.place + 1),
            Text(printable(match.token)),
            f"{match.cosine:.3f}",
            Text(other, "" if same else "yellow"),
            str(match.nearest_place + 1),
        )
    console.print(rows)
