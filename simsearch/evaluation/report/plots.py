"""The plots of the report, as SVG to be put into a page.

Drawn with Matplotlib's object interface, which keeps no global state. Text stays text, in the
reader's own fonts, and equal numbers give equal bytes.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from simsearch.evaluation.metrics import Floats

INK, FAINT = "#1c2733", "#8a94a0"
COLOURS = {
    "paraphrase": "#1b7f79",
    "reordering": "#5aa9a3",
    "swap": "#c8452d",
    "random": "#9aa4ae",
    "shuffle": "#8e6bbf",
    "neighbours": "#d29a3a",
}
_PALETTE = ("#9aa4ae", "#4a7fb5", "#1b7f79", "#c8452d", "#8e6bbf", "#d29a3a")
_BINS = 60
_COLUMNS = 3
_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "simsearch",
    "font.family": "sans-serif",
    "text.parse_math": False,  # a dollar sign in a file's name is one
}


def heat_map(
    rows: Sequence[str],
    columns: Sequence[str],
    values: Floats,
    *,
    shared_scale: bool = False,
) -> str:
    """Values (rows, columns) as coloured cells with their numbers; ``nan`` is left empty.

    The colours run from the least to the greatest value of a column, or with ``shared_scale`` from
    0 to 1 everywhere.
    """
    shades = values if shared_scale else _by_column(values)
    label = max(map(len, rows))
    height = max(map(len, columns))
    figure = Figure(
        figsize=(0.085 * label + 0.82 * len(columns) + 0.4, 0.3 * len(rows) + 0.075 * height + 0.3)
    )
    axes = figure.add_axes(
        (
            0.085 * label / figure.get_figwidth(),
            0.02,
            0.8 * len(columns) / figure.get_figwidth(),
            0.3 * len(rows) / figure.get_figheight(),
        )
    )
    axes.imshow(shades, cmap="YlGnBu", vmin=0, vmax=1.25, aspect="auto")
    for row, column in np.ndindex(*values.shape):
        value, shade = values[row, column], shades[row, column]
        if not np.isnan(value):
            colour = "white" if shade > 0.7 else INK
            axes.text(column, row, _short(value), ha="center", va="center", color=colour, size=9)
    axes.set_yticks(range(len(rows)), rows, size=9)
    axes.set_xticks(range(len(columns)), columns, size=9, rotation=32, ha="left")
    axes.xaxis.tick_top()
    axes.tick_params(length=0, colors=INK)
    axes.spines[:].set_visible(False)
    return _svg(figure)


def histograms(panels: Mapping[str, Mapping[str, Floats]]) -> str:
    """For each panel its distributions of cosines, each as high as the others at its peak.

    Every panel has an axis of its own: what one pooling calls near another calls far.
    """
    rows = -(-len(panels) // _COLUMNS)
    columns = min(_COLUMNS, len(panels))
    figure = Figure(figsize=(3.6 * columns, 1.9 * rows + 0.5), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    names: dict[str, str] = {}
    for axes, (title, distributions) in zip(grid.flat, panels.items(), strict=False):
        low = min(float(values.min()) for values in distributions.values())
        edges = np.linspace(min(low, 0.999), 1, _BINS + 1)
        for name, values in distributions.items():
            colour = COLOURS.get(name, _PALETTE[len(names) % len(_PALETTE)])
            colour = names.setdefault(name, colour)
            share, _ = np.histogram(np.minimum(values, 1), edges)
            heights = share / max(1, share.max())
            axes.stairs(heights, edges, color=colour, fill=True, alpha=0.28)
            axes.stairs(heights, edges, color=colour, linewidth=1.1, label=name)
        axes.set_title(title, size=9, color=INK, loc="left")
        axes.set_yticks([])
        axes.tick_params(labelsize=8, colors=FAINT)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.spines["bottom"].set_color(FAINT)
    for axes in list(grid.flat)[len(panels) :]:
        axes.set_visible(False)
    handles = [matplotlib.patches.Patch(color=colour, label=name) for name, colour in names.items()]
    figure.legend(
        handles=handles, loc="outside lower center", ncols=len(names), frameon=False, fontsize=9
    )
    return _svg(figure)


def _by_column(values: Floats) -> Floats:
    """Each column from 0 (its least) to 1 (its greatest); 0.5 where all are equal."""
    shades = np.full_like(values, np.nan)
    for column in range(values.shape[1]):
        found = values[:, column]
        defined = found[~np.isnan(found)]
        if len(defined):
            spread = defined.max() - defined.min()
            shades[:, column] = (found - defined.min()) / spread if spread else found * 0 + 0.5
    return shades


def _short(value: float) -> str:
    """``.747``; one and minus one have their digit."""
    return f"{value:.3f}".replace("0.", ".", 1) if abs(value) < 0.9995 else f"{value:.2f}"


def _svg(figure: Figure) -> str:
    """The ``<svg>`` element of a figure."""
    buffer = io.StringIO()
    with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        # a name in Chinese: the reader's font has what ours lacks
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]
