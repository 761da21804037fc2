"""An index folder that may not be there yet: what the stores of other libraries are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from simsearch import pipeline
from simsearch.errors import IndexNotFoundError
from simsearch.records import Document
from simsearch.search import Searcher
from simsearch.sentence_encoder import SentenceEncoder


class Folder:
    """An index that begins with the first document. ``encoder`` is by default that of the index.

    Without an index yet it is the embedded model. Raises EncoderMismatchError if the index is
    another encoder's.
    """

    def __init__(self, path: str | Path, encoder: SentenceEncoder | None = None) -> None:
        self.path = Path(path)
        self._encoder = encoder
        self._searcher: Searcher | None = None
        if encoder is not None:
            self.searcher()

    @property
    def encoder(self) -> SentenceEncoder:
        """The encoder of the index."""
        if self._encoder is None:
            searcher = self.searcher()
            if searcher is None:
                self._encoder = SentenceEncoder.load()
            else:
                assert isinstance(searcher.encoder, SentenceEncoder)  # open_index gave it
                self._encoder = searcher.encoder
        return self._encoder

    def searcher(self) -> Searcher | None:
        """The index, opened once; ``None`` while there is none."""
        if self._searcher is None:
            try:
                self._searcher = pipeline.open_index(self.path, encoder=self._encoder)
            except IndexNotFoundError:
                return None
        return self._searcher

    def add(self, documents: Sequence[Document]) -> None:
        """Put documents in, or in the place of those with their ids."""
        if not documents:
            return
        if self.searcher() is None:
            pipeline.build_documents(documents, self.path, encoder=self.encoder)
        else:
            pipeline.add_documents(self.path, documents, encoder=self.encoder)

    def delete(self, ids: Sequence[str] = (), filter: Mapping[str, Any] | None = None) -> list[str]:
        """Take documents out; the ids that were not there."""
        if self.searcher() is None:
            return list(ids)
        return list(pipeline.delete(self.path, ids, filter=filter).missing)

    def documents(
        self, ids: Sequence[str] = (), filter: Mapping[str, Any] | None = None
    ) -> list[Document]:
        """See ``Searcher.documents``."""
        searcher = self.searcher()
        return [] if searcher is None else searcher.documents(ids, filter)

    def close(self) -> None:
        """Close the index."""
        if self._searcher is not None:
            self._searcher.close()
            self._searcher = None
