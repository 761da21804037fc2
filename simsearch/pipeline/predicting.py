"""Predict: a model that was trained to, and its answers as JSON values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from simsearch.config import EncoderSettings
from simsearch.pipeline.opening import load_encoder
from simsearch.prediction import Predictor

_MOST_CLASSES = 5


def load_predictor(settings: EncoderSettings) -> Predictor:
    """The model that the settings name. Raises as ``Predictor.load`` does."""
    return Predictor(load_encoder(settings))


def predict(predictor: Predictor, texts: Sequence[str]) -> list[dict[str, Any]]:
    """For each text its class ("label", "probability", the best five "classes"), or "entities"."""
    if predictor.kind == "tags":
        return [
            {"entities": [{**asdict(entity), "span": list(entity.span)} for entity in found]}
            for found in predictor.entities(texts)
        ]
    return [
        {**asdict(found[0]), "classes": [asdict(one) for one in found[:_MOST_CLASSES]]}
        for found in predictor.classes(texts)
    ]
