"""From a text to the documents most like it: encode, find, order, look up."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral, Real
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from simsearch.encoder import Encoder, Vectors
from simsearch.errors import EncoderMismatchError, SettingsError
from simsearch.index.background import percentile
from simsearch.index.faiss import FlatIndex
from simsearch.records import Hit
from simsearch.store import StoredIndex, differing_fields

Found = tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]


class Searcher:
    """Answers queries from a stored index, with the encoder that the index was built with.

    Raises EncoderMismatchError for another encoder. Closing it closes the index. ``encoder`` is the
    encoder.
    """

    def __init__(self, encoder: Encoder, stored: StoredIndex) -> None:
        if encoder.fingerprint != stored.fingerprint:
            fields = differing_fields(stored.identity, encoder.identity)
            raise EncoderMismatchError(
                f"{stored.folder} was built with another encoder:"
                + "".join(f"\n  {field}" for field in fields)
                + "\nOpen it with that encoder, or build it anew with --replace"
            )
        self.encoder = encoder
        self._stored = stored
        self._index = FlatIndex(stored.segments)
        self._deleted = np.array(sorted(stored.deleted), np.int64)

    def query(self, text: str, k: int = 10, threshold: float | None = None) -> list[Hit]:
        """The answer to one text: ``search([text], k, threshold)[0]``."""
        return self.search([text], k, threshold)[0]

    def search(
        self, texts: Sequence[str], k: int = 10, threshold: float | None = None
    ) -> list[list[Hit]]:
        """For each text the ``k`` documents of highest score, ordered by (-score, id).

        Fewer where the corpus is smaller, or where scores are below ``threshold``; none for an
        empty text. Raises SettingsError for a ``k`` that is no positive integer, for a
        ``threshold`` that is no number, and if ``texts`` is a single string.
        """
        if isinstance(texts, str):
            raise SettingsError("texts is one string; ask `query`, or give a list such as [text]")
        _check_settings(k, threshold)
        asked = [i for i, text in enumerate(texts) if text.strip()]
        answers: list[list[Hit]] = [[] for _ in texts]
        if asked:
            vectors = self.encoder.encode([texts[i] for i in asked], prompt="query")
            for i, found in zip(asked, self._nearest(vectors, k), strict=True):
                answers[i] = self._hits(found, k, threshold)
        return answers

    def info(self) -> dict[str, Any]:
        """The facts about the index: see ``StoredIndex.info``."""
        return self._stored.info()

    def _nearest(self, vectors: Vectors, k: int) -> list[Found]:
        """For each vector the best k live rows, and all that tie with the last of them."""
        wanted = k
        while True:
            found = [self._live(*answer) for answer in self._index.search(vectors, wanted)]
            if wanted >= self._index.total or all(len(rows) >= k for rows, _ in found):
                return found
            wanted *= 2  # deleted rows took the places

    def _live(self, rows: npt.NDArray[np.int64], scores: npt.NDArray[np.float64]) -> Found:
        kept = ~np.isin(rows, self._deleted)
        return rows[kept], scores[kept]

    def _hits(self, found: Found, k: int, threshold: float | None) -> list[Hit]:
        rows, scores = found
        if threshold is not None:
            rows, scores = rows[scores >= threshold], scores[scores >= threshold]
        # By id only now: which of many equal documents are among the k must not depend on rows.
        ids = self._stored.ids(rows.tolist())
        order = sorted(range(len(ids)), key=lambda i: (-scores[i], ids[i]))[:k]
        documents = self._stored.documents([int(rows[i]) for i in order])
        return [
            Hit(
                rank=rank,
                id=document.id,
                score=float(scores[i]),
                percentile=percentile(float(scores[i]), self._stored.background),
                text=document.text,
                metadata=document.metadata,
            )
            for rank, (i, document) in enumerate(zip(order, documents, strict=True), start=1)
        ]

    def close(self) -> None:
        """Close the index."""
        self._stored.close()

    def __enter__(self) -> Searcher:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _check_settings(k: int, threshold: float | None) -> None:
    if not isinstance(k, Integral) or isinstance(k, bool) or k < 1:
        raise SettingsError(f"k is {k!r}; give how many answers you want, 1 or more")
    if threshold is not None and (not isinstance(threshold, Real) or math.isnan(threshold)):
        raise SettingsError(f"the threshold is {threshold!r}; give a number from -1 to 1, or none")
