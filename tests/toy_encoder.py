"""An encoder whose vectors can be computed by hand: letter counts, made unit length."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from simsearch.encoder import Prompt, Vectors, fingerprint


class ToyEncoder:
    """One dimension a letter, and one for all other characters.

    With the letters "abc", "ab" becomes (1, 1, 0, 0) / sqrt(2) and "a?" (1, 0, 0, 1) / sqrt(2).
    ``calls`` notes every (texts, prompt) that was asked for.
    """

    def __init__(self, letters: str = "abc") -> None:
        self.letters = letters
        self.calls: list[tuple[list[str], Prompt]] = []

    @property
    def dim(self) -> int:
        return len(self.letters) + 1

    @property
    def identity(self) -> Mapping[str, Any]:
        return {"letters": self.letters, "normalised": True}

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.identity)

    def encode(self, texts: Sequence[str], prompt: Prompt = "document") -> Vectors:
        self.calls.append((list(texts), prompt))
        counts = np.array([self._counts(text) for text in texts], np.float64)
        counts = counts.reshape(len(texts), self.dim)
        return (counts / np.linalg.norm(counts, axis=1, keepdims=True)).astype(np.float32)

    def token_ids(self, texts: Sequence[str], prompt: Prompt = "document") -> list[list[int]]:
        return [[ord(character) for character in text] for text in texts]

    def _counts(self, text: str) -> list[int]:
        known = [text.count(letter) for letter in self.letters]
        return [*known, len(text) - sum(known)]
