"""The variables that a training begins with: a checkpoint's, or new ones."""

from __future__ import annotations

import numpy as np

from simsearch.bert.checkpoint_files import Variables, has_variables, read_variables
from simsearch.checkpoint import Checkpoint
from simsearch.checkpoint.variables import Shapes, backbone_shapes, mlm_shapes, pooler_shapes
from simsearch.errors import CheckpointError

_SPREAD = 0.02  # BERT's standard deviation, cut off at twice of it


def first_variables(
    checkpoint: Checkpoint, *, pooler: bool, mlm: bool, fresh_seed: int | None
) -> Variables:
    """The checkpoint's variables, or, with ``fresh_seed``, new ones as BERT began.

    A masked-language-model head that is missing begins anew. Raises CheckpointError for ELECTRA,
    whose discriminators have none.
    """
    a = checkpoint.architecture
    if mlm and a.family == "electra":
        raise CheckpointError(
            f"{checkpoint.name}: an ELECTRA is not a masked language model; train it by another "
            "method"
        )
    shapes = backbone_shapes(a) | (pooler_shapes(a) if pooler else {})
    heads = mlm_shapes(a) if mlm else {}
    if fresh_seed is not None:
        return fresh_variables(shapes | heads, fresh_seed)
    if has_variables(checkpoint, heads):
        return read_variables(checkpoint, shapes | heads)
    return read_variables(checkpoint, shapes) | fresh_variables(heads, seed=0)


def fresh_variables(shapes: Shapes, seed: int) -> Variables:
    """As in Devlin et al. (2019): normal of 0.02 cut off at 0.04, biases 0, scales 1; float32."""
    random = np.random.default_rng(seed)
    return {name: _fresh(name, shape, random) for name, shape in sorted(shapes.items())}


def _fresh(name: str, shape: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
    if name.endswith("gamma"):
        return np.ones(shape, np.float32)
    if name.endswith(("beta", "bias")):
        return np.zeros(shape, np.float32)
    values = random.standard_normal(shape)
    while (far := np.abs(values) > 2).any():
        values[far] = random.standard_normal(int(far.sum()))
    return (_SPREAD * values).astype(np.float32)
