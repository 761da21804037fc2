"""The curves of trainings, side by side, as one SVG.

    python benchmarks/curves.py out.svg cls=tuned-cls mean=tuned-mean

Reads `training/metrics.csv` of each folder: on the left what was measured on the dev file, on the
right the loss, both by step.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

_COLOURS = ("#1b7f79", "#c8452d", "#4a7fb5", "#8e6bbf", "#d29a3a", "#9aa4ae")
_SMOOTHED = 9
_STYLE = {"svg.fonttype": "none", "svg.hashsalt": "simsearch", "font.family": "sans-serif"}


def main() -> None:
    """Read, draw, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("trainings", nargs="+", metavar="NAME=DIR")
    arguments = parser.parse_args()
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(7.5, 3.2), layout="constrained")
        dev, loss = figure.subplots(1, 2)
        for colour, training in zip(_COLOURS, arguments.trainings, strict=False):
            name, _, folder = training.partition("=")
            rows = _rows(Path(folder))
            metric = next(key for key in rows[0] if key.startswith("dev_") and key != "dev_loss")
            dev.plot(*_series(rows, metric), "o-", ms=3, lw=1.4, color=colour, label=name)
            steps, values = _series(rows, "loss")
            means = [
                sum(part) / len(part)
                for i in range(len(values))
                if (part := values[max(0, i - _SMOOTHED) : i + 1])
            ]
            loss.plot(steps, means, lw=1.4, color=colour, label=name)
            dev.set_title(f"{metric.removeprefix('dev_')}, dev", loc="left", fontsize=10)
        loss.set_title("loss, mean of ten rows", loc="left", fontsize=10)
        for axes in (dev, loss):
            axes.set_xlabel("step", fontsize=9)
            axes.spines[["top", "right"]].set_visible(False)
            axes.tick_params(labelsize=8)
            axes.grid(color="#e3e6ea", lw=0.6)
        dev.legend(fontsize=8, frameon=False)
        figure.savefig(arguments.out, metadata={"Date": None, "Creator": None})


def _rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "training" / "metrics.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _series(rows: list[dict[str, str]], name: str) -> tuple[list[int], list[float]]:
    given = [row for row in rows if row.get(name)]
    return [int(row["step"]) for row in given], [float(row[name]) for row in given]


if __name__ == "__main__":
    main()
