"""Make of a trained checkpoint what goes into the package: float16, in a folder of its own.

    python pack.py model --out packed --centre 0.4 --texts texts/everyday_chinese.txt ...

``--centre`` takes that share of the mean vector of the texts (a thousand of each file) off the bias
of the last normalization, and so off every mean-pooled vector: cosines spread wider.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
from pathlib import Path

import numpy as np

from simsearch.bert.checkpoint_files import checkpoint_variables, write_google_checkpoint
from simsearch.checkpoint import load_checkpoint
from simsearch.sentence_encoder import SentenceEncoder

_EACH = 1000
_BESIDE = ("vocab.txt", "bert_config.json", "simsearch.json", "head.json", "head.safetensors")


def centred(
    variables: dict[str, np.ndarray], layers: int, mean: np.ndarray, share: float
) -> dict[str, np.ndarray]:
    """The variables with ``share`` of the mean vector, (hidden,), off the last bias."""
    name = f"bert/encoder/layer_{layers - 1}/output/LayerNorm/beta"
    return variables | {name: variables[name] - np.float32(share) * mean}


def main() -> None:
    """Write the folder."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--centre", type=float, default=0.0)
    parser.add_argument("--texts", type=Path, nargs="*", default=[])
    options = parser.parse_args()
    checkpoint = load_checkpoint(options.model)
    variables = checkpoint_variables(checkpoint)
    if options.centre:
        lines = [path.read_text("utf-8").splitlines() for path in options.texts]
        rng = random.Random(0)
        texts = [text for file in lines for text in rng.sample(file, min(_EACH, len(file)))]
        mean = SentenceEncoder.load(options.model, precision="float32").pooled(texts).mean(axis=0)
        layers = checkpoint.architecture.num_hidden_layers
        variables = centred(variables, layers, mean, options.centre)
    options.out.mkdir(parents=True)
    half = {name: values.astype(np.float16) for name, values in variables.items()}
    write_google_checkpoint(half, options.out / "bert_model.ckpt")
    for name in _BESIDE:
        if (options.model / name).is_file():
            shutil.copyfile(options.model / name, options.out / name)
    size = sum(path.stat().st_size for path in options.out.iterdir())
    facts = {"parameters": sum(v.size for v in half.values()), "bytes": size}
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
