"""Make of a checkpoint in Google layout one of its first layers: what the reranker begins with.

python first_layers.py model 4 --out shallow
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
from pathlib import Path

from simsearch.bert.checkpoint_files import checkpoint_variables, write_google_checkpoint
from simsearch.checkpoint import load_checkpoint


def is_kept(name: str, layers: int) -> bool:
    """Whether a variable is none of a layer from ``layers`` on, counted from 0."""
    layer = re.search(r"/layer_(\d+)/", name)
    return layer is None or int(layer[1]) < layers


def main() -> None:
    """Write the folder."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("layers", type=int)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    checkpoint = load_checkpoint(options.model)
    config = json.loads((checkpoint.folder / "bert_config.json").read_text("utf-8"))
    variables = checkpoint_variables(checkpoint).items()
    kept = {name: values for name, values in variables if is_kept(name, options.layers)}
    options.out.mkdir(parents=True)
    write_google_checkpoint(kept, options.out / "bert_model.ckpt")
    config["num_hidden_layers"] = options.layers
    (options.out / "bert_config.json").write_text(json.dumps(config, indent=2) + "\n", "utf-8")
    shutil.copyfile(checkpoint.folder / "vocab.txt", options.out / "vocab.txt")


if __name__ == "__main__":
    main()
