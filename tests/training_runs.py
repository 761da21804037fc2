"""Data for each method of training, small enough for a small model, and runs on them."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import numpy as np
from checkpoints import PIECES

from simsearch import bert
from simsearch.bert.backend import tf
from simsearch.bert.trainable import TrainableModel
from simsearch.checkpoint import load_checkpoint
from simsearch.config import EncoderSettings, TrainingMethod, TrainSettings
from simsearch.pipeline import TrainReport, train
from simsearch.training.method import Replicas

LETTERS = [piece for piece in PIECES if len(piece) == 1 and piece.isalpha()]
METHODS: tuple[TrainingMethod, ...] = get_args(TrainingMethod)
ALIKE = (
    "mlm",
    "classify",
    "label",
    "rerank",
)  # whose dev data are the like of what they are trained on
FAST = TrainSettings(epochs=3, batch_size=16, learning_rate=1e-3, dropout=0.1)
Weights = dict[str, np.ndarray]


class Killed(Exception):
    """Stands for a kill: nothing in between may notice."""


class Squares:
    """A method whose loss is a mean over rows, so that parts of a batch add up to it."""

    examples = 64
    ids = ("ids",)

    def batch(self, rows: np.ndarray, seed: object) -> dict[str, np.ndarray]:
        random = np.random.default_rng(rows.tolist())
        return {"ids": random.integers(5, 20, (len(rows), 6)).astype(np.int32)}

    def loss(self, model: TrainableModel, batch: Mapping[str, Any], replicas: Replicas) -> Any:
        return tf.reduce_mean(model.pooled(batch["ids"]) ** 2) / replicas.count


def sentences(count: int, seed: int) -> list[str]:
    random = np.random.default_rng(seed)
    return [" ".join(random.choice(LETTERS, random.integers(2, 8))) for _ in range(count)]


def tagged(text: str) -> list[str]:
    """A line for each letter: "b" begins what "c" ends, "d" is alone."""
    names = {"b": "B-对", "c": "E-对", "d": "S-单"}
    return [f"{letter} {names.get(letter, 'O')}" for letter in text.split()]


def write_files(folder: Path) -> Path:
    """Data for each method: texts are alike that have the same letters, in any order."""
    random = np.random.default_rng(4)
    first, others = sentences(64, 1), sentences(64, 2)
    alike = [" ".join(random.permutation(text.split())) for text in first]
    second = [x if i % 2 else y for i, (x, y) in enumerate(zip(alike, others, strict=True))]
    lines = {
        "cosent.tsv": [f"{i % 2}\t{a}\t{b}" for i, (a, b) in enumerate(zip(first, second))],  # noqa: B905
        "graded.tsv": [f"{i % 5}\t{a}\t{b}" for i, (a, b) in enumerate(zip(first, alike))],  # noqa: B905
        "contrastive.tsv": list(map("\t".join, zip(first, alike, others, strict=True))),
        "simcse.txt": sentences(64, 3),
        "distill.txt": first,
        # whether a text has the letter a; the letters b and c are a pair, d is one alone
        "classify.csv": [
            "text,label",
            *(f"{text},{'a' if 'a' in text else '没有'}" for text in first),
        ],
        "label.txt": [line for text in others for line in (*tagged(text), "")],
        "mlm.txt": [" ".join([random.choice(LETTERS)] * (3 + i % 5)) for i in range(64)],
    }
    for name, content in lines.items():
        (folder / name).write_text("\n".join(content) + "\n", "utf-8")
    letters = np.array([[text.count(letter) for letter in LETTERS] for text in first], np.float32)
    np.save(folder / "letters.npy", letters / np.linalg.norm(letters, axis=1, keepdims=True))
    return folder


def data_of(method: TrainingMethod, files: Path) -> Path:
    if method == "rerank":
        return files / "cosent.tsv"
    endings = {"cosent": "tsv", "contrastive": "tsv", "classify": "csv"}
    return files / f"{method}.{endings.get(method, 'txt')}"


def run(
    method: TrainingMethod,
    files: Path,
    model: Path,
    out: Path,
    settings: TrainSettings = FAST,
    judged: bool = True,
    **options: Any,
) -> TrainReport:
    dev = data_of(method if method in ALIKE else "cosent", files) if judged else None
    encoder = EncoderSettings(model=str(model))
    if method == "distill":
        options = {"teacher": files / "letters.npy", **options}
    return train(
        method,
        [data_of(method, files)],
        out,
        dev=dev,
        encoder=encoder,
        settings=settings,
        **options,
    )


def weights(folder: Path) -> Weights:
    return bert.checkpoint_variables(load_checkpoint(folder))


def same(a: Weights, b: Weights) -> bool:
    return a.keys() == b.keys() and all(a[name].tobytes() == b[name].tobytes() for name in a)


def without_key_biases(values: Weights) -> list[str]:
    """The names of all that learns: a key's bias adds the same to all scores of a softmax."""
    return [name for name in values if not name.endswith("key/bias")]


def rows_of(out: Path) -> list[dict[str, str]]:
    with (out / "training" / "metrics.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))
