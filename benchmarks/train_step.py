"""A step of training: `simsearch train cosent` against sentence-transformers' trainer.

The same model, pairs, batch size and optimizer (AdamW, warm-up, decay, gradients cut to length 1),
float32 and bfloat16 in turn, each time in a process of its own. A step is all that lies between one
and the next: batches are tokenized in it. The first steps, in which graphs are made, don't count.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from pathlib import Path

from same_vectors import FIND_MODEL, machine, peer_parser, progress, run_python

from simsearch import SentenceEncoder

REPEATS = 3
OURS = """
import itertools, json, sys, tempfile, time
from simsearch.config import EncoderSettings, TrainSettings
from simsearch.pipeline import train

model, pairs, batch, bfloat16 = sys.argv[1:]
times = []
with tempfile.TemporaryDirectory() as folder:
    train(
        "cosent", [pairs], folder + "/out", encoder=EncoderSettings(model=model),
        settings=TrainSettings(batch_size=int(batch), bfloat16=bfloat16 == "bfloat16"),
        progress=lambda done, total: times.append(time.perf_counter()),
    )
print(json.dumps([b - a for a, b in itertools.pairwise(times)]))
"""
PEER = """
import importlib.metadata, itertools, json, sys, tempfile, time, warnings
warnings.simplefilter("ignore")
from datasets import Dataset
from transformers import TrainerCallback
from sentence_transformers import (
    SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
)
from sentence_transformers.sentence_transformer.losses import CoSENTLoss

class Clock(TrainerCallback):
    def on_step_end(self, *args, **kwargs):
        times.append(time.perf_counter())

model, pairs, batch, bfloat16 = sys.argv[1:]
rows = [line.rstrip("\\n").split("\\t") for line in open(pairs, encoding="utf-8")]
data = Dataset.from_dict({
    "first": [row[1] for row in rows], "second": [row[2] for row in rows],
    "score": [float(row[0]) for row in rows],
})
encoder = SentenceTransformer(model, device="cpu")
times = []
with tempfile.TemporaryDirectory() as folder:
    options = SentenceTransformerTrainingArguments(
        folder, per_device_train_batch_size=int(batch), num_train_epochs=1, learning_rate=2e-5,
        warmup_steps=len(rows) // int(batch) // 10, weight_decay=0.01, bf16=bfloat16 == "bfloat16",
        use_cpu=True, report_to="none", save_strategy="no", logging_strategy="no",
        disable_tqdm=True, dataloader_drop_last=True,
    )
    loss = CoSENTLoss(encoder)
    SentenceTransformerTrainer(
        model=encoder, args=options, train_dataset=data, loss=loss, callbacks=[Clock()]
    ).train()
print(json.dumps({
    "seconds": [b - a for a, b in itertools.pairwise(times)],
    "versions": {
        name: importlib.metadata.version(name) for name in ("sentence-transformers", "torch")
    },
}))
"""
WARM = 3


def main() -> int:
    """Measure and print."""
    parser = peer_parser(__doc__)
    parser.add_argument("--pairs", type=Path, required=True, metavar="FILE")
    parser.add_argument("--steps", type=int, default=40, metavar="N")
    parser.add_argument("--batch-size", type=int, default=64, metavar="N")
    arguments = parser.parse_args()
    minilm = arguments.model_dir or run_python(arguments.peer_python, FIND_MODEL).strip()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pairs = folder / "pairs.tsv"
        lines = arguments.pairs.read_text("utf-8").splitlines()[
            : arguments.steps * arguments.batch_size
        ]
        pairs.write_text("\n".join(lines) + "\n", "utf-8")
        SentenceEncoder.load("zhen-small").export_hf(folder / "zhen-small")
        second = "all-MiniLM-L6-v2" if arguments.model_dir is None else arguments.model_dir.name
        models = {"zhen-small": folder / "zhen-small", second: Path(minilm)}
        rows, versions = [], {}
        for model, path in models.items():
            for precision in ("float32", "bfloat16"):
                ours, peers = [], []
                for repeat in range(REPEATS):
                    progress(f"{model}, {precision}: {repeat + 1} of {REPEATS}")
                    argv = (str(path), str(pairs), str(arguments.batch_size), precision)
                    ours.append(_median(json.loads(_last(run_python(sys.executable, OURS, *argv)))))
                    said = json.loads(_last(run_python(arguments.peer_python, PEER, *argv)))
                    peers.append(_median(said["seconds"]))
                    versions = said["versions"]
                rows.append((model, precision, ours, peers))
    print("\n".join(machine(versions)))
    print(f"{arguments.steps} steps, batches of {arguments.batch_size} pairs; medians of {REPEATS}")
    for model, precision, ours, peers in rows:
        mine, theirs = statistics.median(ours), statistics.median(peers)
        ratios = [b / a for a, b in zip(ours, peers, strict=True)]
        print(
            f"{model:<18}{precision:<10}{mine * 1000:6.0f} ms   peer {theirs * 1000:6.0f} ms   "
            f"{statistics.median(ratios):.2f} x ({min(ratios):.2f} to {max(ratios):.2f})"
        )
    return 0


def _median(seconds: list[float]) -> float:
    return statistics.median(seconds[WARM:])


def _last(printed: str) -> str:
    return printed.strip().splitlines()[-1]


if __name__ == "__main__":
    sys.exit(main())
