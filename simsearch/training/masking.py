"""Masked language modelling over whole words, and how well masked tokens are told."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from simsearch.batching import padded
from simsearch.bert.backend import tf
from simsearch.bert.trainable import TrainableModel
from simsearch.errors import MissingPackageError
from simsearch.tokenizer import Pieces
from simsearch.training import objectives
from simsearch.training.method import Arrays, Replicas, Rows
from simsearch.training.tokens import Tokens

_CHINESE = re.compile("[\u3400-\u9fff\U00020000-\U0003ffff]+")
# of the words that are chosen, so many become [MASK], so many any tokens; the rest stay as they are
_MASKED, _RANDOM = 0.8, 0.1
_NONE = -1  # no token is asked for here
_BATCH = {name: tf.TensorSpec([None, None], tf.int32) for name in ("ids", "targets")}
_ROWS = 64  # of a batch of texts to measure by
Words = list[list[int]]


class MaskedLanguageModel:
    """Implements ``Method``: guess the tokens of words that are hidden (Devlin et al. 2019).

    ``share`` of the tokens of ``texts`` are chosen, by whole words (see ``whole_words``); of the
    words 80 % are replaced by [MASK] and 10 % by random tokens.
    """

    ids = ("ids",)

    def __init__(self, texts: Sequence[str], tokens: Tokens, share: float) -> None:
        self._texts, self._tokens, self._share = texts, tokens, share
        self.examples = len(texts)

    def batch(self, rows: Rows, seed: Sequence[int]) -> Arrays:
        """See ``Method``: ``ids``, and ``targets`` of the same shape, -1 where none is asked."""
        random = np.random.default_rng(list(seed))
        texts = [self._texts[row] for row in rows]
        tokenizer = self._tokens.tokenizer
        ids = padded(tokenizer.encode(texts).ids)
        targets = np.full(ids.shape, _NONE, np.int32)
        for row, pieces in enumerate(tokenizer.pieces(texts)):
            words = whole_words(pieces, tokenizer.max_length - tokenizer.frame)
            for word in _chosen(words, self._share, random):
                places = np.array(word) + tokenizer.first
                targets[row, places] = ids[row, places]
                kind = random.random()
                if kind < _MASKED:
                    ids[row, places] = tokenizer.mask
                elif kind < _MASKED + _RANDOM:
                    ids[row, places] = random.integers(1, tokenizer.vocabulary.size, len(places))
        return {"ids": ids, "targets": targets}

    def loss(self, model: TrainableModel, batch: Mapping[str, Any], replicas: Replicas) -> Any:
        """See ``Method``: the mean over all tokens that are asked for."""
        scores, targets = _asked(model, batch)
        count = tf.reduce_sum(replicas.gather(tf.size(targets)[None]))
        total = objectives.cross_entropy(scores, targets)
        return total / tf.cast(tf.maximum(count, 1), tf.float32)


def whole_words(pieces: Pieces, most: int) -> Words:
    """The places of each word's pieces, in the first ``most`` of them.

    A word is what the tokenizer takes for one, but that Chinese characters are joined to the words
    that jieba finds (whole word masking: Cui et al. 2019, arXiv:1906.08101). Raises
    MissingPackageError if there are any and rjieba is not installed.
    """
    segment = _segments(pieces.text)
    words: Words = []
    before: tuple[bool, int | None] | None = None
    for place, (word, start) in enumerate(zip(pieces.words[:most], pieces.starts, strict=False)):
        chinese = segment.get(start)
        mine = (False, word) if chinese is None else (True, chinese)
        if mine == before:
            words[-1].append(place)
        else:
            words.append([place])
        before = mine
    return words


def _segments(text: str) -> dict[int, int]:
    """For each Chinese character, by its place, where the word begins that it is in."""
    found: dict[int, int] = {}
    for run in _CHINESE.finditer(text):
        start = run.start()
        for word in _cut(run[0]):
            found |= dict.fromkeys(range(start, start + len(word)), start)
            start += len(word)
    return found


def _cut(text: str) -> list[str]:
    try:
        import rjieba
    except ModuleNotFoundError:
        raise MissingPackageError(
            "masking whole Chinese words needs a package that finds them, which is not installed:\n"
            "    pip install rjieba"
        ) from None
    words: list[str] = rjieba.cut(text)
    return words


def _chosen(words: Words, share: float, random: np.random.Generator) -> Words:
    """Words in random order until they have ``share`` of all tokens, one at least."""
    wanted = max(1, round(share * sum(map(len, words))))
    chosen: Words = []
    for i in random.permutation(len(words)):
        if sum(map(len, chosen)) >= wanted:
            break
        chosen.append(words[i])
    return chosen


def _asked(model: TrainableModel, batch: Mapping[str, Any]) -> tuple[Any, Any]:
    """The scores (n, vocab) and the targets (n,) of the tokens that are asked for."""
    places = tf.where(batch["targets"] != _NONE)
    (states,) = model.heads(batch["ids"])
    return model.mask_scores(tf.gather_nd(states, places)), tf.gather_nd(batch["targets"], places)


class MaskedDev:
    """Implements ``Dev``: how often masked tokens of some texts are told, always the same ones."""

    metric = "accuracy"

    def __init__(self, method: MaskedLanguageModel) -> None:
        self._method = method
        self._sums: Any = None  # traced once

    def measure(self, model: TrainableModel) -> dict[str, float]:
        """``accuracy`` and ``loss``, means over the masked tokens."""
        if self._sums is None:
            self._sums = tf.function(functools.partial(_sums, model), [_BATCH], autograph=False)
        rows = np.arange(self._method.examples)
        total = np.zeros(3)
        for i, part in enumerate(np.array_split(rows, -(-len(rows) // _ROWS))):
            batch = {k: tf.constant(v) for k, v in self._method.batch(part, (i,)).items()}
            total += self._sums(batch).numpy()
        right, loss, count = total.tolist()
        return {"accuracy": right / count, "loss": loss / count}


def _sums(model: TrainableModel, batch: Mapping[str, Any]) -> Any:
    """How many masked tokens are told, the sum of their losses, and their number."""
    scores, targets = _asked(model, batch)
    right = tf.cast(tf.argmax(scores, 1, tf.int32) == targets, tf.float32)
    loss = objectives.cross_entropy(scores, targets)
    return tf.stack([tf.reduce_sum(right), loss, tf.cast(tf.size(targets), tf.float32)])
