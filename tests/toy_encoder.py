"""An encoder whose vectors can be computed by hand: letter counts, made unit length."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from simsearch.encoder import Prompt, Vectors, fingerprint
from simsearch.records import Span


class ToyEncoder:
    """One dimension a letter, and one for all other characters.

    With the letters "abc", "ab" becomes (1, 1, 0, 0) / sqrt(2) and "a?" (1, 0, 0, 1) / sqrt(2).
    Every character is a token, and a word is what stands between spaces. ``calls`` notes every
    (texts, prompt) that was asked for.
    """

    def __init__(self, letters: str = "abc", max_length: int = 1000) -> None:
        self.letters = letters
        self.max_length = max_length
        self.truncated = 0
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
        self.truncated += sum(len(text) > self.max_length for text in texts)
        counts = np.array([self._counts(text[: self.max_length]) for text in texts], np.float64)
        counts = counts.reshape(len(texts), self.dim)
        return (counts / np.linalg.norm(counts, axis=1, keepdims=True)).astype(np.float32)

    def token_ids(self, texts: Sequence[str], prompt: Prompt = "document") -> list[list[int]]:
        return [[ord(character) for character in text[: self.max_length]] for text in texts]

    def token_counts(self, texts: Sequence[str], prompt: Prompt = "document") -> list[int]:
        return [len(text) for text in texts]

    def spans(self, texts: Sequence[str], tokens: int, overlap: int) -> list[list[Span]]:
        return [list(self._spans(text, tokens, overlap)) for text in texts]

    @staticmethod
    def _spans(text: str, tokens: int, overlap: int) -> Iterator[Span]:
        """As many words, with the spaces after them, as fit; a word that doesn't is cut anywhere.

        "aa bb cc" in chunks of 6 that share 3: "aa bb " and "bb cc".
        """
        words = re.findall("[^ ]* +|[^ ]+", text)
        chunk: list[str] = []
        start = size = 0
        for piece in (p for word in words for p in ([word] if len(word) <= tokens else word)):
            if size + len(piece) > tokens:
                yield start, start + size
                while size > overlap or size + len(piece) > tokens:
                    first = len(chunk.pop(0))
                    start, size = start + first, size - first
            chunk.append(piece)
            size += len(piece)
        yield start, start + size

    def _counts(self, text: str) -> list[int]:
        known = [text.count(letter) for letter in self.letters]
        return [*known, len(text) - sum(known)]
