"""Writes a checkpoint of another one's shape and vocabulary with random weights: a control.

    python tools/random_checkpoint.py zhen-small checkpoints/random-mini

The weights are those that BERT's training starts from (Devlin et al. 2019): normal of standard
deviation 0.02, cut off at two; biases 0, the scales of the normalisations 1.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt

from simsearch import SentenceEncoder, bert

DEVIATION = 0.02


def initial(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """The weights that a variable has before training."""
    if name.endswith("gamma"):
        return np.ones(shape, np.float32)
    if name.endswith(("beta", "bias")):
        return np.zeros(shape, np.float32)
    values = rng.normal(size=shape)
    while (beyond := np.abs(values) > 2).any():
        values[beyond] = rng.normal(size=int(beyond.sum()))
    return (DEVIATION * values).astype(np.float32)


def main() -> None:
    """Write the folder."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", help="the checkpoint whose shape and vocabulary are taken")
    parser.add_argument("folder", type=Path, help="a new folder")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    encoder = SentenceEncoder.load(arguments.model)
    encoder.save(arguments.folder)
    rng = np.random.default_rng(arguments.seed)
    variables = bert.checkpoint_variables(encoder.checkpoint)
    bert.write_google_checkpoint(
        {name: initial(name, value.shape, rng) for name, value in sorted(variables.items())},
        arguments.folder / "bert_model.ckpt",
    )


if __name__ == "__main__":
    main()
