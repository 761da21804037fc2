"""Models for ``encode.py``: a folder in Hugging Face layout, and what others read."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

RANDOM_BASE = "random-base"
CALIBRATION = Path(__file__).resolve().parent.parent / "examples" / "corpus.jsonl"
_CALIBRATION_TEXTS = 300
_BASE = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
}
_TOKENIZER_FILES = (
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt"),
    *("modules.json", "sentence_bert_config.json", "config_sentence_transformers.json"),
)


def write_model(model: str, folder: Path) -> None:
    """Write a model, a name or folder that simsearch takes, so that all engines can read it.

    "random-base" is a BERT of BERT-base's size with random weights and zhen-small's vocabulary.
    """
    from simsearch import SentenceEncoder

    source = Path(model)
    if (source / "modules.json").exists():
        shutil.copytree(source, folder)
    elif model == RANDOM_BASE:
        exported = folder.with_name("zhen-small")
        SentenceEncoder.load("zhen-small", precision="float32").export_hf(exported)
        _write_random(exported, folder)
    else:
        SentenceEncoder.load(model, precision="float32").export_hf(folder)


def _write_random(like: Path, folder: Path) -> None:
    from safetensors.numpy import save_file

    config = json.loads((like / "config.json").read_text("utf-8")) | _BASE
    shutil.copytree(like / "1_Pooling", folder / "1_Pooling")
    pooling = folder / "1_Pooling" / "config.json"
    width = {"word_embedding_dimension": config["hidden_size"]}
    pooling.write_text(json.dumps(json.loads(pooling.read_text("utf-8")) | width), "utf-8")
    (folder / "2_Normalize").mkdir()
    for name in _TOKENIZER_FILES:
        shutil.copy(like / name, folder)
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    save_file(dict(_random(config)), folder / "model.safetensors", {"format": "pt"})


def _random(config: dict[str, Any]) -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
    """Variables of a BERT by their names: weights normal(0, 0.02), biases 0, scales 1."""
    generator = np.random.default_rng(0)
    h, i = config["hidden_size"], config["intermediate_size"]

    def weight(*shape: int) -> np.ndarray[Any, Any]:
        return generator.normal(0, 0.02, shape).astype(np.float32)

    def norm(name: str) -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
        yield f"{name}.LayerNorm.weight", np.ones(h, np.float32)
        yield f"{name}.LayerNorm.bias", np.zeros(h, np.float32)

    kinds = {"word": "vocab_size", "position": "max_position_embeddings"}
    for kind, size in (kinds | {"token_type": "type_vocab_size"}).items():
        yield f"embeddings.{kind}_embeddings.weight", weight(config[size], h)
    yield from norm("embeddings")
    dense = [(f"attention.self.{part}", h, h) for part in ("query", "key", "value")]
    dense.append(("attention.output.dense", h, h))
    dense += [("intermediate.dense", i, h), ("output.dense", h, i)]
    for layer in range(config["num_hidden_layers"]):
        for name, outputs, inputs in dense:
            yield f"encoder.layer.{layer}.{name}.weight", weight(outputs, inputs)
            yield f"encoder.layer.{layer}.{name}.bias", np.zeros(outputs, np.float32)
        for name in ("attention.output", "output"):
            yield from norm(f"encoder.layer.{layer}.{name}")


def write_format(format: str, root: Path) -> None:
    """Write the model of ``root / "hf"`` in another format, in the environment that reads it."""
    if format.startswith("simsearch-"):
        _warm_cache(root, format.removeprefix("simsearch-"))
        return
    formats: dict[str, Callable[[Path], None]] = {
        "onnx": _write_onnx,
        "onnx-o3": _write_onnx_o3,
        "onnx-int8": _write_onnx_int8,
        "openvino": _write_openvino,
        "openvino-int8": _write_openvino_int8,
        "ctranslate2": _write_ctranslate2,
    }
    formats[format](root)


def _warm_cache(root: Path, precision: Any) -> None:
    from simsearch import SentenceEncoder

    calibration = root / "calibration.npz"
    if precision == "int8" and not calibration.exists():
        exact = SentenceEncoder.load(root / "hf", precision="float32")
        exact.fit_calibration(_calibration_texts()).save(calibration)
    options = {"calibration": calibration} if precision == "int8" else {}
    SentenceEncoder.load(root / "hf", precision=precision, **options).encode(["warm"])


def _calibration_texts() -> list[str]:
    return [json.loads(line)["text"] for line in CALIBRATION.read_text("utf-8").splitlines()]


def _exported(root: Path, backend: str) -> Any:
    """The model with a backend, exported only the first time."""
    from sentence_transformers import SentenceTransformer

    folder = root / backend
    if not folder.exists():
        exported = SentenceTransformer(str(root / "hf"), device="cpu", backend=backend)
        exported.save_pretrained(str(folder))
    files = {"onnx": "model.onnx", "openvino": "openvino_model.xml"}
    kwargs = {"file_name": files[backend], "subfolder": backend}
    return SentenceTransformer(str(folder), device="cpu", backend=backend, model_kwargs=kwargs)


def _write_onnx(root: Path) -> None:
    _exported(root, "onnx")


def _write_onnx_o3(root: Path) -> None:
    from sentence_transformers import export_optimized_onnx_model

    model = _exported(root, "onnx")
    export_optimized_onnx_model(model, "O3", str(root / "onnx"), file_suffix="O3")


def _write_onnx_int8(root: Path) -> None:
    from sentence_transformers import export_dynamic_quantized_onnx_model

    info = Path("/proc/cpuinfo")
    flags = info.read_text() if info.exists() else ""
    kinds = {"avx512_vnni": "avx512_vnni", "avx512f": "avx512", "avx2": "avx2"}
    kind: Any = next((kind for flag, kind in kinds.items() if flag in flags), "arm64")
    model = _exported(root, "onnx")
    export_dynamic_quantized_onnx_model(model, kind, str(root / "onnx"), file_suffix="int8")


def _write_openvino(root: Path) -> None:
    _exported(root, "openvino")


def _write_openvino_int8(root: Path) -> None:
    """As ``export_static_quantized_openvino_model``, with texts of ours: that one fetches some."""
    import nncf
    import openvino as ov

    model = _exported(root, "openvino")
    texts = _calibration_texts()
    texts = texts[:: len(texts) // _CALIBRATION_TEXTS]
    graph = model.transformers_model.model
    names = {name for node in graph.inputs for name in node.get_names()}
    encoded = (model.tokenizer([text], return_tensors="np") for text in texts)
    rows = [{k: v for k, v in row.items() if k in names} for row in encoded]
    quantized = nncf.quantize(
        graph,
        nncf.Dataset(rows),
        model_type=nncf.ModelType.TRANSFORMER,
        subset_size=_CALIBRATION_TEXTS,
    )
    folder = root / "openvino-int8"
    shutil.copytree(root / "openvino", folder)
    for old in (folder / "openvino").iterdir():
        old.unlink()
    ov.save_model(quantized, folder / "openvino" / "openvino_model.xml", compress_to_fp16=False)


def _write_ctranslate2(root: Path) -> None:
    from ctranslate2.converters import TransformersConverter

    TransformersConverter(str(root / "hf")).convert(str(root / "ctranslate2"))
