"""Plain matrix products of a BERT layer's shapes: what the CPU can do, for ``encode.py``."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

TOKENS = 2048
"""Rows of the left matrix: as many as simsearch has in a batch."""
LEAST_SECONDS = 0.5
PRODUCTS = (
    ("openvino", "own", "float32"),
    ("openvino", "own", "bfloat16"),
    ("openvino", "own", "int8"),
    ("torch", "peer", "float32"),
    ("torch", "peer", "bfloat16"),
    ("torch", "peer", "int8"),
)
"""Libraries, the environments that they are taken from and precisions."""


class Products:
    """The six products of a layer, one after the other: four of attention, two of the rest."""

    def __init__(self, library: str, precision: str, hidden: int, intermediate: int) -> None:
        shapes = [(hidden, hidden)] * 4 + [(hidden, intermediate), (intermediate, hidden)]
        self._flops = sum(2 * TOKENS * k * n for k, n in shapes)
        random = np.random.default_rng(0)
        states = random.normal(size=(TOKENS, hidden)).astype(np.float32)
        # so scaled that products keep the size of their left matrix
        weights = [(random.normal(size=s) / s[0] ** 0.5).astype(np.float32) for s in shapes]
        make = {"openvino": _openvino, "torch": _torch}[library]
        self._run = make(states, weights, precision)
        self._run()

    def rate(self) -> float:
        """Floating-point operations a second, 2mnk a product, over half a second or longer."""
        begin, runs = time.perf_counter(), 0
        while (seconds := time.perf_counter() - begin) < LEAST_SECONDS:
            self._run()
            runs += 1
        return runs * self._flops / seconds


Matrix = npt.NDArray[np.float32]


def _openvino(states: Matrix, weights: list[Matrix], precision: str) -> Callable[[], Any]:
    import openvino as ov
    from openvino import opset13 as op

    able = ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    wanted = {"float32": "FP32", "bfloat16": "BF16", "int8": "INT8"}[precision]
    if wanted not in able:
        raise ValueError(f"OpenVINO has no {precision} on this CPU")
    parameter = op.parameter(states.shape, np.float32)
    node: Any = parameter
    for matrix in weights:
        if precision == "int8":
            node = op.fake_quantize(node, *(np.float32(v) for v in (-4, 4, -4, 4)), 256)
            step = np.abs(matrix).max(axis=0, keepdims=True) / 127
            steps = op.convert(op.constant(np.round(matrix / step).astype(np.int8)), np.float32)
            node = op.matmul(node, op.multiply(steps, op.constant(step)), False, False)
        else:
            node = op.matmul(node, op.constant(matrix), False, False)
    hint = "bf16" if precision == "bfloat16" else "f32"
    options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": hint}
    compiled = ov.compile_model(ov.Model([node], [parameter], "products"), "CPU", options)
    request = compiled.create_infer_request()
    request.set_input_tensor(ov.Tensor(states))
    return lambda: request.infer()


def _torch(states: Matrix, weights: list[Matrix], precision: str) -> Callable[[], Any]:
    import torch

    if precision == "int8":
        left = {n: torch.randint(-127, 127, (TOKENS, n), dtype=torch.int8) for n in _rows(weights)}
        right = [torch.randint(-127, 127, w.shape, dtype=torch.int8) for w in weights]
        return lambda: [torch._int_mm(left[of.shape[0]], of) for of in right]
    kind = getattr(torch, precision)
    first = torch.from_numpy(states).to(kind)
    matrices = [torch.from_numpy(w).to(kind) for w in weights]

    def run() -> Any:
        with torch.inference_mode():
            x = first
            for matrix in matrices:
                x = torch.matmul(x, matrix)
            return x

    return run


def _rows(weights: list[Matrix]) -> set[int]:
    return {matrix.shape[0] for matrix in weights}
