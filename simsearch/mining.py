"""Examples to train on, out of an index: hard negatives, and pairs that may be paraphrases."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from simsearch.duplicates import close_pairs
from simsearch.errors import SettingsError
from simsearch.records import Example, Hit, SentencePair, passage_of
from simsearch.search import Searcher
from simsearch.store import StoredIndex

_EXAMPLES_AT_ONCE = 256
_PASSAGES_AT_ONCE = 4096

OnProgress = Callable[[int, int | None], None]


def hard_negatives(
    searcher: Searcher,
    examples: Sequence[Example],
    count: int,
    margin: float,
    progress: OnProgress | None = None,
) -> Iterator[Example]:
    """Each example with the ``count`` documents that are nearest to its anchor, and yet wrong.

    Wrong is a document whose cosine with the anchor is below ``margin`` times the positive's: what
    comes nearer is too often an answer that nobody marked as one. (Moreira et al. 2024,
    arXiv:2407.15831, "TopK-PercPos", at 95 %.) Neither the anchor itself nor any text that the
    examples have as a positive of it is wrong. Of a document in chunks it is the best chunk. An
    example has fewer where the index has no more. Raises SettingsError for a count below 1 or a
    margin that is not above 0 and up to 1.
    """
    if count < 1:
        raise SettingsError(f"the number of negatives is {count}; give 1 or more")
    if not 0 < margin <= 1:
        raise SettingsError(f"the margin is {margin}; give a number above 0 and up to 1")
    belongs: dict[str, set[str]] = defaultdict(set)
    for example in examples:
        belongs[example.anchor] |= {one_line(example.anchor), one_line(example.positive)}
    for start in range(0, len(examples), _EXAMPLES_AT_ONCE):
        part = examples[start : start + _EXAMPLES_AT_ONCE]
        ceilings = margin * _cosines(searcher, part)
        found: dict[int, list[str]] = {}
        lacking = list(range(len(part)))
        depth, total = 4 * count, searcher.info()["count"]
        while lacking:
            answers = searcher.search([part[i].anchor for i in lacking], depth)
            for i, hits in zip(lacking, answers, strict=True):
                wrong = [hit for hit in hits if hit.score < ceilings[i]]
                found[i] = _different(wrong, belongs[part[i].anchor])[:count]
            if depth >= total:
                break
            lacking = [i for i in lacking if len(found[i]) < count]
            depth *= 4
        for i, example in enumerate(part):
            yield replace(example, negatives=tuple(found[i]))
        if progress is not None:
            progress(start + len(part), len(examples))


def _different(hits: Sequence[Hit], belongs: Set[str]) -> list[str]:
    """The texts of these hits, of each document its best chunk, that are not of ``belongs``."""
    texts: dict[str, None] = {}
    for hit in hits:
        chunk = one_line(passage_of(hit))
        if not {chunk, one_line(hit.text)} & belongs:
            texts[chunk] = None
    return list(texts)


def _cosines(searcher: Searcher, examples: Sequence[Example]) -> npt.NDArray[np.float64]:
    """Of each anchor with its positive."""
    anchors = searcher.encoder.encode([example.anchor for example in examples], prompt="query")
    positives = searcher.encoder.encode(
        [example.positive for example in examples], prompt="document"
    )
    cosines: npt.NDArray[np.float64] = np.einsum("ij,ij->i", anchors, positives, dtype=np.float64)
    return cosines


def paraphrases(
    stored: StoredIndex, threshold: float, progress: OnProgress | None = None
) -> list[SentencePair]:
    """The pairs of different texts whose cosine is ``threshold`` or more, nearest first.

    Of a document in chunks each chunk is a text. Memory grows with the pairs. ``progress`` and
    errors are those of ``close_pairs``.
    """
    with stored.reading():
        scores: dict[tuple[int, int], float] = {}
        for left, right, cosines in close_pairs(stored, threshold, progress):
            for a, b, cosine in zip(left.tolist(), right.tolist(), cosines.tolist(), strict=True):
                if a != b:
                    scores[min(a, b), max(a, b)] = cosine
        order = sorted(scores, key=lambda pair: (-scores[pair], pair))
        texts = _texts(stored, sorted({row for pair in order for row in pair}))
    pairs: dict[tuple[str, str], SentencePair] = {}
    for a, b in order:
        first, second = texts[a], texts[b]
        if first != second and (second, first) not in pairs:
            pairs.setdefault((first, second), SentencePair(scores[a, b], first, second))
    return list(pairs.values())


def _texts(stored: StoredIndex, rows: Sequence[int]) -> dict[int, str]:
    texts: dict[int, str] = {}
    for start in range(0, len(rows), _PASSAGES_AT_ONCE):
        part = rows[start : start + _PASSAGES_AT_ONCE]
        passages = stored.passages(part)
        texts |= {row: one_line(p.text) for row, p in zip(part, passages, strict=True)}
    return texts


def one_line(text: str) -> str:
    """A text without tabs and line ends, as a file of examples has it."""
    return " ".join(text.split())
