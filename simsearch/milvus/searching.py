"""Answers queries from a collection, with the hits that the folder gives."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from simsearch.answering import Answering
from simsearch.config import Mode
from simsearch.encoder import Encoder, Vectors
from simsearch.errors import IndexNotFoundError, SettingsError
from simsearch.filters import Filter, matches
from simsearch.index.background import percentile
from simsearch.index.flat import SPARE
from simsearch.index.scoring import exact_scores, float32_error
from simsearch.milvus.door import MOST_ROWS, Address, connect, milvus_errors
from simsearch.milvus.expressions import NOTHING, expression_of
from simsearch.milvus.layout import PROPERTY, Facts, read_facts
from simsearch.records import Hit, Span
from simsearch.reranking import OrderReranker
from simsearch.store import check_encoder

_MAKE = "make it with `simsearch export DIR --to milvus --uri URI`"
_ROWS_AT_ONCE = 8192  # of vector and text, for what gRPC takes in a message
_FIELDS = ["id", "text", "metadata", "chunk", "start", "stop", "truncated", "vector"]


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A row that may be an answer: its exact score, and what Milvus has of its document."""

    score: float
    chunk: int
    id: str
    text: str
    metadata: Mapping[str, Any]
    span: Span | None
    truncated: bool


class MilvusCollection:
    """A collection that ``export_to_milvus`` has made, opened to be searched.

    ``facts`` are those of the last ``refresh``. Without a collection in the address it is the only
    one of ours there. Raises SettingsError if Milvus cannot be reached, IndexNotFoundError if there
    is none or several, and StoreError for facts that were altered.
    """

    def __init__(self, address: Address) -> None:
        if address.local and not Path(address.uri).exists():
            # Milvus would make it
            raise IndexNotFoundError(f"{address} is not there; {_MAKE}")
        self._client = connect(address.uri)
        try:
            with milvus_errors(str(address)):
                self.address = Address(address.uri, address.collection or self._only(address))
                self._written = ""
                self.refresh()
        except BaseException:
            self._client.close()
            raise

    def _only(self, address: Address) -> str:
        found = sorted(
            str(alias)
            for name in self._client.list_collections()
            if PROPERTY in self._client.describe_collection(name).get("properties", {})
            for alias in self._client.list_aliases(name)["aliases"]
        )
        if len(found) != 1:
            listed = ", ".join(found) or "none"
            raise IndexNotFoundError(
                f"{address}: which collection? simsearch has written {listed}; "
                f"name one, such as {address}#{found[0] if found else 'faq'}"
            )
        return found[0]

    def refresh(self) -> None:
        """Take over the facts as they are now."""
        name = self.address.collection
        if not self._client.has_collection(name):
            raise IndexNotFoundError(f"{self.address} is not there; {_MAKE}")
        written = self._client.describe_collection(name).get("properties", {}).get(PROPERTY)
        if written is None:
            raise IndexNotFoundError(f"{self.address} was not written by simsearch")
        if written != self._written:
            self.facts: Facts = read_facts(written, str(self.address))
            self._client.load_collection(name)
            self._written = written

    def nearest(
        self, vectors: Vectors, limit: int, expression: str | None
    ) -> list[list[dict[str, Any]]]:
        """For each vector ``limit`` rows, or all there are, best first by Milvus' score."""
        effort = dict(self.facts.plan.search)
        if "ef" in effort:
            effort["ef"] = max(effort["ef"], limit)
        at_once = max(1, _ROWS_AT_ONCE // limit)
        return [
            [{**hit["entity"], "distance": hit["distance"]} for hit in hits]
            for start in range(0, len(vectors), at_once)
            for hits in self._client.search(
                self.address.collection,
                data=vectors[start : start + at_once].tolist(),
                limit=limit,
                filter=expression or "",
                output_fields=_FIELDS,
                search_params={"params": effort},
            )
        ]

    def errors(self) -> Any:
        """See ``milvus_errors``."""
        return milvus_errors(str(self.address))

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


class MilvusSearcher(Answering):
    """Answers queries by vectors from a collection, with the encoder of its index.

    Its hits are those of the folder, ties included, where Milvus compares with every vector
    (FLAT): Milvus proposes candidates, and ``scoring.exact_scores`` scores them here. By another
    kind of index it may miss some, as ``info()["recall_at_10"]`` tells. At most 16,384 are found.
    Raises EncoderMismatchError for another encoder. Closing it closes the collection.
    """

    modes = ("dense",)

    def __init__(
        self,
        encoder: Encoder,
        collection: MilvusCollection,
        reranker: OrderReranker | None = None,
    ) -> None:
        check_encoder(collection.facts, encoder)
        self.encoder, self.reranker = encoder, reranker
        self._collection = collection

    def _answers(
        self,
        texts: Sequence[str],
        vectors: Vectors | None,
        k: int,
        threshold: float | None,
        wanted: Filter | None,
        mode: Mode,
    ) -> list[list[Hit]]:
        assert vectors is not None  # the mode is dense
        collection = self._collection
        if k > MOST_ROWS - SPARE:
            raise SettingsError(f"k is {k}; Milvus finds {MOST_ROWS - SPARE:,} at most")
        with collection.errors():
            collection.refresh()
            check_encoder(collection.facts, self.encoder)
            expression = None
            if wanted is not None:
                expression = expression_of(wanted, collection.facts.columns)
            if expression == NOTHING:
                return [[] for _ in texts]
            found = self._found(vectors, k, expression, wanted)
        return [self._hits(candidates, k, threshold) for candidates in found]

    def _found(
        self, vectors: Vectors, k: int, expression: str | None, wanted: Filter | None
    ) -> list[list[_Candidate]]:
        """For each vector candidates, among them the best k documents and their ties."""
        found: list[list[_Candidate]] = [[] for _ in vectors]
        lacking, limit = list(range(len(vectors))), int(k) + SPARE
        while lacking:
            answers = self._collection.nearest(vectors[lacking], limit, expression)
            for i, rows in zip(lacking, answers, strict=True):
                found[i] = _scored(rows, vectors[i], wanted)
            more = [
                i
                for i, rows in zip(lacking, answers, strict=True)
                if len(rows) == limit and not _enough(found[i], k, rows[-1]["distance"], vectors[i])
            ]
            if more and limit == MOST_ROWS:
                raise SettingsError(
                    f"among the {MOST_ROWS:,} nearest rows, which is all that Milvus gives, there "
                    "are too few that the filter matches, or that differ; ask the folder"
                )
            lacking, limit = more, min(2 * limit, MOST_ROWS)
        return found

    def _hits(self, found: list[_Candidate], k: int, threshold: float | None) -> list[Hit]:
        best = sorted(_best(found).values(), key=lambda one: (-one.score, one.id))[:k]
        if threshold is not None:
            best = [one for one in best if one.score >= threshold]
        background = self._collection.facts.background
        return [
            Hit(
                rank=rank,
                id=one.id,
                score=one.score,
                percentile=percentile(one.score, background),
                text=one.text,
                metadata=one.metadata,
                span=one.span,
                truncated=one.truncated,
            )
            for rank, one in enumerate(best, start=1)
        ]

    def info(self) -> dict[str, Any]:
        """The facts about the index, as ``StoredIndex.info`` names them."""
        with self._collection.errors():
            self._collection.refresh()
        facts = self._collection.facts
        return {
            "count": facts.documents,
            "dim": facts.dim,
            "kind": facts.plan.kind,
            "fingerprint": facts.fingerprint,
            "generation": facts.generation,
            "recall_at_10": facts.plan.recall_at_10,
            "model": facts.settings.get("model"),
            "pooling": facts.settings.get("pooling"),
            "created": facts.created,
            "chunk": None if facts.chunk is None else list(facts.chunk),
            "chunks": facts.rows,
            "finished": facts.finished,
        }

    def close(self) -> None:
        """Close the collection."""
        self._collection.close()


def _scored(
    rows: Sequence[Mapping[str, Any]], query: Vectors, wanted: Filter | None
) -> list[_Candidate]:
    """The rows that the filter matches, with their exact scores."""
    if not rows:
        return []
    scores = exact_scores(np.array([row["vector"] for row in rows], np.float32), query)
    found = []
    for row, score in zip(rows, scores.tolist(), strict=True):
        metadata = json.loads(row["metadata"])
        if wanted is None or matches(wanted, metadata):
            span = None if row["start"] is None else (row["start"], row["stop"])
            found.append(
                _Candidate(
                    score, row["chunk"], row["id"], row["text"], metadata, span, row["truncated"]
                )
            )
    return found


def _best(found: Sequence[_Candidate]) -> dict[str, _Candidate]:
    """The best row of each document, of equal ones the first."""
    best: dict[str, _Candidate] = {}
    for one in found:
        before = best.get(one.id)
        if before is None or (-one.score, one.chunk) < (-before.score, before.chunk):
            best[one.id] = one
    return best


def _enough(found: Sequence[_Candidate], k: int, worst: float, query: Vectors) -> bool:
    """Whether no row that Milvus left out can be of the best k documents, or tie with the last.

    ``worst`` is Milvus' score of the last row that it gave.
    """
    scores = sorted((one.score for one in _best(found).values()), reverse=True)
    return len(scores) >= k and scores[k - 1] > worst + float32_error(len(query))
