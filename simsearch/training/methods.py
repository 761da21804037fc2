"""The methods by name: what each makes of data, and what of the model it reads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from simsearch.checkpoint import Checkpoint
from simsearch.config import TrainingMethod, TrainSettings
from simsearch.encoder import Vectors
from simsearch.errors import SettingsError
from simsearch.heads import BIAS, KERNEL, TRANSITIONS, Head
from simsearch.pooling import token_head
from simsearch.records import LabelledText, SentencePair, TaggedText
from simsearch.training.classifying import ClassesDev, Classify
from simsearch.training.dev import PairsDev
from simsearch.training.labelling import Label, TagsDev
from simsearch.training.masking import MaskedDev, MaskedLanguageModel
from simsearch.training.method import Dev, Method
from simsearch.training.pairing import Rerank, RerankDev
from simsearch.training.similarity import Contrastive, Cosent, Distill, Simcse
from simsearch.training.start import fresh_variables
from simsearch.training.tokens import Tokens


@dataclass(frozen=True)
class Made:
    """A method with its data.

    It reads ``heads`` of the model instead of the pooling's, if any, and the scores of masked
    tokens with ``mlm``; ``head`` is what it adds to the model, with first values.
    """

    method: Method
    dev: Dev | None
    heads: tuple[str, ...] | None = None
    mlm: bool = False
    head: Head | None = None


def make(
    name: TrainingMethod,
    examples: Sequence[Any],
    held_out: Sequence[Any] | None,
    checkpoint: Checkpoint,
    settings: TrainSettings,
    teachers: Vectors | None = None,
) -> Made:
    """The method of that name on ``examples``, judged by ``held_out``.

    These are texts for "mlm", ``LabelledText``s for "classify" and ``TaggedText``s for "label"; for
    the others texts ("simcse", and "distill", whose vectors are ``teachers``), ``Example``s
    ("contrastive") or ``SentencePair``s ("cosent", "rerank"), judged by ``SentencePair``s. Raises
    SettingsError for data that nothing can be learnt from.
    """
    tokens = Tokens(checkpoint)
    if name == "mlm":
        method, judge = (
            None if texts is None else MaskedLanguageModel(texts, tokens, settings.mask)
            for texts in (examples, held_out)
        )
        assert method is not None  # there are examples
        return Made(
            method, None if judge is None else MaskedDev(judge), _token_heads(checkpoint), mlm=True
        )
    if name == "classify":
        return _classify(examples, held_out, checkpoint, tokens, settings.seed)
    if name == "label":
        return _label(examples, held_out, checkpoint, tokens, settings.seed)
    if name == "rerank":
        return _rerank(examples, held_out, checkpoint, tokens, settings.seed)
    if name == "cosent" and len({pair.score for pair in examples}) == 1:
        raise SettingsError("all pairs have one score, and cosent learns from their order")
    if name == "simcse" and settings.dropout == 0:
        raise SettingsError("simcse learns from dropout, which is 0; expected more, such as 0.1")
    dev = None if held_out is None else PairsDev(held_out, tokens)
    if teachers is not None:
        return Made(Distill(examples, teachers, tokens, settings.temperature), dev)
    kinds = {"cosent": Cosent, "contrastive": Contrastive, "simcse": Simcse}
    return Made(kinds[name](examples, tokens, settings.temperature), dev)


def _token_heads(checkpoint: Checkpoint) -> tuple[str, ...]:
    return (token_head(checkpoint.architecture.num_hidden_layers),)


def _classify(
    examples: Sequence[LabelledText],
    held_out: Sequence[LabelledText] | None,
    checkpoint: Checkpoint,
    tokens: Tokens,
    seed: int,
) -> Made:
    classes = _names((example.label for example in examples), "class")
    if held_out is not None:
        _check_known((example.label for example in held_out), classes, "class")
    shapes = {
        KERNEL: (checkpoint.architecture.hidden_size, len(classes)),
        BIAS: (len(classes),),
    }
    return Made(
        Classify(examples, classes, tokens),
        None if held_out is None else ClassesDev(held_out, classes, tokens),
        head=Head("classes", classes, fresh_variables(shapes, seed)),
    )


def _label(
    texts: Sequence[TaggedText],
    held_out: Sequence[TaggedText] | None,
    checkpoint: Checkpoint,
    tokens: Tokens,
    seed: int,
) -> Made:
    names = _names((tag for text in texts for tag in text.tags), "tag")
    if held_out is not None:
        _check_known((tag for text in held_out for tag in text.tags), names, "tag")
    shapes = {
        KERNEL: (checkpoint.architecture.hidden_size, len(names)),
        BIAS: (len(names),),
        TRANSITIONS: (len(names), len(names)),
    }
    characters = all(len(unit) == 1 for text in texts for unit in text.units)
    return Made(
        Label(texts, names, tokens),
        None if held_out is None else TagsDev(held_out, names, tokens),
        _token_heads(checkpoint),
        head=Head("tags", names, fresh_variables(shapes, seed), characters),
    )


def _rerank(
    pairs: Sequence[SentencePair],
    held_out: Sequence[SentencePair] | None,
    checkpoint: Checkpoint,
    tokens: Tokens,
    seed: int,
) -> Made:
    _check_probabilities(pairs, "training")
    if len({pair.score for pair in pairs}) == 1:
        raise SettingsError(f"all pairs have the score {pairs[0].score:g}; expected 0 and 1")
    if held_out is not None:
        _check_probabilities(held_out, "dev")
        if {pair.score for pair in held_out} != {0, 1}:
            raise SettingsError("the dev pairs are not of both scores, 0 and 1, and no others")
    shapes = {KERNEL: (checkpoint.architecture.hidden_size, 1), BIAS: (1,)}
    return Made(
        Rerank(pairs, tokens),
        None if held_out is None else RerankDev(held_out, tokens),
        head=Head("pairs", ("same meaning",), fresh_variables(shapes, seed)),
    )


def _check_probabilities(pairs: Sequence[SentencePair], which: str) -> None:
    for pair in pairs:
        if not 0 <= pair.score <= 1:
            raise SettingsError(
                f"the {which} pair {pair.sentence1!r}, {pair.sentence2!r} has the score "
                f"{pair.score:g}; expected 1 for the same meaning, 0 for another, or between"
            )


def _names(given: Iterable[str], what: str) -> tuple[str, ...]:
    names = tuple(sorted(set(given)))
    if len(names) < 2:
        raise SettingsError(f"all data are of one {what}, {names[0]!r}; expected two or more")
    return names


def _check_known(given: Iterable[str], names: Sequence[str], what: str) -> None:
    if unknown := sorted(set(given) - set(names)):
        raise SettingsError(
            f"the dev data have the {what} {unknown[0]!r}, which the training data don't; there "
            f"are {', '.join(names[:10])}{', …' if len(names) > 10 else ''}"
        )
