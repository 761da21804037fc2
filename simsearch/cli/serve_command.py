"""The verb that makes an index a service."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from simsearch.cli.index_commands import index_argument
from simsearch.cli.options import (
    EXISTING_FILE,
    config_option,
    encoder_options,
    encoder_overrides,
    model_option,
    pooling_option,
    reranker_option,
    settings_from,
)
from simsearch.errors import MissingPackageError

_ALL_INTERFACES = ("0.0.0.0", "::")


@click.command()
@index_argument
@click.option(
    "--host", default="127.0.0.1", show_default=True, metavar="H", help="Address to listen on."
)
@click.option(
    "--port",
    default=8000,
    show_default=True,
    type=click.IntRange(0, 65535),
    metavar="P",
    help="0: any free one.",
)
@click.option(
    "--tokens",
    type=EXISTING_FILE,
    metavar="FILE",
    help="`read TOKEN` and `write TOKEN` lines, beside $SIMSEARCH_READ_TOKEN and _WRITE_TOKEN.",
)
@click.option(
    "--allow-host", multiple=True, metavar="NAME", help="A name the server has (repeatable)."
)
@click.option(
    "--allow-origin",
    multiple=True,
    metavar="URL",
    help="A site whose pages may ask, https://example.org (repeatable).",
)
@click.option(
    "--report",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="DIR",
    help="What `benchmark --out` wrote, to show on the page.",
)
@click.option(
    "--drain",
    default=0.5,
    show_default=True,
    type=click.FloatRange(0, 600),
    metavar="S",
    help="Seconds to go on taking requests after SIGTERM.",
)
@reranker_option
@model_option
@pooling_option
@encoder_options
@config_option
def serve(
    index: Path,
    host: str,
    port: int,
    tokens: Path | None,
    allow_host: tuple[str, ...],
    allow_origin: tuple[str, ...],
    report: Path | None,
    drain: float,
    **options: Any,
) -> None:
    """Answer requests over HTTP from the index DIR: JSON, and OpenAI's embeddings API.

    /openapi.json says what can be asked. Without a token for writing nobody can change the index;
    with one for reading nobody can search without.

    \b
    simsearch serve indexes/faq
    curl -s localhost:8000/v1/search -H 'Content-Type: application/json' -d '{"query": "退款"}'
    """
    try:
        from simsearch import server
    except ImportError as error:
        raise MissingPackageError(
            f"serve needs the package {error.name!r}; install it: pip install 'simsearch[serve]'"
        ) from None
    from simsearch import pipeline
    from simsearch.cli.render import loading

    settings = settings_from(options)
    allowed = server.read_tokens(tokens)
    places = server.Places(
        hosts=frozenset(name.lower() for name in (*allow_host, host)),
        any_address=host in _ALL_INTERFACES,
        origins=frozenset(allow_origin),
    )
    with loading(options["model"]):
        searcher = pipeline.open_index(
            index, overrides=encoder_overrides(options), reranker=settings.query.reranker
        )
    if host not in ("127.0.0.1", "::1", "localhost") and not allowed.read:
        click.echo("everybody who reaches this address may search; see --tokens", err=True)
    server.serve(
        index,
        searcher,
        host=host,
        port=port,
        tokens=allowed,
        places=places,
        limits=server.Limits(),
        drain=drain,
        report=report,
        on_ready=lambda address: click.echo(f"{index}: serving on {address}", err=True),
    )
