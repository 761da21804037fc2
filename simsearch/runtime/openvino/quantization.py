"""Post-training quantization of the products with weights to int8, ranges from real texts.

An activation (tokens, inputs) is divided by a factor for each input, which the weights take up, so
that a few large inputs don't waste the range of all others (SmoothQuant, Xiao et al. 2023,
arXiv:2211.10438). Then it is rounded to 256 steps of one range, and the weights to 255 steps of a
range for each output, symmetric about 0. Attention, normalisation and pooling stay as they were.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from simsearch.calibration import Ranges
from simsearch.errors import SettingsError
from simsearch.runtime.openvino.backend import op, ov

Weights = npt.NDArray[np.float32]

# How much of the difficulty moves from activations to weights: the paper's alpha. Between 0.7 and
# 0.9 the embedded model and all-MiniLM-L6-v2 keep the most; at the paper's 0.5 they lose ten times
# as much.
_MIGRATION = 0.85
_TINY = 1e-5


@dataclass(frozen=True, slots=True)
class _Site:
    """Token vectors that products with weights read: their source, who takes it, the products."""

    source: Any
    readers: tuple[Any, ...]
    products: tuple[Any, ...]


def observed(graph: ov.Model) -> ov.Model:
    """A graph that gives, for each site in turn, the least and the greatest value of each input."""
    sources = [site.source for site in _sites(graph)]
    outputs = [
        reduce(source, np.array([0, 1])).output(0)
        for source in sources
        for reduce in (op.reduce_min, op.reduce_max)
    ]
    return ov.Model(outputs, graph.get_parameters(), "observed")


def joined_ranges(batches: Iterable[Sequence[Weights]]) -> list[Ranges]:
    """What ``observed`` gave for several batches, as float32 (2, inputs) a site."""
    ranges: list[Ranges] = []
    for outputs in batches:
        here = [np.stack(pair) for pair in zip(outputs[::2], outputs[1::2], strict=True)]
        ranges = [
            np.stack([np.minimum(a[0], b[0]), np.maximum(a[1], b[1])])
            for a, b in zip(ranges or here, here, strict=True)
        ]
    return ranges


def quantize(graph: ov.Model, ranges: Sequence[Ranges]) -> None:
    """Quantize every site of the graph. Raises SettingsError for ranges of another graph."""
    sites = _sites(graph)
    if [_inputs(site.products[0]) for site in sites] != [ends.shape[1] for ends in ranges]:
        raise SettingsError(
            "the calibration does not fit the graph of this model, as if made by another version "
            "of simsearch; make it anew with `simsearch calibrate`"
        )
    for site, (low, high) in zip(sites, ranges, strict=True):
        weights = [_rows(product) for product in site.products]
        factors = _smoothing(np.maximum(np.abs(low), np.abs(high)), weights)
        rounded = _rounded(site.source, low / factors, high / factors, factors)
        for reader in site.readers:
            reader.replace_source_output(rounded.output(0))
        for product, rows in zip(site.products, weights, strict=True):
            product.input(1).replace_source_output(_quantized(rows * factors).output(0))
            product.set_attribute("transpose_b", True)
    graph.validate_nodes_and_infer_types()


def _sites(graph: ov.Model) -> list[_Site]:
    """In the graph's own order, which is the same for the same file."""
    sources: dict[tuple[str, int], Any] = {}
    readers: dict[tuple[str, int], dict[str, Any]] = {}
    products: dict[tuple[str, int], list[Any]] = {}
    for node in graph.get_ordered_ops():
        if node.get_type_name() != "MatMul" or not _is_constant(node.input_value(1)):
            continue
        reader = node.input(0)
        while _only_lists_otherwise(reader.get_source_output().get_node(), _inputs(node)):
            reader = reader.get_source_output().get_node().input(0)
        source = reader.get_source_output()
        if len(source.get_partial_shape()) != 3:
            continue  # the pooler's: one vector a text, nothing to gain
        key = source.get_node().get_name(), source.get_index()
        sources[key] = source
        readers.setdefault(key, {})[reader.get_node().get_name()] = reader
        products.setdefault(key, []).append(node)
    return [
        _Site(sources[key], tuple(readers[key].values()), tuple(products[key])) for key in sources
    ]


def _only_lists_otherwise(node: Any, inputs: int) -> bool:
    """Whether a node gives the rows, of so many inputs, of another in another shape."""
    if node.get_type_name() not in ("Reshape", "Transpose"):
        return False
    last = node.input_value(0).get_partial_shape()[-1]
    return bool(last.is_static and last.get_length() == inputs)


def _is_constant(output: Any) -> bool:
    return bool(output.get_node().get_type_name() == "Constant")


def _inputs(product: Any) -> int:
    transposed = product.get_attributes()["transpose_b"]
    return int(product.input_value(1).shape[1 if transposed else 0])


def _rows(product: Any) -> Weights:
    """The weights of a product, float32 (outputs, inputs)."""
    weights = np.asarray(product.input_value(1).get_node().data, np.float32)
    return weights if product.get_attributes()["transpose_b"] else weights.T


def _smoothing(largest: Ranges, weights: Sequence[Weights]) -> Ranges:
    """The factor of each input: equation 4 of the paper."""
    heaviest = np.max([np.abs(rows).max(axis=0) for rows in weights], axis=0)
    largest, heaviest = np.maximum(largest, _TINY), np.maximum(heaviest, _TINY)
    return np.asarray(largest**_MIGRATION / heaviest ** (1 - _MIGRATION), np.float32)


def _rounded(source: Any, low: Ranges, high: Ranges, factors: Ranges) -> Any:
    """Source / factors, rounded to 256 steps of one range in which 0 is a step."""
    least, greatest = min(float(low.min()), 0.0), max(float(high.max()), _TINY)
    if -least > greatest / 4:  # not as GELU gives it; then symmetric, which is cheaper to compute
        greatest = max(-least, greatest)
        least, greatest = -greatest, greatest * 127 / 128
    else:
        step = (greatest - least) / 255
        least = round(least / step) * step
        greatest = least + 255 * step
    smooth = op.multiply(source, op.constant((1 / factors).astype(np.float32)[None, None]))
    bounds = [op.constant(np.float32(bound)) for bound in (least, greatest)]
    return op.fake_quantize(smooth, *bounds, *bounds, 256)


def _quantized(rows: Weights) -> Any:
    """float32 (outputs, inputs) as int8 and a step for each output."""
    step = np.maximum(np.abs(rows).max(axis=1, keepdims=True), np.finfo(np.float32).tiny) / 127
    steps = op.constant(np.round(rows / step).astype(np.int8))
    return op.multiply(op.convert(steps, np.float32), op.constant(step.astype(np.float32)))
