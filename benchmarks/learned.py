"""What `train classify` and `train label` learn, beside scikit-learn on the same splits.

    python benchmarks/learned.py --train intents.csv --test intents-test.csv --model intents/
    python benchmarks/learned.py --train train.bmes --test test.bmes --model entities/

Classes: nearest neighbours and a logistic regression on the frozen vectors of `--frozen` (what the
model was trained from), and linear classifiers on TF-IDF of words and of characters. Entities: a
linear classifier of each unit by the units around it, its tags read as spans. What is trained here
sees `--train` only.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.feature_extraction import DictVectorizer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC

from simsearch import SentenceEncoder
from simsearch.evaluation.files import read_labelled, read_tagged
from simsearch.prediction import Predictor
from simsearch.records import LabelledText, TaggedText
from simsearch.tagging import span_f1, spans_of

Row = tuple[str, float, float]


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--train", type=Path, required=True, metavar="FILE")
    parser.add_argument("--test", type=Path, required=True, metavar="FILE")
    parser.add_argument("--model", required=True, metavar="DIR", help="what the training made")
    parser.add_argument("--frozen", default="zhen-small", metavar="M", help="what it began with")
    arguments = parser.parse_args()
    predictor = Predictor.load(arguments.model)
    if predictor.kind == "classes":
        train, test = (
            read_labelled(path, text_column="text")[0] for path in (arguments.train, arguments.test)
        )
        print(f"{'':<50}accuracy  macro F1")
        for name, accuracy, f1 in _classes(predictor, arguments.frozen, train, test):
            print(f"{name:<50}{accuracy:8.4f}  {f1:8.4f}", flush=True)
    else:
        train, test = read_tagged(arguments.train), read_tagged(arguments.test)
        print(f"{'':<50}F1 of spans")
        for name, f1 in _entities(predictor, train, test):
            print(f"{name:<50}{f1:11.4f}", flush=True)
    return 0


def _classes(
    predictor: Predictor, frozen: str, train: Sequence[LabelledText], test: Sequence[LabelledText]
) -> Iterator[Row]:
    texts, labels = [x.text for x in train], [x.label for x in train]
    asked, wanted = [x.text for x in test], [x.label for x in test]

    def scored(name: str, given: Sequence[str]) -> Row:
        macro = f1_score(wanted, given, average="macro")
        return name, float(accuracy_score(wanted, given)), float(macro)

    encoder = SentenceEncoder.load(frozen)
    known, vectors = encoder.encode(texts), encoder.encode(asked)
    for k in (1, 10):
        neighbours = KNeighborsClassifier(k, metric="cosine").fit(known, labels)
        yield scored(f"{k} nearest, frozen vectors", neighbours.predict(vectors))
    regression = LogisticRegression(C=100, max_iter=2000).fit(known, labels)
    yield scored("logistic regression, frozen vectors", regression.predict(vectors))
    for analyzer, grams in (("word", (1, 2)), ("char_wb", (1, 4))):
        linear = make_pipeline(
            TfidfVectorizer(analyzer=analyzer, ngram_range=grams, sublinear_tf=True), LinearSVC()
        ).fit(texts, labels)
        name = f"linear SVM, TF-IDF of {analyzer} {grams[0]}- to {grams[1]}-grams"
        yield scored(name, linear.predict(asked))
    yield scored("simsearch train classify", [one[0].label for one in predictor.classes(asked)])


def _entities(
    predictor: Predictor, train: Sequence[TaggedText], test: Sequence[TaggedText]
) -> Iterator[tuple[str, float]]:
    features = DictVectorizer(sort=False)

    def matrix(rows: Any) -> Any:
        rows.indices, rows.indptr = (x.astype(np.int32) for x in (rows.indices, rows.indptr))
        return rows  # LIBLINEAR takes no other

    rows = matrix(features.fit_transform([row for text in train for row in _around(text.units)]))
    classifier = LinearSVC().fit(rows, [tag for text in train for tag in text.tags])
    wanted = [text.tags for text in test]
    given = [
        classifier.predict(matrix(features.transform(list(_around(text.units))))).tolist()
        for text in test
    ]
    yield "linear SVM, five units around and pairs of them", span_f1(wanted, given)
    right = there = found = 0
    for text in test:
        mine = set(spans_of(text.tags))
        starts = np.cumsum([0, *map(len, text.units)]).tolist()
        theirs = {
            (starts.index(entity.span[0]), starts.index(entity.span[1]), entity.label)
            for entity in predictor.entities(["".join(text.units)])[0]
        }
        right, there, found = right + len(mine & theirs), there + len(mine), found + len(theirs)
    yield "simsearch train label", 2 * right / (there + found)


def _around(units: Sequence[str]) -> Iterator[dict[str, str]]:
    padded = ["<", "<", *units, ">", ">"]
    for i in range(len(units)):
        window = padded[i : i + 5]
        single = {f"{place}": unit for place, unit in enumerate(window)}
        pairs = {f"{place}+": "".join(window[place : place + 2]) for place in range(4)}
        yield single | pairs


if __name__ == "__main__":
    sys.exit(main())
