"""The vectors that the default model shall have: its teacher's, made comparable across languages.

    python targets.py recipe.yaml --texts texts --teacher multilingual-e5-small --out targets

Each file of texts is encoded into ``targets/NAME.npy``; a file that is there already is taken as it
is, so that the command goes on where it was stopped. Then ``targets/texts.txt`` and
``targets/targets.npy`` are written, all texts in one order: what ``simsearch train distill`` takes.
"""

from __future__ import annotations

import argparse
import itertools
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import yaml
from numpy.lib.format import open_memmap
from sources import word_order_triples

from simsearch.files import new_file
from simsearch.sentence_encoder import SentenceEncoder

_CHINESE = re.compile("[\u4e00-\u9fff]")
_SHARD = 8192


def encoded(texts: list[str], path: Path, encoder: SentenceEncoder) -> None:
    """The teacher's unit vectors as float16: its own rounding is bfloat16's."""
    with new_file(path) as aside:
        rows = open_memmap(aside, "w+", np.float16, (len(texts), encoder.dim))
        for start in range(0, len(texts), _SHARD):
            shard = texts[start : start + _SHARD]
            rows[start : start + len(shard)] = encoder.encode(shard, prompt="query")
        rows.flush()


class Transform:
    """What a teacher's vectors become, fitted on some of them (n, dim) and their texts' languages.

    Less ``shrink`` of their mean (the mid of both languages' means), without the direction from one
    language's mean to the other's, and with the covariance within the languages nearer to a
    sphere: multiplied by its power of ``-whitening`` / 2 (1 were ZCA whitening, Kessy et al. 2018,
    arXiv:1512.00809; 0 leaves it).
    """

    def __init__(
        self, vectors: np.ndarray, chinese: np.ndarray, shrink: float, whitening: float
    ) -> None:
        means = [vectors[chinese].mean(0), vectors[~chinese].mean(0)]
        self._mean = shrink * (means[0] + means[1]) / 2
        difference = means[0] - means[1]
        self._language = difference / np.linalg.norm(difference)
        within = np.concatenate([vectors[chinese] - means[0], vectors[~chinese] - means[1]])
        values, axes = np.linalg.eigh(np.cov(within.T))
        floor = 3e-4  # of a variance: below, there is nothing but rounding
        self._matrix = (axes * (values + floor) ** (-whitening / 2)) @ axes.T

    def __call__(self, vectors: np.ndarray) -> np.ndarray:
        """Unit rows, float32."""
        x = vectors.astype(np.float32) - self._mean.astype(np.float32)
        x -= np.outer(x @ self._language, self._language).astype(np.float32)
        x = x @ self._matrix.astype(np.float32)
        return x / np.linalg.norm(x, axis=1, keepdims=True)


def told_apart(
    triples: Iterable[tuple[int, int, int]], vectors: np.ndarray, strength: float
) -> dict[int, np.ndarray]:
    """New targets, by row, of sentences, paraphrases and swaps, given by their rows.

    A sentence and its swap go ``strength`` times as far from the middle between them, and a
    paraphrase half as far as its sentence went, and half of the way to where that is: a teacher
    that hardly tells them apart still says in which direction they differ. What is in several
    triples gets the mean of what they ask for.
    """
    sums: dict[int, np.ndarray] = {}
    for sentence, paraphrase, swap in triples:
        middle = (vectors[sentence] + vectors[swap]) / 2
        new = {row: middle + strength * (vectors[row] - middle) for row in (sentence, swap)}
        moved = vectors[paraphrase] + new[sentence] - vectors[sentence]
        new[paraphrase] = (moved + new[sentence]) / 2
        for row, vector in new.items():
            sums[row] = sums.get(row, 0) + vector / np.linalg.norm(vector)
    return {row: total / np.linalg.norm(total) for row, total in sums.items()}


def main() -> None:
    """Encode what is not encoded yet, and write the targets."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--texts", type=Path, required=True)
    parser.add_argument("--teacher", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only-encode", action="store_true")
    options = parser.parse_args()
    recipe = yaml.safe_load(options.recipe.read_text("utf-8"))
    options.out.mkdir(parents=True, exist_ok=True)
    encoder = SentenceEncoder.load(options.teacher, max_length=recipe["teacher"]["max_length"])
    texts: list[str] = []
    parts: list[np.ndarray] = []
    for name in recipe["texts"]:
        source, path = options.texts / f"{name}.txt", options.out / f"{name}.npy"
        if options.only_encode and not source.is_file():
            continue
        lines = source.read_text("utf-8").split("\n")[:-1]
        if not path.is_file():
            encoded(lines, path, encoder)
            print(f"{name}: {len(lines):,} vectors", flush=True)
        texts += lines
        parts.append(np.load(path, mmap_mode="r"))
    if options.only_encode:
        return
    rng = np.random.default_rng(recipe["seed"])
    triples = list(_triples(texts, recipe["texts"]["word_order"]))
    _write(texts, parts, triples, recipe["teacher"], options.out, rng)


def _write(
    texts: list[str],
    parts: list[np.ndarray],
    triples: Iterable[tuple[int, int, int]],
    teacher: dict[str, float],
    out: Path,
    rng: np.random.Generator,
) -> None:
    vectors = np.concatenate(parts)
    sample = rng.permutation(len(texts))[:60_000]
    chinese = np.array([bool(_CHINESE.search(texts[row])) for row in sample])
    transform = Transform(
        vectors[sample].astype(np.float32), chinese, teacher["shrink"], teacher["whitening"]
    )
    with new_file(out / "targets.npy") as aside:
        rows = open_memmap(aside, "w+", np.float32, vectors.shape)
        for start in range(0, len(texts), _SHARD):
            rows[start : start + _SHARD] = transform(vectors[start : start + _SHARD])
        for row, target in told_apart(triples, rows, teacher["apart"]).items():
            rows[row] = target
        rows.flush()
    (out / "texts.txt").write_text("".join(f"{text}\n" for text in texts), "utf-8")
    print(f"{len(texts):,} texts with targets", flush=True)


def _triples(texts: list[str], wanted: int) -> Iterator[tuple[int, int, int]]:
    """The rows of the first ``wanted`` triples of the word-order grammar that are all there."""
    row_of = {text: row for row, text in enumerate(texts)}
    for triple in itertools.islice(word_order_triples(), wanted):
        rows = [row_of[text] for text in triple if text in row_of]
        if len(rows) == 3:
            yield rows[0], rows[1], rows[2]


if __name__ == "__main__":
    main()
