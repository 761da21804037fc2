"""Texts as a model in training sees them: padded ids, with the prompt of their kind before them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from simsearch.batching import padded
from simsearch.checkpoint import Checkpoint
from simsearch.encoder import Prompt
from simsearch.tokenizer import TokenBatch, Tokenizer

Ids = npt.NDArray[np.int32]


class Tokens:
    """A checkpoint's tokenizer, with its prompts and its greatest length."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._prompts = checkpoint.prompts
        self.tokenizer = Tokenizer.of(checkpoint)

    def encode(self, texts: Sequence[str], prompt: Prompt) -> TokenBatch:
        """Ids of each text, truncated, and whether it was."""
        before = self._prompts.get(prompt, "")
        return self.tokenizer.encode([before + text for text in texts])

    def padded(self, texts: Sequence[str], prompt: Prompt) -> Ids:
        """The same as int32 (texts, tokens of the longest), 0 being padding."""
        return padded(self.encode(texts, prompt).ids)
