"""What people see: tables, facts and progress."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from simsearch.cli.options import counted
from simsearch.duplicates import Duplicate
from simsearch.evaluation.results import COSINE, BenchmarkResult, ResultTable, notes_of, tables
from simsearch.records import Hit
from simsearch.sources import Model, find_source

_WIDE = 112  # columns of a terminal
_MOST_CHARACTERS = 600  # of a text in a table; --json has all of it
_MOST_OF_A_CLUSTER = 20  # documents of a cluster in a table
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """The text with control characters, which could move the cursor or reverse a line, escaped."""
    return _CONTROL.sub(lambda match: _escaped(match[0]), text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def print_prediction(text: str, found: Mapping[str, Any]) -> None:
    """A text, and its most probable class or its entities, or whether its halves mean the same."""
    if "entities" not in found:
        label = found.get("label", "same meaning")
        probability = found.get("probability", found.get("same_meaning"))
        console = Console(highlight=False, soft_wrap=True)
        console.print(
            Text.assemble(
                (f"{probability:6.1%}  ", "dim"),
                (printable(label), "bold"),
                f"  {printable(text)}",
            )
        )
        return
    line, done = Text(), 0
    for entity in found["entities"]:
        start, stop = entity["span"]
        line.append(printable(text[done:start]))
        line.append(f"[{printable(text[start:stop])}]", style="bold")
        line.append(printable(entity["label"]), style="dim")
        done = stop
    line.append(printable(text[done:]))
    Console(highlight=False, soft_wrap=True).print(line)


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
        text = Text(printable(shown(hit)))
        if hit.truncated:
            text.append(" (its end was not compared)", "dim")
        if hit.order_score is not None and hit.order_score < 0.5:
            text.append(" (the same words, another meaning)", "yellow")
        rows.add_row(str(hit.rank), f"{hit.score:.3f}", share, text, Text(printable(hit.id)))
    console.print(rows)
    console.print()


def shown(hit: Hit) -> str:
    """The text of a hit, or of its best chunk on one line; the beginning of what is long."""
    if hit.span is None:
        return _beginning(hit.text)
    start, stop = hit.span
    text = _beginning(" ".join(hit.text[start:stop].split()))
    whole = stop == len(hit.text) or text.endswith("…")
    return f"{'…' if start > 0 else ''}{text}{'' if whole else '…'}"


def _beginning(text: str) -> str:
    return text if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS].rstrip()}…"


def print_cluster(cluster: Sequence[Duplicate]) -> None:
    """The documents of a cluster, each with its cosine with the first."""
    console = Console(highlight=False)
    console.print(Text(counted(len(cluster), "document"), style="bold"))
    rows = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    rows.add_column(justify="right")
    rows.add_column(ratio=1, overflow="fold")
    rows.add_column(style="dim", overflow="fold")
    for found in cluster[:_MOST_OF_A_CLUSTER]:
        text = Text(printable(_beginning(found.document.text)))
        rows.add_row(f"{found.score:.3f}", text, Text(printable(found.document.id)))
    if len(cluster) > _MOST_OF_A_CLUSTER:
        rows.add_row("", Text(f"… and {len(cluster) - _MOST_OF_A_CLUSTER:,} more", "dim"), "")
    console.print(rows)
    console.print()


def print_facts(facts: dict[str, Any]) -> None:
    """Facts, one a line."""
    width = max(map(len, facts))
    for name, value in facts.items():
        sys.stdout.write(f"{name:<{width}}  {_fact(value)}\n")


def _fact(value: Any) -> str:
    if value is None or value == []:
        return "none"
    if isinstance(value, dict):
        return ", ".join(f"{name} {_fact(v)}" for name, v in value.items() if v is not None)
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else printable(str(value))


def print_models(rows: Sequence[tuple[Model, str]]) -> None:
    """The models of the registry and where this machine has them, one a line."""
    console = Console(highlight=False)
    names = ("model", "here", "languages", "pooling", "licence", "from")
    shown = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name in names[: 6 if console.width >= _WIDE else 4]:
        shown.add_column(name, no_wrap=True, style="dim" if name == "from" else "")
    for model, state in rows:
        mark = " †" if model.reads_pairs else "" if model.tuned else " *"
        label = Text(model.name + mark, style="bold")
        prompts = " + prompts" if any(model.prompts.values()) else ""
        cells = (state, model.languages, model.pooling + prompts, model.licence, model.publisher)
        shown.add_row(label, *cells[: len(shown.columns) - 1])
    console.print(shown)
    console.print(Text("* pretrained, not tuned: poor at similarity as it is", style="dim"))
    console.print(Text("† for --reranker: reads a query and a hit together", style="dim"))


def print_results(results: Sequence[BenchmarkResult]) -> None:
    """One table for each task, and the notes below it."""
    console = Console(highlight=False)
    by_task = sorted(results, key=lambda r: r.result.task)
    for task, group in groupby(by_task, key=lambda r: r.result.task):
        members = list(group)
        console.print(Text(printable(task), style="bold"))
        for content in tables(members):
            _print_table(console, content)
        for note, strategies in notes_of(members).items():
            about = "all" if len(strategies) == len(members) else ", ".join(strategies)
            console.print(Text(f"{about}: {note}", style="dim"))
        console.print()


def _print_table(console: Console, content: ResultTable) -> None:
    shown = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name in content.header:
        left = name in ("model", "pooling")
        title = name.removeprefix(COSINE) if name.startswith(COSINE) else name.replace("_", "\n")
        shown.add_column(title, justify="left" if left else "right", no_wrap=left)
    for row in content.rows:
        shown.add_row(*(Text(printable(cell)) for cell in row))
    if any(name.startswith(COSINE) for name in content.header):
        console.print(Text("mean cosine of a sentence with its …", style="dim"))
    console.print(shown)
    for name, value in content.constants.items():
        console.print(Text(f"{name.replace('_', ' ')} {value:.4f} for all", style="dim"))


def print_truncation(texts: int) -> None:
    """Say on stderr that texts were cut, if any were."""
    if texts:
        sys.stderr.write(f"cut to the model's length: {counted(texts, 'text')}\n")


@contextlib.contextmanager
def loading(model: str | None) -> Iterator[None]:
    """Says on a terminal that the encoder is being loaded: the first time takes some seconds."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    if model is not None:
        find_source(model)  # a download shows its own progress, and first
    with console.status("Loading the encoder (a new checkpoint is converted once) …"):
        yield


class _RateColumn(ProgressColumn):
    """How many are done in a second."""

    def render(self, task: Task) -> Text:
        """Nothing until it is known."""
        return Text("" if task.speed is None else f"{task.speed:,.0f}/s")


@contextlib.contextmanager
def progress_bar(what: str) -> Iterator[Callable[[int, int | None], None] | None]:
    """A bar on stderr to be called with (done, total); ``None`` where stderr is no terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    columns = (
        TextColumn(what),
        BarColumn(),
        MofNCompleteColumn(),
        _RateColumn(),
        TimeRemainingColumn(),
    )
    bar = Progress(*columns, console=console, transient=True)
    task = bar.add_task(what, total=None)

    def advance(done: int, total: int | None) -> None:
        bar.start()  # only now: a download may have shown its own progress before
        bar.update(task, completed=done, total=total)

    try:
        yield advance
    finally:
        bar.stop()
