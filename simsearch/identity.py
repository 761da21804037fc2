"""Everything that changes a sentence vector, by name: what an index asks of its encoder."""

from __future__ import annotations

from typing import Any

from simsearch.checkpoint import Checkpoint
from simsearch.pooling import Pooling
from simsearch.weights import WeightHashes


def identity_of(
    checkpoint: Checkpoint,
    hashes: WeightHashes,
    pooling: Pooling,
    *,
    dim: int,
    whitening: str | None,
) -> dict[str, Any]:
    """JSON values by field, for vectors of length ``dim``; ``whitening`` is the hash of one.

    What follows from another field is not said again: an encoder that says nothing of accents
    strips them as it lowers case.
    """
    return {
        **states_identity(checkpoint, hashes),
        "pooler": _pooler(checkpoint, hashes) if pooling.name == "pooler" else None,
        "pooling": pooling.name,
        "layers": list(pooling.layers),
        "prompts": {kind: checkpoint.prompts.get(kind, "") for kind in ("query", "document")},
        "whitening": whitening,
        "dim": dim,
        "normalize": True,
        "quantization": None,
    }


def states_identity(checkpoint: Checkpoint, hashes: WeightHashes) -> dict[str, Any]:
    """What changes the hidden states of a text, prompt included: the part before any pooling."""
    a = checkpoint.architecture
    accents = {"strip_accents": checkpoint.strip_accents}
    return {
        "weights": hashes.backbone,
        "architecture": f"{a.family}, {a.num_hidden_layers} layers, "
        f"{a.num_attention_heads} heads, {a.hidden_act}, epsilon {a.layer_norm_eps}",
        "vocabulary": checkpoint.vocabulary.hash,
        "lower_case": checkpoint.lower_case,
        **({} if checkpoint.strip_accents == checkpoint.lower_case else accents),
        "max_length": checkpoint.max_length,
    }


def _pooler(checkpoint: Checkpoint, hashes: WeightHashes) -> str:
    act = checkpoint.architecture.pooler_act
    return f"{hashes.pooler}{'' if act == 'tanh' else f', {act}'}"
