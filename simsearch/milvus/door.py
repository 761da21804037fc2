"""The one door to Milvus: its client, addresses, and what its errors become."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from simsearch.errors import MissingPackageError, SettingsError, StoreError

PREFIX = "milvus+"
"""What an index in Milvus is named by: this, and the URI of Milvus, with ``#collection``."""
MOST_ROWS = 16_384
"""How many rows one search can answer with."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where Milvus is: the URI of a server, or a local file's name; and which collection of it."""

    uri: str
    collection: str | None = None

    @property
    def local(self) -> bool:
        """Whether it is a file of this machine."""
        return self.uri.endswith(".db")

    def __str__(self) -> str:
        return PREFIX + self.uri + (f"#{self.collection}" if self.collection else "")


def parse_address(text: str) -> Address:
    """The address ``milvus+URI`` or ``milvus+URI#COLLECTION``, ``milvus+`` left out or not.

    Raises SettingsError for a name that no collection can have, and for a URI that is none.
    """
    uri, _, collection = text.removeprefix(PREFIX).partition("#")
    if not re.match(r"https?://.", uri) and not uri.endswith(".db"):
        raise SettingsError(
            f"{uri!r} is no place of Milvus; give the URI of a server such as "
            "http://localhost:19530, or a local file that ends in .db"
        )
    if collection and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,200}", collection):
        raise SettingsError(
            f"{collection!r} cannot be the name of a collection; it has ASCII letters, digits and _"
        )
    return Address(uri, collection or None)


@contextmanager
def connected(uri: str) -> Iterator[Any]:
    """A client of the Milvus at ``uri``; $MILVUS_TOKEN is who asks.

    Raises MissingPackageError without pymilvus, and SettingsError if nothing can be reached.
    """
    client = connect(uri)
    try:
        yield client
    finally:
        client.close()


def connect(uri: str) -> Any:
    """As ``connected``; whoever has it closes it."""
    try:
        import pymilvus
    except ImportError:
        raise MissingPackageError(
            "Milvus needs the package pymilvus; install it: pip install 'simsearch[milvus]'"
        ) from None
    for name in ("pymilvus", "milvus_lite", "grpc._server"):  # what they log, they raise too
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        return pymilvus.MilvusClient(uri, token=os.environ.get("MILVUS_TOKEN", ""), timeout=10)
    except (pymilvus.exceptions.MilvusException, OSError) as error:
        one = "; only one process at a time can have a local file" * uri.endswith(".db")
        raise SettingsError(f"cannot reach Milvus at {uri}: {_said(error)}{one}") from None


@contextmanager
def milvus_errors(what: str) -> Iterator[None]:
    """StoreError, which names ``what``, for an error of Milvus in the block."""
    import pymilvus

    try:
        yield
    except pymilvus.exceptions.MilvusException as error:
        raise StoreError(f"{what}: Milvus says: {_said(error)}") from error


def _said(error: Exception) -> str:
    return str(getattr(error, "message", "") or error)


def data_types() -> Any:
    """The enumeration of Milvus' types of fields."""
    import pymilvus

    return pymilvus.DataType
