"""Evaluation tasks: run an encoder on one, and get numbers with intervals.

Every cosine is a row-wise float64 dot product of the encoder's float32 unit vectors, and every
distinct text of a task is encoded once: equal texts get equal scores, and no number depends on how
a matrix was cut into blocks. A task never changes its inputs. Every interval is a 95 % percentile
bootstrap over the items of the task (pairs, judged queries, triples).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from simsearch.encoder import Encoder, Prompt, Vectors
from simsearch.errors import TaskError
from simsearch.evaluation import metrics
from simsearch.evaluation.files import RetrievalData
from simsearch.evaluation.metrics import Floats, Indices
from simsearch.index.faiss import FlatIndex
from simsearch.records import SentencePair, WordOrderTriple

CUTOFF: Final = 10  # the k of ndcg@10, recall@10, mrr@10
# Cosines that differ by no more are equal: the float sums of the same token embeddings in another
# order differ in their last bits, and static_mean is order-blind only within this.
TIE: Final = 1e-6
ROWS_PER_BLOCK: Final = 4096  # rows of vectors held in float64 at a time

ORDER_BLIND: Final = (
    "a mean of token embeddings without positions is the same for the same words in any order, "
    "so cos(sentence, swap) = 1 and no paraphrase can be closer"
)


@dataclass(frozen=True)
class TaskResult:
    """What one encoder reaches on one task.

    ``intervals`` has (low, high) for each of ``metrics``; a metric that is undefined for these
    scores is ``nan``. ``breakdown`` has further metrics by group: for word order, by language and
    by "language/phenomenon". ``notes`` are sentences for the reader of the numbers.
    """

    task: str
    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    notes: tuple[str, ...] = ()
    breakdown: dict[str, dict[str, float]] = field(default_factory=dict)


class Task(Protocol):
    """What can be run on an encoder; ``name`` is how the user named it."""

    @property
    def name(self) -> str:
        """The file or folder as it was given, or ``word-order`` for the built-in suite."""

    def run(self, encoder: Encoder) -> TaskResult:
        """The metrics of this encoder."""


@dataclass(frozen=True)
class PairsTask:
    """Sentence pairs: does their cosine follow what people say of them."""

    name: str
    pairs: Sequence[SentencePair]

    def __post_init__(self) -> None:
        _require(self.pairs, f"{self.name}: no pairs, expected at least one")

    def run(self, encoder: Encoder) -> TaskResult:
        """``spearman``, and for 0/1 labels ``auc`` and ``average_precision``.

        Labels that are all equal leave those undefined; then it is ``mean_cosine`` and
        ``same_bag_share``, the share of pairs whose sorted token ids are equal.

        Both sentences get the query prompt: similarity is symmetric, so both sides need the same
        prompt, and models that have prompts (E5) say that symmetric tasks take the query's.
        """
        labels = np.array([pair.score for pair in self.pairs])
        first = [pair.sentence1 for pair in self.pairs]
        second = [pair.sentence2 for pair in self.pairs]
        vectors = _encode(encoder, first + second, "query")
        scores = _cosines(vectors[: len(first)], vectors[len(first) :])
        if (labels == labels[0]).all():
            same = _same_bag(encoder, first, second).astype(np.float64)
            statistics = {"mean_cosine": _mean_of(scores), "same_bag_share": _mean_of(same)}
            note = f"every label is {labels[0]:g}, so there is nothing to correlate with"
            return _result(self.name, len(labels), statistics, (note,))
        statistics = {"spearman": lambda rows: metrics.spearman(labels[rows], scores[rows])}
        constant = bool((scores == scores[0]).all())
        notes = ("every cosine is equal, so spearman is undefined",) if constant else ()
        if np.isin(labels, (0, 1)).all():
            statistics["auc"] = lambda rows: metrics.auc(labels[rows], scores[rows])
            statistics["average_precision"] = lambda rows: metrics.average_precision(
                labels[rows], scores[rows]
            )
        return _result(self.name, len(labels), statistics, notes)


@dataclass(frozen=True)
class RetrievalTask:
    """Retrieval: are the documents that people judged relevant among the nearest ones."""

    name: str
    data: RetrievalData

    def __post_init__(self) -> None:
        _require(self._judgements(), f"{self.name}: no query has a judgement above 0")

    def run(self, encoder: Encoder) -> TaskResult:
        """``ndcg@10``, ``recall@10`` and ``mrr@10`` over the queries with a relevant document.

        The search is exact: no index, no approximation.
        """
        judgements = self._judgements()
        queries = [query for query in self.data.queries if query.id in judgements]
        ids = [document.id for document in self.data.documents]
        nearest = top_rows(
            _encode(encoder, [query.text for query in queries], "query"),
            _encode(encoder, [document.text for document in self.data.documents], "document"),
            ids,
            CUTOFF,
        )
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
        statistics = {name: _mean_of(reached[:, column]) for column, name in enumerate(names)}
        total = len(self.data.queries)
        note = f"{total - len(queries)} of {total} queries have no relevant document: not scored"
        return _result(self.name, len(queries), statistics, (note,) if len(queries) < total else ())

    def _judgements(self) -> dict[str, dict[str, int]]:
        """Relevance by document id, by query id, of the queries with a judgement above 0."""
        by_query: defaultdict[str, dict[str, int]] = defaultdict(dict)
        for qrel in self.data.qrels:
            by_query[qrel.query_id][qrel.doc_id] = qrel.relevance
        return {query: judged for query, judged in by_query.items() if max(judged.values()) > 0}


@dataclass(frozen=True)
class WordOrderTask:
    """Word order: is a paraphrase closer to its sentence than the same words in another order.

    The swap means something else than the sentence, the paraphrase means the same. A triple is
    right iff cos(sentence, paraphrase) > cos(sentence, swap) + ``TIE``.
    """

    name: str
    triples: Sequence[WordOrderTriple]

    def __post_init__(self) -> None:
        _require(self.triples, f"{self.name}: no triples, expected at least one")

    def run(self, encoder: Encoder) -> TaskResult:
        """``triplet_accuracy``, ``swap_auc``, the two mean cosines and ``order_blind_ceiling``.

        The ceiling is the share of triples whose swap has other token ids than the sentence, order
        aside: an encoder that does not see order ties on all the rest, and a tie is wrong. All
        texts get the query prompt, as in ``PairsTask``.
        """
        count = len(self.triples)
        sentences = [triple.sentence for triple in self.triples]
        swaps = [triple.swap for triple in self.triples]
        texts = sentences + [triple.paraphrase for triple in self.triples] + swaps
        vectors = _encode(encoder, texts, "query")
        near = _cosines(vectors[:count], vectors[count : 2 * count])
        far = _cosines(vectors[:count], vectors[2 * count :])
        same_bag = _same_bag(encoder, sentences, swaps)

        def accuracy(rows: Indices) -> float:
            return metrics.triplet_accuracy(near[rows], far[rows], tolerance=TIE)

        statistics: dict[str, Callable[[Indices], float]] = {
            "triplet_accuracy": accuracy,
            "swap_auc": lambda rows: metrics.swap_auc(near[rows], far[rows]),
            "order_blind_ceiling": _mean_of((~same_bag).astype(np.float64)),
            "mean_cosine_paraphrase": _mean_of(near),
            "mean_cosine_swap": _mean_of(far),
        }
        notes: tuple[str, ...] = ()
        if same_bag.any() and (np.abs(far[same_bag] - 1) <= TIE).all():
            affected = f"{int(same_bag.sum())} of {count} triples score 0 by construction"
            notes = (f"{affected}: {ORDER_BLIND}",)
        groups = self._groups().items()
        breakdown = {name: {"triplet_accuracy": accuracy(rows)} for name, rows in groups}
        return _result(self.name, count, statistics, notes, breakdown)

    def _groups(self) -> dict[str, Indices]:
        """Rows of each language and of each "language/phenomenon", sorted by that name."""
        rows: defaultdict[str, list[int]] = defaultdict(list)
        for row, triple in enumerate(self.triples):
            rows[triple.language].append(row)
            rows[f"{triple.language}/{triple.phenomenon}"].append(row)
        return {name: np.array(rows[name], dtype=np.int64) for name in sorted(rows)}


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
    return [rows[np.lexsort((id_order[rows], -cosines))[:k]] for rows, cosines in found]


def _result(
    task: str,
    count: int,
    statistics: Mapping[str, Callable[[Indices], float]],
    notes: tuple[str, ...] = (),
    breakdown: dict[str, dict[str, float]] | None = None,
) -> TaskResult:
    """Each statistic of all ``count`` items, and its bootstrap interval."""
    everything = np.arange(count)
    values = {name: statistic(everything) for name, statistic in statistics.items()}
    intervals = {name: metrics.bootstrap_interval(s, count) for name, s in statistics.items()}
    return TaskResult(task, values, intervals, notes, breakdown or {})


def _mean_of(values: Floats) -> Callable[[Indices], float]:
    return lambda rows: float(values[rows].mean())


def _encode(encoder: Encoder, texts: Sequence[str], prompt: Prompt) -> Vectors:
    """One row for each text, float32 (len(texts), dim); each distinct text is encoded once."""
    row_of = {text: row for row, text in enumerate(dict.fromkeys(texts))}
    vectors = encoder.encode(list(row_of), prompt=prompt)
    if not np.isfinite(vectors).all():
        raise ValueError("the encoder gave nan or infinity, expected unit vectors")
    if len(row_of) == len(texts):
        return vectors
    return vectors[[row_of[text] for text in texts]]


def _cosines(first: Vectors, second: Vectors) -> Floats:
    """Row-wise dot products of unit vectors, (n, dim) and (n, dim): float64 (n,).

    A float64 sum along each row, not a matrix product or einsum: those order the additions by the
    shape of the whole, so equal rows would not be sure to score equal.
    """
    cosines = np.empty(len(first))
    for start in range(0, len(first), ROWS_PER_BLOCK):
        rows = slice(start, start + ROWS_PER_BLOCK)
        cosines[rows] = np.sum(first[rows].astype(np.float64) * second[rows], axis=1)
    return cosines


def _same_bag(
    encoder: Encoder, first: Sequence[str], second: Sequence[str]
) -> npt.NDArray[np.bool_]:
    """Which of the n pairs of queries have the same token ids, order aside: bool (n,)."""
    ids = (encoder.token_ids(texts, prompt="query") for texts in (first, second))
    return np.array([sorted(a) == sorted(b) for a, b in zip(*ids, strict=True)], dtype=np.bool_)


def _require(condition: object, message: str) -> None:
    if not condition:
        raise TaskError(message)
