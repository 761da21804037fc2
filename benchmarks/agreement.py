"""Our scores beside those of scipy, scikit-learn and ir_measures, on the same vectors.

    python benchmarks/agreement.py --pairs dev.tsv --retrieval beir/ --classification intents/

Encodes the texts of each task once, hands the vectors to the task and, by way of plain NumPy, to
the other libraries, and prints both numbers. The exit status is 1 if any two differ by more than
1e-6.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import ir_measures
import numpy as np
from scipy import stats
from sklearn import metrics as sklearn_metrics
from sklearn.neighbors import KNeighborsClassifier

import simsearch
from simsearch import SentenceEncoder
from simsearch.config import CorpusSettings
from simsearch.evaluation.tasks import ClassificationTask, PairsTask, RetrievalTask, WordOrderTask

LARGEST = 1e-6
Scores = Iterator[tuple[str, float]]


class Vectors:
    """The float64 vectors of texts, from one call of the encoder a prompt."""

    def __init__(self, encoder: SentenceEncoder, task: Any) -> None:
        self._rows = {
            prompt: dict(zip(texts, encoder.encode(texts, prompt).astype(np.float64), strict=True))
            for prompt, texts in task.inputs.items()
        }

    def of(self, texts: Sequence[str], prompt: str = "query") -> Any:
        """(len(texts), dim)."""
        return np.array([self._rows[prompt][text] for text in texts])


def pairs(task: PairsTask, vectors: Vectors) -> Scores:
    """Scipy's rank correlation; scikit-learn's two areas for labels 0 and 1."""
    labels = [pair.score for pair in task.pairs]
    first = vectors.of([pair.sentence1 for pair in task.pairs])
    cosines = (first * vectors.of([pair.sentence2 for pair in task.pairs])).sum(axis=1)
    if len(set(labels)) == 1:
        yield "mean_cosine", float(np.mean(cosines))
        return
    yield "spearman", stats.spearmanr(labels, cosines).statistic
    if set(labels) <= {0, 1}:
        yield "auc", sklearn_metrics.roc_auc_score(labels, cosines)
        yield "average_precision", sklearn_metrics.average_precision_score(labels, cosines)


def retrieval(task: RetrievalTask, vectors: Vectors) -> Scores:
    """ir_measures over a run that NumPy sorted."""
    documents = sorted(task.data.documents, key=lambda document: document.id)
    matrix = vectors.of([document.text for document in documents], "document")
    judged = {qrel.query_id for qrel in task.data.qrels if qrel.relevance > 0}
    run = []
    for query in task.data.queries:
        if query.id in judged:
            cosines = matrix @ vectors.of([query.text])[0]
            best = np.argsort(-cosines, kind="stable")[:10]
            # places for scores, so that its own rule for ties plays no part
            run += [
                ir_measures.ScoredDoc(query.id, documents[row].id, 10.0 - place)
                for place, row in enumerate(best)
            ]
    qrels = [
        ir_measures.Qrel(q.query_id, q.doc_id, q.relevance)
        for q in task.data.qrels
        if q.query_id in judged
    ]
    wanted = {
        "ndcg@10": ir_measures.nDCG @ 10,
        "recall@10": ir_measures.R @ 10,
        "mrr@10": ir_measures.RR @ 10,
    }
    found = ir_measures.calc_aggregate(list(wanted.values()), qrels, run)
    for name, measure in wanted.items():
        yield name, found[measure]


def classification(task: ClassificationTask, vectors: Vectors) -> Scores:
    """scikit-learn's nearest neighbour; its macro F1 of a vote counted by hand."""
    assert task.test is not None, "give a folder with train and test"
    known, asked = (vectors.of([item.text for item in part]) for part in (task.train, task.test))
    labels, expected = ([item.label for item in part] for part in (task.train, task.test))
    nearest = KNeighborsClassifier(1, algorithm="brute", metric="cosine").fit(known, labels)
    yield "accuracy@1", sklearn_metrics.accuracy_score(expected, nearest.predict(asked))
    voted = []
    for row in asked:
        near = [labels[i] for i in np.argsort(-(known @ row), kind="stable")[:10]]
        most = max(map(near.count, near))
        voted.append(next(label for label in near if near.count(label) == most))
    yield "accuracy@10", sklearn_metrics.accuracy_score(expected, voted)
    yield "macro_f1@10", sklearn_metrics.f1_score(expected, voted, average="macro")


def word_order(task: WordOrderTask, vectors: Vectors) -> Scores:
    """NumPy and scikit-learn, over each half of the suite."""
    sentences = vectors.of([triple.sentence for triple in task.triples])
    near, far = (
        (sentences * vectors.of([getattr(triple, role) for triple in task.triples])).sum(axis=1)
        for role in ("paraphrase", "swap")
    )
    moved = np.array([t.phenomenon.startswith("reordering-") for t in task.triples])
    for half, accuracy, area in (
        (~moved, "triplet_accuracy", "swap_auc"),
        (moved, "reordering_accuracy", "reordering_auc"),
    ):
        if half.any():
            yield accuracy, float(np.mean(near[half] > far[half] + 1e-6))
            labels = [1] * int(half.sum()) + [0] * int(half.sum())
            scores = np.concatenate([near[half], far[half]])
            yield area, sklearn_metrics.roc_auc_score(labels, scores)


SCORERS: dict[type, Any] = {
    PairsTask: pairs,
    RetrievalTask: retrieval,
    ClassificationTask: classification,
    WordOrderTask: word_order,
}


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="zhen-small")
    parser.add_argument("--pooling", default="mean")
    for kind in ("pairs", "retrieval", "classification", "word-order"):
        parser.add_argument(f"--{kind}", action="append", default=[], metavar="PATH")
    arguments = parser.parse_args()
    encoder = SentenceEncoder.load(arguments.model, pooling=arguments.pooling, precision="float32")
    tasks = simsearch.read_tasks(
        arguments.pairs,
        arguments.retrieval,
        arguments.word_order,
        arguments.classification,
        corpus=CorpusSettings(on_error="skip"),
    )
    worst = 0.0
    print(f"| {arguments.model}, {arguments.pooling} | | ours | theirs | difference |")
    print("|---|---|---|---|---|")
    for task in tasks:
        ours = task.run(encoder).metrics
        for name, theirs in SCORERS[type(task)](task, Vectors(encoder, task)):
            difference = abs(ours[name] - theirs)
            worst = max(worst, difference)
            label = "/".join(Path(task.name).parts[-2:])
            print(f"| {label} | {name} | {ours[name]:.8f} | {theirs:.8f} | {difference:.1e} |")
    print(f"largest difference {worst:.1e}")
    sys.exit(worst > LARGEST)


if __name__ == "__main__":
    main()
