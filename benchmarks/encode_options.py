"""What ``encode.py`` is asked for on its command line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from encode_engines import ENGINES, REFERENCE
from encode_products import PRODUCTS
from encode_worker import Worker

from simsearch.corpus import Row, read_corpus
from simsearch.errors import SimsearchError

LEAST_TOKENS = 8192
"""Of a set, however large the model: sixteen texts of 512."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What the command line asked for."""

    peer_python: str
    engines: tuple[str, ...]
    products: tuple[tuple[str, str, str], ...]
    texts: dict[str, list[str]]
    tokens: int
    count: int | None
    singles: int
    repeats: int
    batch_size: int
    cold_start: bool

    def worker(self, environment: str) -> Worker:
        """A worker in simsearch's own environment or in the peer's."""
        return Worker(sys.executable if environment == "own" else self.peer_python)


def plan_of(arguments: argparse.Namespace) -> Plan:
    """The options, checked; raises SystemExit for an engine that there is not."""
    engines = arguments.engines or list(ENGINES)
    if unknown := set(engines) - set(ENGINES):
        raise SystemExit(f"no such engine: {', '.join(sorted(unknown))}; see --help")
    return Plan(
        peer_python=arguments.peer_python,
        engines=tuple(dict.fromkeys([REFERENCE, *engines])),
        products=() if arguments.no_products else PRODUCTS,
        texts=dict(arguments.texts),
        tokens=arguments.tokens,
        count=arguments.count,
        singles=arguments.singles,
        repeats=arguments.repeats,
        batch_size=arguments.batch_size,
        cold_start=arguments.cold_start,
    )


def _texts(argument: str) -> tuple[str, list[str]]:
    """NAME=FILE, read: the texts of the rows that can be used."""
    name, _, file = argument.partition("=")
    try:
        texts = [row.text for row in read_corpus([Path(file)]) if isinstance(row, Row)]
    except SimsearchError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    if not texts:
        raise argparse.ArgumentTypeError(f"{file} has no texts")
    return name, texts


def _model(argument: str) -> tuple[str, str]:
    """A model and what it is called in the tables."""
    title, _, model = argument.rpartition("=")
    return title or Path(model).name, model


def _names(argument: str) -> list[str]:
    return argument.split(",")


def option_parser(description: str | None) -> argparse.ArgumentParser:
    """All options."""
    parser = argparse.ArgumentParser(description=description)
    add: Callable[..., Any] = parser.add_argument
    add("--peer-python", required=True, metavar="PEER/bin/python", help="see README.md")
    add(
        "--model",
        action="append",
        required=True,
        type=_model,
        metavar="[TITLE=]MODEL",
        help="a name or folder that simsearch takes, or random-base: a BERT of BERT-base's size, "
        "with random weights; repeatable",
    )
    add(
        "--texts",
        action="append",
        required=True,
        type=_texts,
        metavar="NAME=FILE",
        help="a corpus file; its texts are those of the column text; repeatable",
    )
    listed = ", ".join(ENGINES)
    add("--engines", type=_names, metavar="A,B", help=f"by default all: {listed}")
    add(
        "--tokens",
        type=int,
        default=20_000,
        help=f"of a set of texts, for a model as large as all-MiniLM-L6-v2; a larger one gets fewer"
        f", but {LEAST_TOKENS} (20000)",
    )
    add("--count", type=int, help="of the texts of a set, instead of --tokens")
    add("--singles", type=int, default=200, help="texts encoded one at a time too (200)")
    add("--repeats", type=int, default=5, help="(5)")
    add("--batch-size", type=int, default=32, help="of sentence-transformers (32, its default)")
    add("--cold-start", action="store_true", help="start each engine anew, too")
    add("--no-products", action="store_true", help="do not time plain matrix products")
    add("--folder", type=Path, help="where the models are written and found again; else temporary")
    add("--markdown", type=Path, metavar="FILE", help="write the tables for RESULTS.md")
    add("--json", type=Path, metavar="FILE", help="write every single figure")
    return parser
