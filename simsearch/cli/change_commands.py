"""The verbs that change an index, look after it, or carry it elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from simsearch.cli.index_commands import index_argument, row_problems, stdin_lines
from simsearch.cli.options import (
    EXISTING_FILE,
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
    settings_from,
    unicode_text,
)

if TYPE_CHECKING:
    from simsearch.pipeline import AddReport

_MISSING_SHOWN = 20


@click.command()
@index_argument
@corpus_argument
@model_option
@pooling_option
@encoder_options
@corpus_options
@duplicates_option
@config_option
@json_option
def add(index: Path, corpus: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Put the documents of CORPUS into the index DIR, or in the place of those with their ids.

    What is there as it is stays, and is not encoded again. Queries find the documents at once. If
    it is interrupted, the same command goes on. The encoder is the one of the index; --model and
    the like are only for one that has moved.

    \b
    simsearch add indexes/faq new.csv --text-column question --id-column number
    """
    from simsearch import pipeline
    from simsearch.cli.render import printable, progress_bar

    settings = settings_from(options)
    given = encoder_overrides(options)
    with progress_bar("Adding") as progress:
        report = pipeline.add(
            index,
            corpus,
            overrides=given,
            text_column=settings.corpus.text_column,
            id_column=settings.corpus.id_column,
            types=settings.corpus.types,
            on_error=settings.corpus.on_error,
            duplicates=settings.corpus.duplicates,
            progress=progress,
        )
    if as_json:
        print_json({**asdict(report), "folder": str(report.folder)})
    for line in (*row_problems(report.problems, report.skipped), _added(report)):
        click.echo(printable(line), err=True)


def _added(report: AddReport) -> str:
    done = f"{report.folder}: {counted(report.added, 'document')} added"
    if report.replaced:
        done += f", {report.replaced:,} replaced"
    if report.relabelled:
        done += f", {report.relabelled:,} with other metadata"
    if report.unchanged:
        done += f", {report.unchanged:,} there already"
    if report.collapsed:
        done += f"; {counted(report.collapsed, 'row')} with the text of another"
    if report.skipped:
        done += f"; {counted(report.skipped, 'row')} skipped"
    if report.truncated:
        done += f"; {counted(report.truncated, 'text')} cut to the model's length"
    return f"{done}; {report.documents:,} in all"


@click.command()
@index_argument
@click.argument("ids", nargs=-1, metavar="ID...", callback=unicode_text)
@filter_option
@json_option
def delete(index: Path, ids: tuple[str, ...], filter: dict[str, Any] | None, as_json: bool) -> None:
    """Take documents out of the index DIR: by ids, given or on the lines of stdin, or by metadata.

    No query finds them any more. Ids that are not there are named.

    \b
    simsearch delete indexes/faq 17 18
    simsearch delete indexes/faq < outdated.txt
    simsearch delete indexes/faq --filter '{"year": {"$lt": 2020}}'
    """
    from simsearch import pipeline
    from simsearch.cli.render import printable

    if not ids and filter is None:
        ids = tuple(stdin_lines())
    report = pipeline.delete(index, ids, filter=filter)
    if as_json:
        print_json({**asdict(report), "folder": str(report.folder)})
    for line in _missing(report.missing):
        click.echo(printable(line), err=True)
    deleted = f"{counted(report.deleted, 'document')} deleted; {report.documents:,} left"
    click.echo(printable(f"{report.folder}: {deleted}"), err=True)


def _missing(ids: tuple[str, ...]) -> Iterator[str]:
    for id_ in ids[:_MISSING_SHOWN]:
        yield f"not in the index: {id_}"
    if len(ids) > _MISSING_SHOWN:
        yield f"… and {len(ids) - _MISSING_SHOWN:,} more"


@click.command()
@index_argument
@index_options
@click.option(
    "--tune-on",
    type=EXISTING_FILE,
    metavar="FILE",
    help="Queries such as will be asked, to tune an approximate search on.",
)
@click.option("--text-column", metavar="NAME", help="Column with these.  [default: text]")
@model_option
@pooling_option
@encoder_options
@config_option
def optimize(index: Path, tune_on: Path | None, **options: Any) -> None:
    """Write the index DIR anew: without what was deleted, and planned for what it holds now.

    Deleted texts are erased from the disk by this. No document is encoded, and queries go on
    meanwhile. Without --kind and the like, and without --config, it is planned as it was built.

    An approximate search is tuned on sentences of the index until it finds enough. Queries that are
    unlike them, such as questions about articles, need --tune-on. The encoder for these is the one
    of the index; --model and the like are only for one that has moved.

    \b
    simsearch optimize indexes/news
    simsearch optimize indexes/news --tune-on questions.txt --recall 0.98
    """
    from simsearch import pipeline
    from simsearch.cli.render import printable

    settings = settings_from(options)
    gained = pipeline.optimize(
        index,
        settings.index if _planned(options) else None,
        tune_on=tune_on,
        text_column=settings.corpus.text_column,
        overrides=encoder_overrides(options),
    )
    done = "optimized" if gained else "nothing to gain"
    click.echo(printable(f"{index}: {done}"), err=True)


@click.command()
@index_argument
@json_option
def verify(index: Path, as_json: bool) -> None:
    """Read all of the index DIR and check every page, hash and checksum.

    Says what is wrong, a line each; the exit status is 2 if anything is.
    """
    from simsearch.cli.render import printable, progress_bar
    from simsearch.store import verify as problems_of

    with progress_bar("Verifying") as progress:
        problems = list(problems_of(index, progress))
    if as_json:
        print_json({"folder": str(index), "problems": problems})
    for problem in problems:
        click.echo(printable(problem), err=True)
    if problems:
        click.echo(printable(f"{index}: {counted(len(problems), 'problem')}"), err=True)
        raise SystemExit(2)
    click.echo(printable(f"{index}: all is as it was written"), err=True)


@click.command()
@index_argument
@model_option
@pooling_option
@encoder_options
@config_option
def repair(index: Path, **options: Any) -> None:
    """Make anew what is damaged in the index DIR and can be made of its documents.

    That is vectors, which are encoded again, and all that is derived from documents and vectors.
    A document itself cannot be made again: restore the index from a copy.
    """
    from simsearch import pipeline
    from simsearch.cli.render import printable

    encoded = pipeline.repair(index, overrides=encoder_overrides(options))
    click.echo(printable(f"{index}: repaired, {counted(encoded, 'text')} encoded again"), err=True)


@click.command()
@index_argument
@click.option(
    "--to",
    type=click.Choice(["parquet", "milvus"]),
    default="parquet",
    show_default=True,
    help="A file, or a collection of Milvus.",
)
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="A new parquet file.")
@click.option("--uri", metavar="URI", help="Of Milvus: http://HOST:19530, or a local file.db.")
@click.option("--collection", metavar="NAME", help="Of Milvus.  [default: as DIR]")
@click.option("--replace", is_flag=True, help="Write the collection anew.")
@index_options
@config_option
def export(
    index: Path,
    to: str,
    out: Path | None,
    uri: str | None,
    collection: str | None,
    replace: bool,
    **options: Any,
) -> None:
    """Write the index DIR to one parquet file, or to a collection of Milvus.

    The file has documents, vectors, and what made them; `import` reads it. A collection answers
    queries as the folder does; exported again, it gets what has changed since. Its kind of index is
    planned as `build` plans one, at first and to --replace it. $MILVUS_TOKEN says who asks.

    \b
    simsearch export indexes/faq --out faq.parquet
    simsearch import faq.parquet --index elsewhere/faq
    simsearch export indexes/faq --to milvus --uri http://localhost:19530
    simsearch query milvus+http://localhost:19530#faq "怎么退款？"
    """
    if to == "milvus":
        if uri is None or out is not None:
            raise click.UsageError("--to milvus needs --uri, and has no --out")
        _export_to_milvus(index, uri, collection, replace, options)
        return
    if out is None or uri is not None or collection is not None or replace or _planned(options):
        raise click.UsageError("--out names the new file; --uri and the like are for --to milvus")
    from simsearch.cli.render import printable
    from simsearch.store import export_index

    count = export_index(index, out)
    click.echo(printable(f"{out}: {counted(count, 'document')}"), err=True)


def _planned(options: dict[str, Any]) -> bool:
    """Whether the options say how to search."""
    named = ("kind", "recall_target", "memory_budget", "latency_target", "config")
    return any(options[name] is not None for name in named)


def _export_to_milvus(
    index: Path, uri: str, collection: str | None, replace: bool, options: dict[str, Any]
) -> None:
    from simsearch.cli.render import printable, progress_bar
    from simsearch.milvus import export_to_milvus, parse_address

    address = parse_address(f"{uri}#{collection}" if collection else uri)
    settings = settings_from(options)
    with progress_bar("Exporting") as progress:
        report = export_to_milvus(
            index, address, settings=settings.index, replace=replace, progress=progress
        )
    plan = report.plan
    found = "" if plan.recall_at_10 is None else f", recall@10 {plan.recall_at_10:.3f}"
    click.echo(
        printable(
            f"{report.address}: {counted(report.documents, 'document')}, "
            f"{counted(report.written, 'row')} written, {report.deleted:,} deleted; "
            f"{plan.kind}{found}"
        ),
        err=True,
    )


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE")
@click.option(
    "--index", type=click.Path(path_type=Path), metavar="DIR", help="[default: indexes/<FILE>]"
)
@click.option("--replace", is_flag=True, help="In the place of what DIR holds.")
def import_(file: Path, index: Path | None, replace: bool) -> None:
    """Make an index of a FILE that `export` wrote. Nothing is encoded; all of it is checked.

    An interrupted import resumes when the same command is run again.
    """
    from simsearch import pipeline
    from simsearch.cli.render import printable, progress_bar
    from simsearch.store import import_index

    folder = pipeline.default_index([file]) if index is None else index
    with progress_bar("Importing") as progress:
        count = import_index(file, folder, replace=replace, progress=progress)
    click.echo(printable(f"{folder}: {counted(count, 'document')}"), err=True)
