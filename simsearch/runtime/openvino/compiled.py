"""Compiled graphs: one that gives an answer soonest, one that gives the most in a second."""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from simsearch.calibration import Calibration, Ranges
from simsearch.checkpoint import Checkpoint
from simsearch.checkpoint.architecture import Architecture
from simsearch.config import Precision
from simsearch.encoder import Vectors
from simsearch.limits import cpu_quota
from simsearch.runtime import Ids
from simsearch.runtime.openvino.backend import ov
from simsearch.runtime.openvino.graphs import (
    cached_compiled,
    cached_graph,
    cached_int8_graph,
    graph_key,
)
from simsearch.runtime.openvino.quantization import joined_ranges, observed
from simsearch.weights import WeightHashes

# Larger batches leave the CPU's caches, smaller ones its cores idle.
_BATCH_TOKENS = 2048
# A text of another length than the one before takes a millisecond more, whatever the model. So a
# text alone is padded, to lengths so far apart that this takes half as long: as many numbers of
# the model's products, times tokens. (A BERT-base is not padded, the embedded model to 21s.)
_PADDED_PRODUCTS = 128e6
# To compile takes as long as some dozens of batches, and a stream a core saves a tenth of them or
# more; fewer batches are run one after the other, each by all cores.
_MANY_BATCHES = 16
# OpenVINO keeps some eight things, a megabyte in all, for each shape that it has met; by default
# 5,000 of them, which takes a long run hundreds of megabytes.
_SHAPES_CACHE = 1000
# The compiled graph of an encoder is kept in the cache, for the next process to begin at once; that
# of a benchmark of many poolings, which is seldom asked for again, is not.
_KEPT_HEADS = 2


class OpenVinoRuntime:
    """Implements ``Runtime``.

    The cached graph offers all heads; only the wanted ones are compiled, so the rest costs nothing.
    ``threads`` are those of OpenVINO: at most, ``None`` what the process may use.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        hashes: WeightHashes,
        heads: Sequence[str],
        *,
        precision: Precision,
        calibration: Calibration | None,
        threads: int | None,
    ) -> None:
        self._lock = threading.Lock()
        self._core = ov.Core()
        self._model = checkpoint, hashes, calibration if precision == "int8" else None
        self._heads = tuple(heads)
        self._step, self._longest = _length_step(checkpoint.architecture), checkpoint.max_length
        self._float = "f32" if precision == "float32" or not _has_bfloat16(self._core) else "bf16"
        self._threads = threads or cpu_quota()
        # in this order, which is also that of their end
        self._soonest, self._mapped = self._compiled_for_one()
        self._most: Any = None

    def _graph(self) -> ov.Model:
        checkpoint, hashes, calibration = self._model
        if calibration is None:
            graph = cached_graph(self._core, checkpoint, hashes)
        else:
            graph = cached_int8_graph(self._core, checkpoint, hashes, calibration)
        by_name = {name: output for output in graph.outputs for name in output.get_names()}
        outputs = [by_name[head] for head in self._heads]
        return ov.Model(outputs, graph.get_parameters(), "encoder")

    def _compiled_for_one(self) -> tuple[Any, Any]:
        hints = self._hints(PERFORMANCE_HINT="LATENCY")
        if len(self._heads) > _KEPT_HEADS:
            return self._core.compile_model(self._graph(), "CPU", hints), None
        key = f"{graph_key(*self._model)} {self._heads}"
        return cached_compiled(self._core, self._graph, key, hints)

    def rows(self, tokens: int) -> int:
        """See ``Runtime``."""
        return max(1, _BATCH_TOKENS // tokens)

    def run(self, ids: Ids) -> list[Vectors]:
        """See ``Runtime``."""
        if len(ids) > 1:
            return self._run(ids)
        tokens = ids.shape[1]
        longer = max(tokens, min(-(-tokens // self._step) * self._step, self._longest))
        outputs = self._run(np.pad(ids, ((0, 0), (0, longer - tokens))))
        return [o[:, :tokens] if o.ndim == 3 else o for o in outputs]

    def _run(self, ids: Ids) -> list[Vectors]:
        # one request, which one thread at a time may fill; each uses all cores anyway
        with self._lock:
            outputs = self._soonest(ids, share_inputs=True)
            return [np.array(outputs[i]) for i in range(len(outputs))]

    def run_all(self, batches: Iterable[Ids]) -> Iterator[list[Vectors]]:
        """See ``Runtime``."""
        coming = iter(batches)
        first = list(itertools.islice(coming, _MANY_BATCHES))
        cores = self._soonest.get_property("INFERENCE_NUM_THREADS")
        if len(first) < _MANY_BATCHES or cores == 1:
            yield from map(self.run, first)
            yield from map(self.run, coming)
            return
        # one more than streams, so that none is idle while the oldest is read
        free = [self._streams(cores).create_infer_request() for _ in range(cores + 1)]
        running: deque[Any] = deque()
        for ids in itertools.chain(first, coming):
            if not free:
                free.append(running.popleft())
                free[0].wait()
                yield _outputs(free[0])
            running.append(free.pop())
            running[-1].start_async([ids], share_inputs=True)
        for request in running:
            request.wait()
            yield _outputs(request)

    def _streams(self, cores: int) -> Any:
        """Compiled for as many batches at once as there are cores."""
        with self._lock:
            if self._most is None:
                hints = self._hints(NUM_STREAMS=cores)
                self._most = self._core.compile_model(self._graph(), "CPU", hints)
            return self._most

    def _hints(self, **hints: str | int) -> dict[str, str | int]:
        if self._threads is not None:
            hints["INFERENCE_NUM_THREADS"] = self._threads
            # others compute here too: two processes would pin their threads to the same cores
            hints["ENABLE_CPU_PINNING"] = False
        hints["INFERENCE_PRECISION_HINT"] = self._float
        return {**hints, "CPU_RUNTIME_CACHE_CAPACITY": _SHAPES_CACHE}


def observed_ranges(
    checkpoint: Checkpoint, hashes: WeightHashes, batches: Iterable[Ids]
) -> list[Ranges]:
    """What ``Calibration.ranges`` holds, from these batches of ids."""
    core = ov.Core()
    graph = observed(cached_graph(core, checkpoint, hashes))
    compiled = core.compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return joined_ranges(list(compiled(ids).values()) for ids in batches)


def _has_bfloat16(core: Any) -> bool:
    return "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _length_step(a: Architecture) -> int:
    """Lengths of single texts are multiples of this many tokens."""
    size = a.hidden_size * (a.hidden_size * 2 + a.attention_key_size * a.num_attention_heads * 2)
    size += 2 * a.hidden_size * a.intermediate_size
    return max(1, min(32, int(_PADDED_PRODUCTS / (size * a.num_hidden_layers))))


def _outputs(request: Any) -> list[Vectors]:
    return [np.array(request.get_output_tensor(i).data) for i in range(len(request.model_outputs))]
