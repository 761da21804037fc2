"""What comparing many poolings costs, beside encoding the texts once with one of them.

    python benchmarks/sweep.py --model all-MiniLM-L6-v2 --pairs stsb-en/dev.tsv

Interleaved, several times over, in one process and in float32: encoding the distinct sentences of
the pairs with mean pooling; the one pass over the model that serves nine poolings; and the whole
benchmark of the nine, from loading the model to bootstrap intervals and comparisons, with an empty
cache. Prints medians, and ratios of medians.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path

import simsearch
from simsearch import EncoderSettings, SentenceEncoder, Sweep

NINE = (
    *("static_mean", "cls", "pooler", "mean", "max", "mean_sqrt_len"),
    *("position_weighted_mean", "first_last_mean", "last2_mean"),
)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="all-MiniLM-L6-v2")
    parser.add_argument(
        "--pairs", type=Path, required=True, help="score<TAB>sentence1<TAB>sentence2"
    )
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    tasks = simsearch.read_tasks(pairs=[arguments.pairs])
    texts = list(tasks[0].inputs["query"])
    settings = EncoderSettings(model=arguments.model, precision="float32")
    encoder = SentenceEncoder.load(arguments.model, pooling="mean", precision="float32")
    with_pooler = encoder.backbone.hashes.pooler is not None
    poolings = [name for name in NINE if name != "pooler" or with_pooler]
    # a model without a pooler is read at one more layer instead, so that there are nine
    extra = [] if with_pooler else [(2,)]
    sweep = Sweep(poolings, layers=[None, *extra])
    encoder.encode(texts[:256])
    times: dict[str, list[float]] = {"one": [], "pass": [], "sweep": [], "single": []}
    for _ in range(arguments.runs):
        with tempfile.TemporaryDirectory() as folder:
            begin = time.perf_counter()
            encoder.encode(texts, prompt="query")
            times["one"].append(time.perf_counter() - begin)
            keep_hidden_states_in(Path(folder) / "nine")
            begin = time.perf_counter()
            results = simsearch.benchmark(tasks, [settings], sweep)
            times["sweep"].append(time.perf_counter() - begin)
            times["pass"].append(results[0].cost.seconds)
            keep_hidden_states_in(Path(folder) / "one")
            begin = time.perf_counter()
            simsearch.benchmark(tasks, [settings], Sweep(["mean"]))
            times["single"].append(time.perf_counter() - begin)
    middle = {name: statistics.median(values) for name, values in times.items()}
    one = middle["one"]
    print(
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, "
        f"Python {platform.python_version()}, {arguments.runs} runs"
    )
    print(
        f"{arguments.model}, {len(texts):,} sentences of {arguments.pairs.parent.name}, "
        f"{len(results)} strategies"
    )
    print(f"encoding with one pooling              {one:7.2f} s")
    print(
        f"one pass for {len(results)} strategies              "
        f"{middle['pass']:7.2f} s   {middle['pass'] / one:.2f} of that"
    )
    print(
        f"benchmark of one, all in all           {middle['single']:7.2f} s   "
        f"{middle['single'] / one:.2f}"
    )
    print(
        f"benchmark of {len(results)}, all in all             {middle['sweep']:7.2f} s   "
        f"{middle['sweep'] / one:.2f}; {middle['sweep'] / middle['single']:.2f} of one's"
    )


def keep_hidden_states_in(folder: Path) -> None:
    """Use another, empty cache for them; the converted graph stays where it is."""
    from simsearch import backbone_cache

    backbone_cache._root = lambda: folder


if __name__ == "__main__":
    main()
