"""The cache's graphs: a checkpoint's, converted from TensorFlow; its int8 twin; compiled ones."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from simsearch.cache import cache_folder, discard, whole_folder_made_by
from simsearch.calibration import Calibration
from simsearch.checkpoint import Checkpoint
from simsearch.errors import SettingsError
from simsearch.pooling import all_heads
from simsearch.runtime.openvino.backend import ov
from simsearch.runtime.openvino.quantization import quantize
from simsearch.weights import WeightHashes

# Part of the name of every cached graph: raise it when encoder_graph or pooling.py change.
_GRAPH_FORMAT = 2
# And of every quantized one: raise it when quantization.py changes.
_INT8_FORMAT = 1
_GRAPH = "graph.xml"  # and the weights beside it in graph.bin
_COMPILED = "encoder.blob"


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

    return _cached(core, graph_key(checkpoint, hashes, None), convert)


def cached_int8_graph(
    core: ov.Core, checkpoint: Checkpoint, hashes: WeightHashes, calibration: Calibration
) -> ov.Model:
    """The same graph quantized: see ``quantization``. Raises SettingsError, also for another's."""

    def make(folder: Path) -> None:
        graph = cached_graph(core, checkpoint, hashes)
        quantize(graph, calibration.ranges)
        _save(core, graph, folder)

    return _cached(core, graph_key(checkpoint, hashes, calibration), make)


def cached_compiled(
    core: ov.Core, graph: Callable[[], ov.Model], key: str, hints: Mapping[str, str | int]
) -> tuple[Any, Any]:
    """The graph compiled with these hints, and the memory that has to outlive it.

    The latter is a file of the cache, mapped, or ``None`` if it was compiled now. ``key`` says what
    ``graph`` gives. Raises what ``graph`` raises; a cache that cannot be written only costs time.
    """
    cpu = core.get_property("CPU", "FULL_DEVICE_NAME")
    facts = json.dumps([key, sorted(hints.items()), cpu, ov.__version__])
    entry = cache_folder() / "compiled" / hashlib.sha256(facts.encode()).hexdigest()[:32]

    made, begun = list[Any](), False

    def make(folder: Path) -> None:
        nonlocal begun
        begun = True
        made.append(core.compile_model(graph(), "CPU", dict(hints)))
        (folder / _COMPILED).write_bytes(made[0].export_model().getbuffer())

    try:
        file = whole_folder_made_by(entry, make) / _COMPILED
        content = ov.Tensor(np.memmap(file, np.uint8, "c"), shared_memory=True)
        return core.import_model(content, "CPU", dict(hints)), content
    except SettingsError:
        if begun and not made:  # then it is about the graph
            raise
        # there is no room to keep it
        return made[0] if made else core.compile_model(graph(), "CPU", dict(hints)), None
    except (OSError, RuntimeError):  # damage that its size and time of change don't tell
        shutil.rmtree(entry, ignore_errors=True)
        return core.compile_model(graph(), "CPU", dict(hints)), None


def graph_key(checkpoint: Checkpoint, hashes: WeightHashes, calibration: Calibration | None) -> str:
    """What the cache names a graph by, quantized if there is a calibration."""
    a = checkpoint.architecture
    # the hash covers the variables; these change the computation on them
    shape = f"{a.family}-{a.num_attention_heads}-{a.hidden_act}-{a.layer_norm_eps}"
    pooler = (hashes.pooler or "none")[:16] + ("" if a.pooler_act == "tanh" else a.pooler_act)
    version = ov.__version__.split("-")[0]
    quantized = f"-int8-{_INT8_FORMAT}-{calibration.hash[:32]}" if calibration else ""
    return f"{hashes.backbone[:32]}-{pooler}-{shape}-{_GRAPH_FORMAT}-{version}{quantized}"


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
