"""The same graph, converted once, kept in the cache, and run by OpenVINO on the CPU."""

from __future__ import annotations

import shutil
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from simsearch.cache import cache_folder, discard, whole_folder_made_by
from simsearch.checkpoint import Checkpoint
from simsearch.config import Precision
from simsearch.pooling import all_heads
from simsearch.weights import WeightHashes

# OpenVINO tells its makers of every import, unless its package for that is missing.
_TELEMETRY = "openvino_telemetry"
_theirs = sys.modules.get(_TELEMETRY)
sys.modules[_TELEMETRY] = None  # type: ignore[assignment]  # Python's way to say: not to be had
try:
    import openvino as ov
finally:
    del sys.modules[_TELEMETRY]
    if _theirs is not None:
        sys.modules[_TELEMETRY] = _theirs

# Part of the name of every cached graph: raise it when encoder_graph or pooling.py change.
_GRAPH_FORMAT = 2
_GRAPH = "graph.xml"  # and the weights beside it in graph.bin


class OpenVinoRuntime:
    """Implements ``Runtime``.

    The cached graph offers all heads; only the wanted ones are compiled, so the rest costs nothing.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        hashes: WeightHashes,
        heads: Sequence[str],
        precision: Precision,
    ) -> None:
        self._lock = threading.Lock()
        core = ov.Core()
        graph = _cached_graph(core, checkpoint, hashes)
        by_name = {name: output for output in graph.outputs for name in output.get_names()}
        wanted = ov.Model([by_name[head] for head in heads], graph.get_parameters(), "encoder")
        bfloat16 = precision == "auto" and "BF16" in core.get_property(
            "CPU", "OPTIMIZATION_CAPABILITIES"
        )
        self._compiled = core.compile_model(
            wanted,
            "CPU",
            {
                "PERFORMANCE_HINT": "LATENCY",
                "INFERENCE_PRECISION_HINT": "bf16" if bfloat16 else "f32",
            },
        )

    def run(self, ids: npt.NDArray[np.int32]) -> list[npt.NDArray[np.float32]]:
        """See ``Runtime``."""
        # one request, which one thread at a time may fill; each uses all cores anyway
        with self._lock:
            outputs = self._compiled(ids, share_inputs=True)
            return [np.array(outputs[i]) for i in range(len(self._compiled.outputs))]


def _cached_graph(core: ov.Core, checkpoint: Checkpoint, hashes: WeightHashes) -> ov.Model:
    a = checkpoint.architecture
    # the hash covers the variables; these change the computation on them
    shape = f"{a.family}-{a.num_attention_heads}-{a.hidden_act}-{a.layer_norm_eps}"
    pooler = (hashes.pooler or "none")[:16] + ("" if a.pooler_act == "tanh" else a.pooler_act)
    key = f"{hashes.backbone[:32]}-{pooler}-{shape}-{_GRAPH_FORMAT}-{ov.__version__.split('-')[0]}"

    def convert(folder: Path) -> None:
        from simsearch import bert  # TensorFlow: only for a graph that is not in the cache

        heads = all_heads(a.num_hidden_layers, pooler=hashes.pooler is not None)
        # by way of a file: OpenVINO's convert_model, which takes the function itself, fails on
        # Python 3.13
        saved = folder / "tensorflow"
        bert.save_encoder_graph(checkpoint, heads, saved)
        _save(core, core.read_model(saved), folder)
        shutil.rmtree(saved)

    entry = cache_folder() / "graphs" / key
    try:
        return core.read_model(whole_folder_made_by(entry, convert) / _GRAPH)
    except RuntimeError:  # damage that its size and time of change don't tell
        discard(entry)
        return core.read_model(whole_folder_made_by(entry, convert) / _GRAPH)


def _save(core: ov.Core, graph: ov.Model, folder: Path) -> None:
    """Write a graph; OSError if the system refuses."""
    try:
        ov.save_model(graph, folder / _GRAPH, compress_to_fp16=False)
        core.read_model(folder / _GRAPH)  # a disk that was full for a moment cuts without a word
    except RuntimeError as error:  # without the system's reason
        raise OSError("OpenVINO could not write the graph") from error
