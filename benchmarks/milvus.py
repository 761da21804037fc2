"""An index in Milvus: how long exports take, and queries beside the folder's.

    python benchmarks/milvus.py indexes/sentences --queries questions.txt [--uri http://HOST:19530]

Without a server it is embedded Milvus (milvus-lite), which is written in Python for trying things
out: its times say what simsearch adds to Milvus, and nothing about a cluster. The index is copied
first, and the copy changed.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
from same_vectors import machine

import simsearch
from simsearch.answering import Answering
from simsearch.milvus import Address, export_to_milvus


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="An index in Milvus.")
    parser.add_argument("index", type=Path)
    parser.add_argument("--queries", type=Path, required=True, help="lines")
    parser.add_argument("--uri", help="of a server")
    given = parser.parse_args()
    packages = {name: importlib.metadata.version(name) for name in ("pymilvus", "milvus-lite")}
    print(*machine(packages), sep="\n")
    queries = given.queries.read_text("utf-8").splitlines()[:200]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(shutil.copytree(given.index, Path(place) / "copy"))
        image = Address(given.uri or str(Path(place) / "milvus.db"), "simsearch_benchmark")
        export("all of it", folder, image)
        export("nothing has changed", folder, image)
        with simsearch.open_index(folder) as here, simsearch.open_milvus(str(image)) as there:
            same = [here.query(text) for text in queries] == [there.query(text) for text in queries]
            print(f"hits of {len(queries)} queries: {'the same' if same else 'not the same'}")
            for name, searcher in (("folder", here), ("Milvus", there)):
                print(f"one query in the {name}: {median(searcher, queries) * 1000:.1f} ms")
            changed = here.documents([hit.id for hit in here.query(queries[0], k=200)])
        simsearch.add_documents(
            folder,
            [{"id": document.id, "text": f"{document.text}!"} for document in changed],
            encoder=simsearch.SentenceEncoder.load(),
        )
        export(f"{len(changed)} documents have changed", folder, image)


def export(what: str, folder: Path, image: Address) -> None:
    """Export, and say how long it took."""
    began = time.perf_counter()
    report = export_to_milvus(folder, image)
    seconds = time.perf_counter() - began
    print(
        f"export, {what}: {seconds:.1f} s, {report.rows:,} rows, {report.written:,} written, "
        f"{report.deleted:,} deleted, {report.plan.kind}",
        flush=True,
    )


def median(searcher: Answering, queries: list[str]) -> float:
    """Seconds of a query, alone."""
    seconds = []
    for text in queries:
        began = time.perf_counter()
        searcher.query(text)
        seconds.append(time.perf_counter() - began)
    return float(np.median(seconds))


if __name__ == "__main__":
    main()
