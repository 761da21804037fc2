"""Retrieval: are the documents that people judged relevant among the nearest ones."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from simsearch.encoder import Encoder, Vectors
from simsearch.evaluation import metrics
from simsearch.evaluation.files import RetrievalData
from simsearch.evaluation.tasks.base import (
    Encoded,
    Failure,
    Inputs,
    TaskResult,
    cosines,
    distinct,
    measured,
    require,
    worst,
)
from simsearch.index.flat import FlatIndex
from simsearch.reranking import CANDIDATES, OrderReranker

CUTOFF: Final = 10  # the k of ndcg@10, recall@10, mrr@10


@dataclass(frozen=True)
class RetrievalTask:
    """Implements ``Task`` for queries, documents and judgements."""

    name: str
    data: RetrievalData

    def __post_init__(self) -> None:
        require(self._judgements, f"{self.name}: no query has a judgement above 0")

    @functools.cached_property
    def inputs(self) -> Inputs:
        """See ``Task``: the judged queries, and all documents."""
        judged = self._judgements
        return {
            "query": distinct([query.text for query in self.data.queries if query.id in judged]),
            "document": distinct([document.text for document in self.data.documents]),
        }

    def run(self, encoder: Encoder, reranker: OrderReranker | None = None) -> TaskResult:
        """``ndcg@10``, ``recall@10`` and ``mrr@10`` over the queries with a relevant document.

        The search is exact: no index, no approximation.
        """
        judgements = self._judgements
        queries = [query for query in self.data.queries if query.id in judgements]
        ids = [document.id for document in self.data.documents]
        encoded = Encoded(encoder, self.inputs)
        asked = encoded.of([query.text for query in queries], "query")
        stored = encoded.of([document.text for document in self.data.documents], "document")
        nearest = top_rows(asked, stored, ids, CUTOFF if reranker is None else CANDIDATES)
        if reranker is not None:
            nearest = [
                self._reranked(query.text, vector, stored, rows, reranker)
                for query, vector, rows in zip(queries, asked, nearest, strict=True)
            ]
        reached = np.empty((len(queries), 3))
        for row, (query, found) in enumerate(zip(queries, nearest, strict=True)):
            judged = judgements[query.id]
            ranked, ideal = [judged.get(ids[doc], 0) for doc in found], list(judged.values())
            reached[row] = (
                metrics.ndcg_at(CUTOFF, ranked, ideal),
                metrics.recall_at(CUTOFF, ranked, ideal),
                metrics.reciprocal_rank_at(CUTOFF, ranked),
            )
        names = (f"ndcg@{CUTOFF}", f"recall@{CUTOFF}", f"mrr@{CUTOFF}")
        numbers = measured(
            len(queries), {name: metrics.mean_of(reached[:, i]) for i, name in enumerate(names)}
        )
        total = len(self.data.queries)
        note = f"{total - len(queries)} of {total} queries have no relevant document: not scored"
        return TaskResult(
            self.name,
            "retrieval",
            len(queries),
            names[0],
            numbers.metrics,
            numbers.intervals,
            numbers.draws,
            (note,) if len(queries) < total else (),
            failures=tuple(
                self._failure(query.id, query.text, asked[row], stored, int(nearest[row][0]))
                for row in worst(1 - reached[:, 0])
                for query in [queries[row]]
            ),
        )

    def _reranked(
        self,
        query: str,
        asked: Vectors,
        stored: Vectors,
        rows: npt.NDArray[np.int64],
        reranker: OrderReranker,
    ) -> npt.NDArray[np.int64]:
        """The candidates of a query in their new order, cut off."""
        scores = cosines(np.broadcast_to(asked, (len(rows), len(asked))), stored[rows])
        texts = [self.data.documents[row].text for row in rows.tolist()]
        again = reranker.rescored([(query, text) for text in texts], scores)
        return rows[np.argsort(-again, kind="stable")[:CUTOFF]]

    def _failure(
        self, query_id: str, text: str, asked: Vectors, stored: Vectors, first: int
    ) -> Failure:
        """What came first for a query, and what should have, with the rank it has."""
        judged = self._judgements[query_id]
        wanted = max(judged, key=lambda document: (judged[document], document))
        documents = self.data.documents
        row = next(i for i, document in enumerate(documents) if document.id == wanted)
        scores = cosines(np.broadcast_to(asked, stored.shape), stored)
        return Failure(
            query_id,
            {"query": text, "came first": documents[first].text, "relevant": documents[row].text},
            {"came first": float(scores[first]), "relevant": float(scores[row])},
            {"rank of the relevant one": f"{int((scores > scores[row]).sum()) + 1:,}"},
        )

    @functools.cached_property
    def _judgements(self) -> dict[str, dict[str, int]]:
        """Relevance by document id, by query id, of the queries with a judgement above 0."""
        by_query: defaultdict[str, dict[str, int]] = defaultdict(dict)
        for qrel in self.data.qrels:
            by_query[qrel.query_id][qrel.doc_id] = qrel.relevance
        return {query: judged for query, judged in by_query.items() if max(judged.values()) > 0}


def top_rows(
    queries: Vectors, documents: Vectors, ids: Sequence[str], k: int
) -> list[npt.NDArray[np.int64]]:
    """For each query the rows of its k nearest documents, best first, by (-cosine, id).

    ``queries`` float32 (q, dim) and ``documents`` float32 (n, dim) hold unit vectors, ``ids`` the n
    document ids; n and k are at least 1. Each result is int64 (min(k, n),). Exact, as ``FlatIndex``
    is, which also hands out all that tie with the k-th.
    """
    id_order = np.empty(len(documents), dtype=np.int64)
    id_order[sorted(range(len(documents)), key=ids.__getitem__)] = np.arange(len(documents))
    found = FlatIndex([documents]).search(queries, k)
    return [rows[np.lexsort((id_order[rows], -scores))[:k]] for rows, scores in found]
