"""Dense, lexical and hybrid search on judged retrieval, paired.

    python benchmarks/hybrid.py --retrieval cmrc2018-zh --retrieval cranfield-en

nDCG@10 with 95 % bootstrap intervals; hybrid and its alternative against the better of dense and
lexical, on the same resamples. With ``--among`` the documents hide among so many lines of text, as
a search among a thousand documents says little about one among many.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import numpy.typing as npt
from same_vectors import machine
from simsearch.index.faiss import FlatIndex

from simsearch import SentenceEncoder
from simsearch.evaluation import metrics
from simsearch.evaluation.bootstrap import difference
from simsearch.evaluation.files import RetrievalData, read_retrieval
from simsearch.evaluation.tasks.base import Measured, measured
from simsearch.fusion import reciprocal_rank_fusion
from simsearch.readers import text_lines
from simsearch.store.bm25 import WordIndex
from simsearch.store.database import create_database, transaction
from simsearch.store.words import insert_words

Numbers = npt.NDArray[np.int64]
Ranking = tuple[Numbers, npt.NDArray[np.float64]]
METRIC = "ndcg@10"


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Dense, lexical and hybrid search, compared.")
    parser.add_argument("--retrieval", action="append", required=True, type=Path, help="BEIR")
    parser.add_argument("--model", default="zhen-small", help="a name or folder")
    parser.add_argument("--among", type=Path, help="lines of text to hide the documents among")
    parser.add_argument("--count", default=50_000, type=int, help="how many of them")
    parser.add_argument("--depth", default=100, type=int, help="of the lists that are fused")
    return parser.parse_args()


def main() -> None:
    """Measure and print."""
    given = arguments()
    encoder = SentenceEncoder.load(given.model, precision="float32")
    others = []
    if given.among is not None:
        others = list(itertools.islice(text_lines(given.among), given.count))
    print("\n".join(f"- {line}" for line in machine({})))
    print(f"- {given.model}, the first {given.depth} of each list are fused\n")
    print("| task | documents | queries | ranking | nDCG@10 | difference from the better one |")
    print("|---|--:|--:|---|--:|--:|")
    for folder in given.retrieval:
        data = read_retrieval(folder)
        texts = [document.text for document in data.documents] + others
        for line in compared(data, texts, encoder, given.depth):
            print(f"| {folder.name} | {len(texts):,} | {line}", flush=True)


def compared(
    data: RetrievalData, texts: Sequence[str], encoder: SentenceEncoder, depth: int
) -> list[str]:
    """A line of the table for each way to search."""
    judged: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for qrel in data.qrels:
        judged[qrel.query_id][qrel.doc_id] = qrel.relevance
    queries = [q for q in data.queries if max(judged[q.id].values(), default=0) > 0]
    ids = [document.id for document in data.documents]
    asked = [query.text for query in queries]
    dense = [cut(one, depth) for one in dense_rankings(asked, texts, encoder, depth)]
    lexical = [cut(one, depth) for one in lexical_rankings(asked, texts, depth)]
    both = list(zip(dense, lexical, strict=True))
    ways = {
        "dense": dense,
        "lexical": lexical,
        "hybrid": [reciprocal_rank_fusion([a[0], b[0]]) for a, b in both],
        "scores added": [added(a, b) for a, b in both],
    }
    reached: dict[str, Measured] = {}
    for name, rankings in ways.items():
        values = np.empty(len(queries))
        for i, (query, (numbers, _)) in enumerate(zip(queries, rankings, strict=True)):
            judgements = judged[query.id]
            best = [judgements.get(ids[n], 0) if n < len(ids) else 0 for n in numbers[:10].tolist()]
            values[i] = metrics.ndcg_at(10, best, list(judgements.values()))
        reached[name] = measured(len(queries), {METRIC: metrics.mean_of(values)})
    better = max(("dense", "lexical"), key=lambda name: reached[name].metrics[METRIC])
    lines = []
    for name, numbers in reached.items():
        low, high = numbers.intervals[METRIC]
        versus = "" if name in ("dense", "lexical") else against(numbers, reached[better])
        lines.append(
            f"{len(queries):,} | {name} | {numbers.metrics[METRIC]:.4f} ({low:.4f}–{high:.4f}) "
            f"| {versus} |"
        )
    return lines


def cut(ranking: Ranking, depth: int) -> Ranking:
    """Its first, without what ties with the last of them."""
    return ranking[0][:depth], ranking[1][:depth]


def dense_rankings(
    queries: Sequence[str], texts: Sequence[str], encoder: SentenceEncoder, depth: int
) -> list[Ranking]:
    """By exact cosines."""
    index = FlatIndex([encoder.encode(texts)])
    return index.search(encoder.encode(queries, prompt="query"), depth)


def lexical_rankings(queries: Sequence[str], texts: Sequence[str], depth: int) -> list[Ranking]:
    """By words."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "words.sqlite"
        with closing(create_database(path)) as connection:
            with transaction(connection):
                insert_words(connection, enumerate(texts))
            index = WordIndex(connection, path)
            return [index.search(query, depth) for query in queries]


def added(dense: Ranking, lexical: Ranking) -> Ranking:
    """The alternative: scores, each list's put between 0 and 1, added.

    Bruch, Gai & Ingber (2023), An Analysis of Fusion Functions for Hybrid Retrieval.
    """
    scores: defaultdict[int, float] = defaultdict(float)
    for numbers, values in (dense, lexical):
        if len(values):
            spread = max(float(np.ptp(values)), 1e-12)
            for number, value in zip(numbers.tolist(), values.tolist(), strict=True):
                scores[number] += (value - float(values.min())) / spread
    order = sorted(scores, key=lambda number: (-scores[number], number))
    return np.array(order, np.int64), np.array([scores[number] for number in order])


def against(one: Measured, other: Measured) -> str:
    """The paired difference, and its interval."""
    found = difference(
        one.metrics[METRIC], one.draws[METRIC], other.metrics[METRIC], other.draws[METRIC]
    )
    return f"{found.value:+.4f} ({found.low:+.4f} to {found.high:+.4f})"


if __name__ == "__main__":
    main()
