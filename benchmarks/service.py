"""The service under load: requests a second, latency, errors and memory, beside the usual script.

    python benchmarks/service.py MILLION --queries queries.txt --peer-python PEER/bin/python \\
        --peer-model EXPORTED --peer-data DATA

The load is wrk's, in a process of its own, which posts queries in turn, each alone. The peer is
what one writes oneself: sentence-transformers and FAISS (HNSW of 32 links over the same float32
vectors, and flat) behind FastAPI, with the model that `simsearch export-hf` wrote. Every server has
both cores to itself, one after the other. With --minutes the service is asked so long, and its
memory read.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from same_vectors import machine, progress

from simsearch.store import StoredIndex

_LUA = """
local bodies = {{}}
for line in io.lines("{bodies}") do bodies[#bodies + 1] = line end
math.randomseed({seed})
local at = math.random(#bodies)
request = function()
  at = at % #bodies + 1
  return wrk.format("POST", "/v1/search", {{["Content-Type"] = "application/json"}}, bodies[at])
end
"""


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="The service under load.")
    parser.add_argument("index", type=Path)
    parser.add_argument("--queries", required=True, type=Path, help="lines")
    parser.add_argument("--clients", default="1,16,64")
    parser.add_argument("--seconds", default=20, type=int, help="of each measurement")
    parser.add_argument("--minutes", default=0, type=int, help="of the measurement of memory")
    parser.add_argument("--peer-python", type=Path)
    parser.add_argument("--peer-model", type=Path, help="what export-hf wrote")
    parser.add_argument("--peer-data", type=Path, help="where the peer's index is kept")
    parser.add_argument("--peer-kinds", default="hnsw,flat")
    return parser.parse_args()


def main() -> None:
    """Measure and print."""
    given = arguments()
    clients = [int(count) for count in given.clients.split(",")]
    print("\n".join(f"- {line}" for line in machine({})), flush=True)
    rows = ["| server | clients | requests a second | p50 | p99 | errors |"]
    rows.append("|---|--:|--:|--:|--:|--:|")
    serve = [sys.executable, "-m", "simsearch", "serve", str(given.index), "--port", "0"]
    servers = {"simsearch": serve}
    if given.peer_python:
        peer = Path(__file__).with_name("service_peer.py")
        write_data(given.index, given.queries, given.peer_data)
        for kind in given.peer_kinds.split(","):
            command = [given.peer_python, peer, given.peer_data, given.peer_model, kind]
            servers[f"sentence-transformers, FAISS {kind}"] = [str(part) for part in command]
    with tempfile.TemporaryDirectory() as folder:
        script = write_script(Path(folder), given.queries)
        for name, command in servers.items():
            progress(name)
            with serving(command) as (address, _):
                load(address, script, 16, 3)  # until all is warm
                for count in clients:
                    found = load(address, script, count, given.seconds)
                    rows.append(f"| {name} | {count} | {found} |")
                    progress(rows[-1])
        print("\n" + "\n".join(rows), flush=True)
        if given.minutes:
            with serving(serve) as (address, process):
                load(address, script, 16, 10)
                print("\n| minute | memory of its own | answers |\n|--:|--:|---|")
                for minute in range(given.minutes):
                    before = memory(process)
                    print(f"| {minute} | {before} | {load(address, script, 16, 60)} |", flush=True)
                print(f"| {given.minutes} | {memory(process)} | |")


def write_data(index: Path, queries: Path, folder: Path) -> None:
    """What the peer is made of: the same vectors and texts."""
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / "vectors.npy").exists():
        return
    shutil.copyfile(queries, folder / "queries.txt")
    with StoredIndex.open(index) as stored:
        texts = (p.document.text for p in stored.passages(range(stored.chunks.rows)))
        (folder / "texts.txt").write_text("\n".join(texts), "utf-8")
        np.save(folder / "vectors.npy", np.concatenate([np.asarray(s) for s in stored.segments]))


def write_script(folder: Path, queries: Path) -> Path:
    """What wrk runs: each query of the file as a search for ten hits."""
    bodies, script = folder / "bodies.jsonl", folder / "load.lua"
    lines = (line.strip() for line in queries.read_text("utf-8").splitlines())
    bodies.write_text(
        "".join(json.dumps({"query": line, "k": 10}) + "\n" for line in lines if line), "utf-8"
    )
    script.write_text(_LUA.format(bodies=bodies, seed=1), "utf-8")
    return script


@contextmanager
def serving(command: list[str]) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A server, once it says where it is."""
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        for line in process.stderr:
            progress(line.rstrip())
            if found := re.search(r"serving on (http://\S+)", line):
                yield found[1], process
                return
        raise SystemExit(f"{command[:3]} ended with {process.wait()}")
    finally:
        process.terminate()
        process.communicate()


def load(address: str, script: Path, clients: int, seconds: int) -> str:
    """Requests a second, median and 99th percentile of the time, and what went wrong."""
    command = ["wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "--latency", "--timeout", "30s"]
    out = subprocess.run(
        [*command, "-s", str(script), address], capture_output=True, text=True, check=True
    ).stdout
    rate = re.search(r"Requests/sec:\s+(\S+)", out)
    middle, last = (re.search(rf"^\s+{p}%\s+(\S+)", out, re.MULTILINE) for p in ("50", "99"))
    if not (rate and middle and last):
        raise SystemExit(out)
    wrong = re.findall(r"(?:Socket errors|Non-2xx).*", out)
    return f"{float(rate[1]):,.0f} | {middle[1]} | {last[1]} | {'; '.join(wrong) or 'none'}"


def memory(process: subprocess.Popen[str]) -> str:
    """What the process holds that no file backs, MiB."""
    status = Path(f"/proc/{process.pid}/status").read_text("utf-8")
    found = re.search(r"RssAnon:\s+(\d+) kB", status)
    assert found
    return f"{int(found[1]) // 1024:,} MiB"


if __name__ == "__main__":
    main()
