"""Predict with a model that was trained to: classes of texts, entities, or which mean the same."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from simsearch.errors import SettingsError
from simsearch.heads import BIAS, KERNEL, TRANSITIONS, Head
from simsearch.records import Span
from simsearch.sentence_encoder import SentenceEncoder
from simsearch.tagging import best_path, spans_of
from simsearch.tokenizer import TextPair


@dataclass(frozen=True, slots=True)
class ClassProbability:
    """A class of a text, and how probable it is to the model, 0 to 1."""

    label: str
    probability: float


@dataclass(frozen=True, slots=True)
class Entity:
    """A part of a text, ``span`` in characters, and what it is."""

    label: str
    text: str
    span: Span


class Predictor:
    """A checkpoint that ``train`` made by "classify", "label" or "rerank"; ``kind`` says which.

    Runs where an encoder runs; nothing of TensorFlow is needed.
    """

    def __init__(self, encoder: SentenceEncoder) -> None:
        self._encoder = encoder
        self._head = Head.load(encoder.checkpoint.folder)
        self.kind, self.names = self._head.kind, self._head.names

    @classmethod
    def load(cls, name_or_path: str | Path, **options: Any) -> Predictor:
        """Load the model; ``options`` are those of ``SentenceEncoder.load``.

        Raises CheckpointError for a model that predicts nothing.
        """
        return cls(SentenceEncoder.load(name_or_path, **options))

    def words(self, texts: Sequence[str]) -> list[list[str]]:
        """The tokens of each text that are no punctuation."""
        tokenizer = self._encoder.backbone.tokenizer
        return [
            [token for token in tokenizer.tokens(ids) if not _is_punctuation(token)]
            for ids in tokenizer.unframed(texts)
        ]

    def classes(self, texts: Sequence[str]) -> list[list[ClassProbability]]:
        """All classes of each text, the most probable first."""
        self._require("classes")
        if not texts:
            return []
        scores = self._scores(self._encoder.pooled(texts)).astype(np.float64)
        powers = np.exp(scores - scores.max(axis=1, keepdims=True))
        rows = powers / powers.sum(axis=1, keepdims=True)
        return [
            [
                ClassProbability(self.names[i], float(row[i]))
                for i in np.argsort(-row, kind="stable")
            ]
            for row in rows
        ]

    def entities(self, texts: Sequence[str]) -> list[list[Entity]]:
        """The entities in each text, in order; none beyond what the model can read."""
        self._require("tags")
        return [self._entities(text) for text in texts]

    def same_meaning(self, pairs: Sequence[TextPair]) -> npt.NDArray[np.float64]:
        """The probability that two texts mean the same, for each pair; float64 (pairs,).

        It doesn't depend on which of the two comes first.
        """
        self._require("pairs")
        if not pairs:
            return np.empty(0)
        odds = self._scores(self._encoder.pooled_pairs(pairs))[:, 0].astype(np.float64)
        return np.asarray(1 / (1 + np.exp(-odds)))

    def _entities(self, text: str) -> list[Entity]:
        spans = self._units(text)
        tokenizer = self._encoder.backbone.tokenizer
        ids, places = tokenizer.encode_units([text[start:stop] for start, stop in spans])
        if not places:
            return []
        states = self._encoder.backbone.token_states(ids)[places]
        path = best_path(self._scores(states), self._head.values[TRANSITIONS])
        found = spans_of([self.names[tag] for tag in path])
        return [
            Entity(name, text[spans[a][0] : spans[b - 1][1]], (spans[a][0], spans[b - 1][1]))
            for a, b, name in found
        ]

    def _units(self, text: str) -> list[Span]:
        """Where the characters of a text are, or its words, as it was trained on."""
        if self._head.characters:
            return [(i, i + 1) for i, character in enumerate(text) if not character.isspace()]
        (words,) = self._encoder.backbone.tokenizer.word_spans([text])
        return words

    def _scores(self, vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        scores: npt.NDArray[np.float32] = vectors @ self._head.values[KERNEL]
        return scores + self._head.values[BIAS]

    def _require(self, kind: str) -> None:
        if self.kind != kind:
            raise SettingsError(f"this model predicts {self.kind}, not {kind}")


@lru_cache(maxsize=100_000)  # asked of every token of every candidate
def _is_punctuation(token: str) -> bool:
    return all(unicodedata.category(c)[0] in "PSZ" for c in token.removeprefix("##"))
