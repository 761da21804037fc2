"""The engines of ``encode.py``: each takes the same weights and gives the vectors of texts.

Imported by drivers for the names alone and by workers for an engine; what an engine needs is
imported when it is opened, in whichever environment that is.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]
Environment = Literal["own", "peer"]

REFERENCE = "st-torch-float32"
"""Whose vectors and speed the others are compared with: what sentence-transformers does unasked."""
_BATCH_TOKENS = 1024
"""Of CTranslate2, which leaves batches to its user: 512 to 2048 are alike, more is slower."""


@dataclass(frozen=True, slots=True)
class Spec:
    """An engine's title, the environment that it runs in and the format that it reads."""

    title: str
    environment: Environment
    format: str


ENGINES = {
    "simsearch-float32": Spec("simsearch, float32", "own", "simsearch-float32"),
    "simsearch-auto": Spec("simsearch, auto", "own", "simsearch-auto"),
    "simsearch-int8": Spec("simsearch, int8", "own", "simsearch-int8"),
    "st-torch-float32": Spec("sentence-transformers, torch float32", "peer", "hf"),
    "st-torch-bfloat16": Spec("sentence-transformers, torch bfloat16", "peer", "hf"),
    "st-onnx": Spec("sentence-transformers, ONNX", "peer", "onnx"),
    "st-onnx-o3": Spec("sentence-transformers, ONNX O3", "peer", "onnx-o3"),
    "st-onnx-int8": Spec("sentence-transformers, ONNX int8", "peer", "onnx-int8"),
    "st-openvino-float32": Spec("sentence-transformers, OpenVINO float32", "peer", "openvino"),
    "st-openvino": Spec("sentence-transformers, OpenVINO", "peer", "openvino"),
    "st-openvino-int8": Spec("sentence-transformers, OpenVINO int8", "peer", "openvino-int8"),
    "ct2-float32": Spec("CTranslate2, float32", "peer", "ctranslate2"),
    "ct2-int8": Spec("CTranslate2, int8", "peer", "ctranslate2"),
}


class Engine(Protocol):
    """A loaded model."""

    def about(self) -> dict[str, Any]:
        """Its ``precision``, its ``max_length`` in tokens, and ``versions`` of its packages."""

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Vectors, float32 (texts, hidden), of length 1 or near."""

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """How many tokens the model sees of each text, [CLS] and [SEP] included."""


def open_engine(name: str, root: Path, batch_size: int) -> Engine:
    """Load an engine by its name in ``ENGINES``; ``root`` holds the model in all formats."""
    library, _, way = name.partition("-")
    if library == "simsearch":
        return _Simsearch(root, way)
    if library == "ct2":
        return _CTranslate2(root, way)
    return _SentenceTransformers(root, way, batch_size)


def _about(precision: str, max_length: int, packages: Sequence[str]) -> dict[str, Any]:
    versions = {name: importlib.metadata.version(name) for name in packages}
    return {"precision": precision, "max_length": max_length, "versions": versions}


class _Simsearch:
    def __init__(self, root: Path, precision: Any) -> None:
        from simsearch import SentenceEncoder

        options = {"calibration": root / "calibration.npz"} if precision == "int8" else {}
        self._encoder = SentenceEncoder.load(root / "hf", precision=precision, **options)
        self._precision = precision

    def about(self) -> dict[str, Any]:
        import openvino as ov

        precision = self._precision
        if precision == "auto":
            able = ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
            precision = "bfloat16" if "BF16" in able else "float32"
        packages = ("simsearch", "openvino", "tokenizers", "numpy")
        return _about(precision, self._encoder.max_length, packages)

    def encode(self, texts: Sequence[str]) -> Vectors:
        return self._encoder.encode(texts)

    def lengths(self, texts: Sequence[str]) -> list[int]:
        return [len(ids) for ids in self._encoder.token_ids(texts)]


class _SentenceTransformers:
    def __init__(self, root: Path, way: str, batch_size: int) -> None:
        from sentence_transformers import SentenceTransformer

        backend, _, precision = way.partition("-")
        options: dict[str, Any] = {}
        folder = root / (backend if backend != "torch" else "hf")
        if backend == "torch":
            options = {"dtype": precision}
        elif backend == "onnx":
            files = {"": "model.onnx", "o3": "model_O3.onnx", "int8": "model_int8.onnx"}
            options = {"file_name": files[precision], "subfolder": "onnx"}
            options |= {"provider": "CPUExecutionProvider"}
        elif precision == "int8":
            folder = root / "openvino-int8"
        elif precision == "float32":
            options = {"ov_config": {"INFERENCE_PRECISION_HINT": "f32"}}
        self._model = SentenceTransformer(
            str(folder), device="cpu", backend=backend, model_kwargs=options
        )
        self._backend, self._precision, self._batch_size = backend, precision, batch_size

    def about(self) -> dict[str, Any]:
        precision = self._precision.replace("o3", "") or "float32"
        packages = ["sentence-transformers", "transformers", "torch", "tokenizers"]
        if self._backend == "onnx":
            packages += ["onnxruntime", "optimum-onnx"]
        if self._backend == "openvino":
            packages += ["openvino", "optimum-intel", "nncf"]
            if precision != "int8":  # what the CPU made of the hint, or of none
                compiled = self._model.transformers_model.request
                hint = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
                precision = {"f32": "float32", "bf16": "bfloat16", "f16": "float16"}[hint]
        return _about(precision, self._model.max_seq_length, packages)

    def encode(self, texts: Sequence[str]) -> Vectors:
        vectors: Vectors = self._model.encode(
            list(texts),
            batch_size=self._batch_size,
            normalize_embeddings=True,
            show_progress_bar=False,
        )
        return vectors

    def lengths(self, texts: Sequence[str]) -> list[int]:
        tokenizer, most = self._model.tokenizer, self._model.max_seq_length
        ids = tokenizer(list(texts), truncation=True, max_length=most)["input_ids"]
        return [len(row) for row in ids]


class _CTranslate2:
    """Its encoder, with batches of texts of like length and the mean over tokens in NumPy."""

    def __init__(self, root: Path, precision: str) -> None:
        import ctranslate2
        from tokenizers import Tokenizer

        pooling = json.loads((root / "hf" / "1_Pooling" / "config.json").read_text("utf-8"))
        if not pooling["pooling_mode_mean_tokens"]:
            raise ValueError("only mean pooling is written for CTranslate2")
        self._tokenizer = Tokenizer.from_file(str(root / "hf" / "tokenizer.json"))
        limits = json.loads((root / "hf" / "sentence_bert_config.json").read_text("utf-8"))
        self._max_length = limits["max_seq_length"]
        self._tokenizer.enable_truncation(self._max_length)
        self._tokenizer.no_padding()
        self._precision = precision
        self._encoder = ctranslate2.Encoder(
            str(root / "ctranslate2"),
            compute_type=precision,
            intra_threads=len(os.sched_getaffinity(0)),
        )

    def about(self) -> dict[str, Any]:
        return _about(self._precision, self._max_length, ("ctranslate2", "tokenizers", "numpy"))

    def encode(self, texts: Sequence[str]) -> Vectors:
        ids = [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts))]
        order = sorted(range(len(ids)), key=lambda i: -len(ids[i]))
        pooled: list[Vectors] = []
        while len(pooled) < len(order):
            start = len(pooled)
            longest = len(ids[order[start]])
            batch = [ids[i] for i in order[start : start + max(1, _BATCH_TOKENS // longest)]]
            states = np.asarray(self._encoder.forward_batch(batch).last_hidden_state)
            pooled += [row[: len(of)].mean(axis=0) for row, of in zip(states, batch, strict=True)]
        vectors = np.empty((len(texts), len(pooled[0])), np.float32)
        vectors[order] = pooled
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors

    def lengths(self, texts: Sequence[str]) -> list[int]:
        return [len(encoding.ids) for encoding in self._tokenizer.encode_batch(list(texts))]
