"""What people see: tables, facts and progress."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from simsearch.evaluation.report import BenchmarkResult, table
from simsearch.records import Hit

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """The text with control characters, which could move the cursor or reverse a line, escaped."""
    return _CONTROL.sub(lambda match: _escaped(match[0]), text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def hits_as_json(query: str, hits: Sequence[Hit]) -> dict[str, Any]:
    """The JSON object of a query."""
    return {
        "query": query,
        "hits": [
            {
                "rank": hit.rank,
                "id": hit.id,
                "score": hit.score,
                "percentile": hit.percentile,
                "text": hit.text,
                "metadata": dict(hit.metadata),
            }
            for hit in hits
        ],
    }


def print_hits(query: str, hits: Sequence[Hit]) -> None:
    """A query and its hits as a table."""
    console = Console(highlight=False)
    console.print(Text(printable(query), style="bold"))
    if not hits:
        console.print(Text("  no hits\n", style="dim"))
        return
    rows = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    rows.add_column("", justify="right", style="dim")
    rows.add_column("score", justify="right")
    rows.add_column("higher than", justify="right", style="dim")
    rows.add_column("text", ratio=1, overflow="fold")
    rows.add_column("id", style="dim", overflow="fold")
    for hit in hits:
        share = "" if hit.percentile is None else f"{hit.percentile:.1f} %"
        text, id_ = Text(printable(hit.text)), Text(printable(hit.id))
        rows.add_row(str(hit.rank), f"{hit.score:.3f}", share, text, id_)
    console.print(rows)
    console.print()


def print_facts(facts: dict[str, Any]) -> None:
    """Facts, one a line."""
    width = max(map(len, facts))
    for name, value in facts.items():
        shown = f"{value:,}" if isinstance(value, int) else printable(str(value))
        sys.stdout.write(f"{name:<{width}}  {shown}\n")


def print_results(results: Sequence[BenchmarkResult]) -> None:
    """One table for each task, and the notes below it."""
    console = Console(highlight=False)
    by_task = sorted(results, key=lambda r: r.result.task)
    for task, group in groupby(by_task, key=lambda r: r.result.task):
        members = list(group)
        content = table(members)
        console.print(Text(printable(task), style="bold"))
        shown = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
        for name in content.header:
            left = name in ("model", "pooling")
            shown.add_column(name.replace("_", "\n"), justify="left" if left else "right")
        for row in content.rows:
            shown.add_row(*(Text(printable(cell)) for cell in row))
        console.print(shown)
        for name, value in content.constants.items():
            console.print(Text(f"{name.replace('_', ' ')} {value:.4f} for all", style="dim"))
        for result in members:
            for note in result.result.notes:
                console.print(Text(f"{result.pooling}: {note}", style="dim"))
        console.print()


def print_truncation(texts: int) -> None:
    """Say on stderr that texts were cut, if any were."""
    if texts:
        sys.stderr.write(f"cut to the model's length: {texts:,} text{'s' if texts > 1 else ''}\n")


@contextlib.contextmanager
def loading() -> Iterator[None]:
    """Says on a terminal that the encoder is being loaded: the first time takes some seconds."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    with console.status("Loading the encoder (a new checkpoint is converted once) …"):
        yield


@contextlib.contextmanager
def progress_bar(what: str) -> Iterator[Callable[[int, int | None], None] | None]:
    """A bar on stderr to be called with (done, total); ``None`` where stderr is no terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
