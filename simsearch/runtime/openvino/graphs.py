"""Graphs in the cache: a checkpoint's, converted from TensorFlow, and its int8 twin."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from simsearch.cache import cache_folder, discard, whole_folder_made_by
from simsearch.calibration import Calibration
from simsearch.checkpoint import Checkpoint
from simsearch.pooling import all_heads
from simsearch.runtime.openvino.backend import ov
from simsearch.runtime.openvino.quantization import quantize
from simsearch.weights import WeightHashes

# Part of the name of every cached graph: raise it when encoder_graph or pooling.py change.
_GRAPH_FORMAT = 2
# And of every quantized one: raise it when quantization.py changes.
_INT8_FORMAT = 1
_GRAPH = "graph.xml"  # and the weights beside it in graph.bin


def cached_graph(core: ov.Core, checkpoint: Checkpoint, hashes: WeightHashes) -> ov.Model:
    """The checkpoint's graph with all its heads, float32; its weights are mapped into memory.

    Raises SettingsError if it is not in the cache and the cache cannot be written.
    """

    def convert(folder: Path) -> None:
        from simsearch import bert  # TensorFlow: only for a graph that is not in the cache

        depth = checkpoint.architecture.num_hidden_layers
        heads = all_heads(depth, pooler=hashes.pooler is not None)
        # by way of a file: OpenVINO's convert_model, which takes the function itself, fails on
        # Python 3.13
        saved = folder / "tensorflow"
        bert.save_encoder_graph(checkpoint, heads, saved)
        _save(core, core.read_model(saved), folder)
        shutil.rmtree(saved)

    return _cached(core, _key(checkpoint, hashes), convert)


def cached_int8_graph(
    core: ov.Core, checkpoint: Checkpoint, hashes: WeightHashes, calibration: Calibration
) -> ov.Model:
    """The same graph quantized: see ``quantization``. Raises SettingsError, also for another's."""

    def make(folder: Path) -> None:
        graph = cached_graph(core, checkpoint, hashes)
        quantize(graph, calibration.ranges)
        _save(core, graph, folder)

    key = f"{_key(checkpoint, hashes)}-int8-{_INT8_FORMAT}-{calibration.hash[:32]}"
    return _cached(core, key, make)


def _key(checkpoint: Checkpoint, hashes: WeightHashes) -> str:
    a = checkpoint.architecture
    # the hash covers the variables; these change the computation on them
    shape = f"{a.family}-{a.num_attention_heads}-{a.hidden_act}-{a.layer_norm_eps}"
    pooler = (hashes.pooler or "none")[:16] + ("" if a.pooler_act == "tanh" else a.pooler_act)
    version = ov.__version__.split("-")[0]
    return f"{hashes.backbone[:32]}-{pooler}-{shape}-{_GRAPH_FORMAT}-{version}"


def _cached(core: ov.Core, key: str, make: Callable[[Path], None]) -> ov.Model:
    entry = cache_folder() / "graphs" / key
    try:
        return core.read_model(whole_folder_made_by(entry, make) / _GRAPH)
    except RuntimeError:  # damage that its size and time of change don't tell
        discard(entry)
        return core.read_model(whole_folder_made_by(entry, make) / _GRAPH)


def _save(core: ov.Core, graph: ov.Model, folder: Path) -> None:
    """Write a graph; OSError if the system refuses."""
    try:
        ov.save_model(graph, folder / _GRAPH, compress_to_fp16=False)
        core.read_model(folder / _GRAPH)  # a disk that was full for a moment cuts without a word
    except RuntimeError as error:  # without the system's reason
        raise OSError("OpenVINO could not write the graph") from error
