"""From texts to batches of token ids: texts of like length together, made while others are run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from simsearch.tokenizer import TextPair, TokenBatch

# Texts that are tokenized at a time: some dozens of batches, so that little is lost at their ends.
_BLOCK = 2048
_Item = TypeVar("_Item")
_Text = TypeVar("_Text", str, TextPair)


@dataclass(frozen=True, slots=True)
class Batch:
    """Some of the texts: their positions, and their ids, int32 (batch, tokens), 0 being padding.

    ``lengths`` are their tokens without padding, ``cut`` says which texts were longer.
    """

    rows: list[int]
    ids: npt.NDArray[np.int32]
    lengths: list[int]
    cut: list[bool]


def batches(
    texts: Sequence[_Text],
    tokenize: Callable[[Sequence[_Text]], TokenBatch],
    rows: Callable[[int], int],
) -> Iterator[Batch]:
    """All texts in batches, about the longest first, so that next to nothing is padding.

    They are strings, or pairs of strings. ``rows`` says how many texts of so many tokens make a
    batch. Texts are ordered by characters, then within blocks by tokens, so that a thread can
    tokenize a block while another is run.
    """
    order = sorted(range(len(texts)), key=lambda i: -_characters(texts[i]))
    blocks = [order[start : start + _BLOCK] for start in range(0, len(order), _BLOCK)]
    tokenized = ((block, tokenize([texts[i] for i in block])) for block in blocks)
    left: list[_Tokenized] = []
    for block, tokens in _ahead(tokenized) if len(blocks) > 1 else tokenized:
        left += map(_Tokenized, block, tokens.ids, tokens.cut)
        left.sort(key=lambda text: -len(text.ids))
        # what does not fill a batch waits for more: each odd size costs a runtime time and memory
        while left and len(left) >= (count := rows(len(left[0].ids))):
            yield _batch(left[:count])
            del left[:count]
    while left:
        count = rows(len(left[0].ids))
        yield _batch(left[:count])
        del left[:count]


def padded(ids: Sequence[Sequence[int]]) -> npt.NDArray[np.int32]:
    """Lists of ids as int32 (lists, ids of the longest), with zeros after the others."""
    batch = np.zeros((len(ids), max(map(len, ids))), np.int32)
    for row, tokens in zip(batch, ids, strict=True):
        row[: len(tokens)] = tokens
    return batch


def _characters(text: str | TextPair) -> int:
    return len(text) if isinstance(text, str) else len(text[0]) + len(text[1])


class _Tokenized(NamedTuple):
    row: int
    ids: list[int]
    cut: bool


def _batch(texts: Sequence[_Tokenized]) -> Batch:
    return Batch(
        rows=[text.row for text in texts],
        ids=padded([text.ids for text in texts]),
        lengths=[len(text.ids) for text in texts],
        cut=[text.cut for text in texts],
    )


def _ahead(items: Iterable[_Item]) -> Iterator[_Item]:
    """The items, each made by a thread while the one before is in use."""
    iterator = iter(items)
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(next, iterator, None)
        while (item := coming.result()) is not None:
            coming = thread.submit(next, iterator, None)
            yield item
