"""How long a command takes from nothing: a fresh process, the checkpoint converted before.

    python benchmarks/cold_start.py

Builds the sample corpus into a temporary folder, then runs each command several times in turn and
prints the median, least and greatest wall-clock time.
"""

from __future__ import annotations

import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
RUNS = 9


def seconds(arguments: list[str]) -> float:
    """Wall-clock seconds of one command in a process of its own."""
    begin = time.perf_counter()
    command = [sys.executable, "-m", "simsearch", *arguments]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begin


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        index = str(Path(folder) / "index")
        seconds(["build", "examples/corpus.jsonl", "--index", index])
        commands = {
            "simsearch --help": ["--help"],
            "simsearch query (one query, 612 documents)": ["query", index, "怎么退款？"],
            "simsearch similarity (two texts)": [
                "similarity",
                "怎么退款？",
                "How do I get a refund?",
            ],
        }
        times: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(RUNS):
            for name, arguments in commands.items():
                times[name].append(seconds(arguments))
    print(
        f"{platform.system()} {platform.machine()}, Python {platform.python_version()}, {RUNS} runs"
    )
    for name, all_times in times.items():
        least, most = min(all_times), max(all_times)
        median = statistics.median(all_times)
        print(f"{name:<45}{median:6.2f} s   ({least:.2f} to {most:.2f})")


if __name__ == "__main__":
    main()
