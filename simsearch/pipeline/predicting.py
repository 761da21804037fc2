"""Predict: a model that was trained to, and its answers as JSON values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from simsearch.config import EncoderSettings
from simsearch.errors import SettingsError
from simsearch.pipeline.opening import load_encoder
from simsearch.prediction import Predictor
from simsearch.tokenizer import TextPair

_MOST_CLASSES = 5


def load_predictor(settings: EncoderSettings) -> Predictor:
    """The model that the settings name. Raises as ``Predictor.load`` does."""
    return Predictor(load_encoder(settings))


def predict(predictor: Predictor, texts: Sequence[str]) -> list[dict[str, Any]]:
    """For each text its class ("label", "probability", the best five "classes"), or "entities".

    A model that compares takes two texts with a tab between, and gives "same_meaning", the
    probability. Raises SettingsError for a text that is not two.
    """
    if predictor.kind == "pairs":
        return [{"same_meaning": float(p)} for p in predictor.same_meaning(_pairs(texts))]
    if predictor.kind == "tags":
        return [
            {"entities": [{**asdict(entity), "span": list(entity.span)} for entity in found]}
            for found in predictor.entities(texts)
        ]
    return [
        {**asdict(found[0]), "classes": [asdict(one) for one in found[:_MOST_CLASSES]]}
        for found in predictor.classes(texts)
    ]


def _pairs(texts: Sequence[str]) -> list[TextPair]:
    pairs = []
    for text in texts:
        first, tab, second = text.partition("\t")
        if not tab or "\t" in second:
            raise SettingsError(
                f"{text!r}: this model compares two texts; expected them with one tab between"
            )
        pairs.append((first, second))
    return pairs
