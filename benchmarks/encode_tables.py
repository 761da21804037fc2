"""The figures of ``encode.py``, and the tables made of them: plain ones and Markdown."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from encode_engines import ENGINES, REFERENCE

SAME = 0.999
"""The lowest cosine at which a faster backend still counts as the same model."""
_FLAGS = (
    *("avx2", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8"),
    *("asimd", "asimddp", "i8mm", "bf16", "sve"),
)
_MIB = 2**20


class Shape(NamedTuple):
    """The sizes of a BERT that its matrix products have."""

    layers: int
    hidden: int
    intermediate: int

    @property
    def weights(self) -> int:
        """In products, of all layers."""
        return self.layers * (4 * self.hidden**2 + 2 * self.hidden * self.intermediate)


@dataclass(slots=True)
class Figures:
    """Of an engine: seconds and CPU seconds of each repeat, seconds of each text alone, and more.

    ``peak`` is in bytes, ``cosines`` to the reference's vector of each text.
    """

    seconds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    singles: list[float] = field(default_factory=list)
    peak: float = 0.0
    cosines: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class SetResult:
    """Of a set of texts: its size, the sum of its squared lengths, figures by engine.

    ``rates`` are floating-point operations a second of plain products, one of each repeat.
    """

    name: str
    texts: int
    tokens: int
    squares: int
    figures: dict[str, Figures]
    rates: dict[str, list[float]]


@dataclass(frozen=True, slots=True)
class ModelResult:
    """Of a model. By engine: what it is, memory when loaded, cold starts, CPU taken in waiting."""

    model: str
    shape: Shape
    about: dict[str, Any]
    loaded: dict[str, float]
    cold: dict[str, list[float]]
    idle: dict[str, float]
    sets: list[SetResult]


def machine(results: Sequence[ModelResult], repeats: int) -> list[str]:
    """What the figures were measured on, line by line."""
    info = Path("/proc/cpuinfo")
    said = [line.partition(":") for line in info.read_text().splitlines()] if info.exists() else []
    facts = {key.strip(): value.strip() for key, _, value in said}
    flags = (facts.get("flags") or facts.get("Features") or "").split()
    versions: dict[str, set[str]] = {"numpy": {importlib.metadata.version("numpy")}}
    for about in (about for result in results for about in result.about.values()):
        for package, version in about["versions"].items():
            versions.setdefault(package, set()).add(version)
    listed = (f"{name} {' and '.join(sorted(of))}" for name, of in sorted(versions.items()))
    return [
        f"CPU: {facts.get('model name', platform.processor())}, "
        f"{len(os.sched_getaffinity(0))} cores to use, "
        f"{' '.join(flag for flag in _FLAGS if flag in flags)}",
        f"System: {platform.system()} {platform.machine()}, Python {platform.python_version()}",
        f"Versions: {', '.join(listed)}",
        f"{repeats} repeats, all engines in turn in each; medians, and least to greatest",
    ]


def render(result: ModelResult, *, markdown: bool) -> str:
    """All tables of a model."""
    s = result.shape
    title = f"{result.model}: {s.layers} layers, {s.hidden} wide"
    parts = [f"\n### {title}" if markdown else f"\n==== {title}"]
    for of in result.sets:
        subtitle = f"{of.name}: {of.texts} texts, {of.tokens / of.texts:.1f} tokens on average"
        parts.append(f"\n#### {subtitle}\n" if markdown else f"\n-- {subtitle}\n")
        parts += [_table(_SPEED, _speed(of, result), markdown), "", _fastest(of)]
        if of.rates:
            parts += ["", _table(_SHARE, _share(of, result), markdown), "", _rates(of)]
    parts += ["", _table(_START, _start(result), markdown)]
    return "\n".join(parts)


_SPEED = (
    *("engine", "computes in", "sentences/s", "tokens/s", "CPU s per 1,000"),
    *("× default", "× fastest", "peak MiB", "least cosine", "mean", "p50 ms", "p99 ms"),
)
_SHARE = ("engine", "of products' rate", "with attention", "TFLOP/s", "TFLOP/s with attention")
_START = ("engine", "cold start, s", "peak MiB when loaded", "CPU s while waiting")


def _speed(of: SetResult, result: ModelResult) -> Iterator[list[str]]:
    default, fastest = of.figures[REFERENCE], of.figures[_fastest_peer(of)]
    for name, f in of.figures.items():
        p50, p99 = np.percentile(f.singles, (50, 99)) * 1000
        yield [
            ENGINES[name].title,
            result.about[name]["precision"],
            _ranged([of.texts / s for s in f.seconds], ""),
            f"{statistics.median(of.tokens / s for s in f.seconds):.0f}",
            f"{statistics.median(f.cpu) / of.texts * 1000:.3g}",
            _ranged(_ratios(default, f), ".2f"),
            _ranged(_ratios(fastest, f), ".2f"),
            f"{f.peak / _MIB:.0f}",
            f"{min(f.cosines):.5f}",
            f"{statistics.fmean(f.cosines):.5f}",
            f"{p50:.1f}",
            f"{p99:.1f}",
        ]


def _ratios(base: Figures, other: Figures) -> list[float]:
    """How many times as fast, repeat by repeat."""
    return [a / b for a, b in zip(base.seconds, other.seconds, strict=True)]


def _fastest_peer(of: SetResult) -> str:
    """The backend of sentence-transformers that is fastest with vectors as good as the same."""
    same = [n for n, f in of.figures.items() if n.startswith("st-") and min(f.cosines) >= SAME]
    return min(same, key=lambda name: statistics.median(of.figures[name].seconds))


def _fastest(of: SetResult) -> str:
    return (
        f"× default: to {ENGINES[REFERENCE].title}; × fastest: to "
        f"{ENGINES[_fastest_peer(of)].title}, its fastest of cosines ≥ {SAME}"
    )


def _best_rates(of: SetResult) -> dict[str, str]:
    """By precision, the products that are fastest."""
    best: dict[str, str] = {}
    for name in sorted(of.rates, key=lambda name: statistics.median(of.rates[name])):
        best[name.rpartition(" ")[2]] = name
    return best


def _share(of: SetResult, result: ModelResult) -> Iterator[list[str]]:
    s = result.shape
    dense = 2 * of.tokens * s.weights
    attention = 4 * of.squares * s.hidden * s.layers
    best = _best_rates(of)
    for name, f in of.figures.items():
        precision = result.about[name]["precision"]
        row = [ENGINES[name].title]
        for flops in (dense, dense + attention):
            rates = of.rates[best[precision]] if precision in best else []
            pairs = zip(f.seconds, rates, strict=True) if rates else ()
            shares = [100 * flops / seconds / rate for seconds, rate in pairs]
            row.append(f"{_ranged(shares, '.0f')} %" if shares else "")
        for flops in (dense, dense + attention):
            row.append(f"{statistics.median(flops / t for t in f.seconds) / 1e12:.3f}")
        yield row


def _rates(of: SetResult) -> str:
    rates = (f"{name} {_ranged([r / 1e12 for r in rs], '.3f')}" for name, rs in of.rates.items())
    return f"TFLOP/s of {'; '.join(rates)}"


def _start(result: ModelResult) -> Iterator[list[str]]:
    for name, peak in result.loaded.items():
        cold = result.cold.get(name, [])
        idle = result.idle.get(name)
        yield [
            ENGINES[name].title,
            _ranged(cold, ".2f") if cold else "",
            f"{peak / _MIB:.0f}",
            "" if idle is None else f"{idle:.2f}",
        ]


def _ranged(values: Sequence[float], form: str) -> str:
    """The median and the range; in three digits or more if the form is empty."""
    middle, low, high = statistics.median(values), min(values), max(values)
    form = form or (".0f" if middle >= 100 else ".1f" if middle >= 10 else ".2f")
    return f"{middle:{form}} ({low:{form}}–{high:{form}})"


def _table(header: Sequence[str], rows: Iterator[list[str]], markdown: bool) -> str:
    cells = [list(header), *rows]
    if markdown:
        cells.insert(1, ["---", *("--:" for _ in header[1:])])
        return "\n".join(f"| {' | '.join(row)} |" for row in cells)
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in cells
    )
