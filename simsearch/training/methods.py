"""The methods by name: what each makes of data, and what of the model it reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from simsearch.checkpoint import Checkpoint
from simsearch.config import TrainingMethod, TrainSettings
from simsearch.errors import SettingsError
from simsearch.pooling import token_head
from simsearch.training.dev import PairsDev
from simsearch.training.masking import MaskedDev, MaskedLanguageModel
from simsearch.training.method import Dev, Method
from simsearch.training.similarity import Contrastive, Cosent, Simcse
from simsearch.training.tokens import Tokens


@dataclass(frozen=True)
class Made:
    """A method with its data; ``heads`` of the model instead of the pooling's, if it reads some."""

    method: Method
    dev: Dev | None
    heads: tuple[str, ...] | None = None
    mlm: bool = False


def make(
    name: TrainingMethod,
    examples: Sequence[Any],
    held_out: Sequence[Any] | None,
    checkpoint: Checkpoint,
    settings: TrainSettings,
) -> Made:
    """The method of that name on ``examples``, judged by ``held_out``.

    These are texts for "mlm"; for the others texts ("simcse"), ``Example``s ("contrastive") or
    ``SentencePair``s ("cosent"), judged by ``SentencePair``s. Raises SettingsError for data that
    nothing can be learnt from.
    """
    tokens = Tokens(checkpoint)
    if name == "mlm":
        method = MaskedLanguageModel(examples, tokens, settings.mask)
        dev = None
        if held_out is not None:
            dev = MaskedDev(MaskedLanguageModel(held_out, tokens, settings.mask))
        head = token_head(checkpoint.architecture.num_hidden_layers)
        return Made(method, dev, (head,), mlm=True)
    if name == "cosent" and len({pair.score for pair in examples}) == 1:
        raise SettingsError("all pairs have one score, and cosent learns from their order")
    if name == "simcse" and settings.dropout == 0:
        raise SettingsError("simcse learns from dropout, which is 0; expected more, such as 0.1")
    kinds = {"cosent": Cosent, "contrastive": Contrastive, "simcse": Simcse}
    return Made(
        kinds[name](examples, tokens, settings.temperature),
        None if held_out is None else PairsDev(held_out, tokens),
    )
