"""What has to be done to an index so that it holds some documents: compared one by one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import apsw

from simsearch.records import Document, Span
from simsearch.store.chunks import Spans, check_spans
from simsearch.store.documents import find_document, read_document


@dataclass(frozen=True)
class Batch:
    """Documents that go into an index by one commit, and what of them has to be encoded.

    ``new`` are put in, ``replaced`` are the numbers of those that have other texts under the same
    ids until then; ``relabelled`` (number, document) have their texts in the index already and get
    other metadata. ``unchanged`` more are there as they are. ``texts`` are those of ``new``, or
    their chunks, whose ``owners`` are positions in ``new``; each stands at its one of ``spans``.
    """

    new: list[Document]
    replaced: list[int]
    relabelled: list[tuple[int, Document]]
    unchanged: int
    texts: list[str]
    owners: list[int]
    spans: list[Span]

    @property
    def documents(self) -> int:
        """How many documents of the corpus it is about."""
        return len(self.new) + len(self.relabelled) + self.unchanged


def batch_of(
    connection: apsw.Connection, path: Path, documents: Sequence[Document], spans: Spans | None
) -> Batch:
    """The batch that puts ``documents``, of different ids, into the index of this database."""
    new: list[Document] = []
    replaced: list[int] = []
    relabelled: list[tuple[int, Document]] = []
    for document in documents:
        number = find_document(connection, path, document.id)
        known = None if number is None else read_document(connection, path, number)
        if number is None or known is None:
            new.append(document)
        elif known.text != document.text:
            new.append(document)
            replaced.append(number)
        elif known != document:
            relabelled.append((number, document))
    unchanged = len(documents) - len(new) - len(relabelled)
    batch = Batch(new, replaced, relabelled, unchanged, [], [], [])
    cuts = [[(0, len(document.text))] for document in new]
    if spans is not None:
        cuts = spans([document.text for document in new])
    for owner, (document, cut) in enumerate(zip(new, cuts, strict=True)):
        check_spans(document.text, cut)
        batch.texts.extend(document.text[slice(*span)] for span in cut)
        batch.owners.extend([owner] * len(cut))
        batch.spans.extend(cut)
    return batch
