"""Memory of long runs: an index of 100,000, 300,000 and 1,000,000 sentences, each built anew.

    python benchmarks/memory.py --texts zh.txt.gz --texts en.txt.gz

Peak resident memory of the process, and of it what is the process's own (files that are mapped into
memory, such as the vectors written so far, count as resident while the system has room for them).
"""

from __future__ import annotations

import argparse
import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from same_vectors import machine

from simsearch.readers import text_lines

MEBIBYTE = 1 << 20


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Memory of building indexes of several sizes.")
    parser.add_argument("--texts", action="append", required=True, type=Path, help="lines of text")
    parser.add_argument("--counts", default="100000,300000,1000000", help="sentences of each run")
    parser.add_argument("--keep", type=Path, help="a folder for the largest index, to keep it")
    parser.add_argument("--options", default="", help="of `simsearch build`, such as --precision")
    return parser.parse_args()


def main() -> None:
    """Measure and print, one line a size."""
    given = arguments()
    counts = sorted(int(count) for count in given.counts.split(","))
    print("\n".join(f"- {line}" for line in machine({})))
    print("\n| sentences | time | sentences/s | peak memory | its own | index |")
    print("|--:|--:|--:|--:|--:|--:|")
    with tempfile.TemporaryDirectory() as folder:
        for count in counts:
            corpus = Path(folder) / "corpus.txt"
            write_lines(corpus, itertools.islice(taking_turns(given.texts), count))
            keep = given.keep if count == counts[-1] else None
            index = keep or Path(folder) / f"index-{count}"
            command = ["build", str(corpus), "--index", str(index), *given.options.split()]
            seconds, peak, own = measured([sys.executable, "-m", "simsearch", *command])
            size = sum(file.stat().st_size for file in index.rglob("*") if file.is_file())
            print(
                f"| {count:,} | {seconds:.0f} s | {count / seconds:.0f} | {peak:.0f} MiB "
                f"| {own:.0f} MiB | {size / MEBIBYTE:.0f} MiB |",
                flush=True,
            )


def taking_turns(files: Iterable[Path]) -> Iterator[str]:
    """A line of each file in turn, until the first has none left."""
    return itertools.chain.from_iterable(zip(*map(text_lines, files), strict=False))


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write the lines to a file."""
    with path.open("w", encoding="utf-8") as file:
        file.writelines(line + "\n" for line in lines)


def measured(command: list[str]) -> tuple[float, float, float]:
    """Seconds, peak resident memory and peak of the process's own memory, in MiB."""
    begin = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    own = 0.0
    while True:
        done, status, usage = os.wait4(process.pid, os.WNOHANG)
        if done:
            break
        own = max(own, anonymous(process.pid))
        time.sleep(0.1)
    if status:
        raise SystemExit(f"{' '.join(command)}: failed")
    return time.perf_counter() - begin, usage.ru_maxrss / 1024, own


def anonymous(process: int) -> float:
    """Resident memory that belongs to no file, in MiB."""
    try:
        status = Path(f"/proc/{process}/status").read_text("ascii")
    except OSError:
        return 0.0
    for line in status.splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) / 1024
    return 0.0


if __name__ == "__main__":
    main()
