"""A build on a Ray cluster, undisturbed and killed again and again, beside the local build.

    python benchmarks/cluster.py sentences.txt

The cluster is of several processes on loopback: a head without a CPU for tasks, and two nodes that
share the cores which the local build has. A disturbed build loses a process that encodes, a whole
node (another joins later) and, several times, the process of the build itself, which is then begun
again. All indexes must be the same: ids, texts, vectors, and in which order.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import json
import os
import random
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from same_vectors import machine, progress

from simsearch.store import StoredIndex

_BIN = Path(sys.executable).parent
_PORT = 6399
os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(16))  # of all processes


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Builds on a Ray cluster.")
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--repeat", default=1, type=int, help="undisturbed builds of each kind")
    parser.add_argument("--driver-kills", default=3, type=int)
    parser.add_argument(
        "--every", default=40.0, type=float, help="seconds between kills of workers"
    )
    return parser.parse_args()


def main() -> None:
    """Build, compare, print."""
    given = arguments()
    cores = os.cpu_count() or 1
    print(*machine({"ray": importlib.metadata.version("ray")}), sep="\n", flush=True)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        rates: dict[str, list[float]] = {"local": [], "ray": []}
        seen = set()
        with cluster(cores) as nodes:
            for number in range(given.repeat):
                for engine in rates:
                    index = folder / f"{engine}-{number}"
                    began = time.perf_counter()
                    report = json.loads(
                        subprocess.check_output(command(given.corpus, index, engine))
                    )
                    seconds = report["seconds"]["encoding"]
                    rates[engine].append(report["chunks"] / seconds)
                    seen.add(digest(index))
                    progress(
                        f"{engine}: {report['chunks']:,} texts, {seconds:.0f} s encoding, "
                        f"{time.perf_counter() - began:.0f} s in all"
                    )
            kills = disturbed(given, folder / "disturbed", cores, nodes)
            seen.add(digest(folder / "disturbed"))
        local, ray = (sorted(of)[len(of) // 2] for of in rates.values())
        print(f"local {local:,.0f} texts/s, cluster {ray:,.0f} texts/s: {ray / local:.2f} of it")
        print(f"killed in the disturbed build: {kills}")
        print("all indexes are the same" if len(seen) == 1 else f"they differ: {seen}")


def command(corpus: Path, index: Path, engine: str) -> list[str]:
    """A build, as it is typed."""
    options = ["--engine", "ray", "--ray-address", f"127.0.0.1:{_PORT}"] if engine == "ray" else []
    words = ["simsearch", "build", corpus, "--index", index, "--json", *options]
    return [str(_BIN / str(words[0])), *map(str, words[1:])]


@contextmanager
def cluster(cores: int) -> Iterator[list[subprocess.Popen[str]]]:
    """A head and two nodes; the processes of the nodes."""
    head = start(["--head", f"--port={_PORT}", "--num-cpus=0"])
    nodes = []
    try:
        nodes += [node(cores // 2), node(cores - cores // 2)]
        yield nodes
    finally:
        for process in (*nodes, head):
            stop(process)


def node(cpus: int) -> subprocess.Popen[str]:
    """A node of the cluster, with so many cores for tasks."""
    return start([f"--address=127.0.0.1:{_PORT}", f"--num-cpus={cpus}"])


def start(options: list[str]) -> subprocess.Popen[str]:
    """`ray start` that stays, once it has started."""
    process = subprocess.Popen(
        [_BIN / "ray", "start", "--block", "--disable-usage-stats", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    for line in process.stdout:  # it says no more than fits into the pipe
        if "Ray runtime started" in line:
            return process
    raise SystemExit("ray did not start")


def stop(process: subprocess.Popen[str]) -> None:
    """Kill a node and all its processes, as a machine that loses its power."""
    for child in children(process.pid):
        os.kill(child, signal.SIGKILL)
    process.kill()
    process.wait()


def children(pid: int) -> list[int]:
    """All processes that descend from this one, the nearest first."""
    parents: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has ended
        parents.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found: list[int] = []
    for parent in [pid]:
        found += parents.get(parent, [])
    for parent in found:
        found += parents.get(parent, [])
    return found


def encoding(nodes: list[subprocess.Popen[str]]) -> list[int]:
    """The processes of the nodes that encode."""
    found = []
    for process in nodes:
        for pid in children(process.pid):
            try:
                name = Path(f"/proc/{pid}/cmdline").read_bytes()
            except OSError:
                continue
            if name.startswith(b"ray::_called"):
                found.append(pid)
    return found


def disturbed(
    given: argparse.Namespace, index: Path, cores: int, nodes: list[subprocess.Popen[str]]
) -> str:
    """A build that is killed; what was killed how often."""
    chance = random.Random(7)
    workers = drivers = machines = 0
    began = time.monotonic()
    said = index.with_name("said.txt")
    while True:
        driver = subprocess.Popen(
            command(given.corpus, index, "ray"), stdout=subprocess.DEVNULL, stderr=said.open("w")
        )
        until = time.monotonic() + given.every * chance.uniform(1.5, 2.5)
        while driver.poll() is None:
            time.sleep(given.every * chance.uniform(0.5, 1))
            if pids := encoding(nodes):
                os.kill(chance.choice(pids), signal.SIGKILL)
                workers += 1
            if drivers == 1 and not machines:
                stop(nodes.pop())
                machines += 1
                time.sleep(given.every / 2)
                nodes.append(node(cores - cores // 2))
            if drivers < given.driver_kills and time.monotonic() > until:
                driver.kill()
                drivers += 1
                break
        driver.wait()
        if driver.returncode == 0:
            progress(f"disturbed: {time.monotonic() - began:.0f} s in all")
            return f"{workers} processes that encode, {machines} node, {drivers} builds"
        if driver.returncode > 0:
            raise SystemExit(f"the build failed with {driver.returncode}: {said.read_text()}")


def digest(index: Path) -> str:
    """A hash of ids, texts and vectors, in their order."""
    found = hashlib.sha256()
    with StoredIndex.open(index) as stored, stored.reading():
        count = stored.chunks.count
        for first in range(0, count, 1024):
            numbers = list(range(first, min(first + 1024, count)))
            documents = map(stored.document, numbers)
            found.update(json.dumps([(d.id, d.text) for d in documents]).encode())
        for vectors in stored.segments:
            found.update(vectors.tobytes())
    return found.hexdigest()


if __name__ == "__main__":
    main()
