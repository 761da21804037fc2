"""Write what a benchmark found into a folder: results, report, and the whitening to use."""

from __future__ import annotations

import datetime
import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from simsearch import __version__
from simsearch.errors import SettingsError
from simsearch.evaluation.recommendation import Recommendation, config_lines, recommend
from simsearch.evaluation.results import RESULTS, BenchmarkResult, write_results
from simsearch.files import check_new_file, naming, new_file

REPORT, WHITENING = "report.html", "whitening.npz"


def check_report_folder(folder: Path) -> None:
    """Make the folder; SettingsError if no report can be written there. Ask before long work."""
    with naming(folder):
        folder.mkdir(parents=True, exist_ok=True)
    for name in (RESULTS, REPORT, WHITENING):
        check_new_file(folder / name)


def write_report(results: Sequence[BenchmarkResult], folder: Path) -> tuple[Path, Path]:
    """Write ``results.jsonl`` and ``report.html`` into ``folder``; returns their paths.

    A whitening that the benchmark fitted is written beside them, if it is recommended.
    """
    from simsearch.evaluation.report import render_page  # Matplotlib, which takes a second

    jsonl = write_results(results, folder)
    recommendation = recommend(results)
    page = render_page(results, recommendation, _config(recommendation, folder), _facts(results))
    with new_file(folder / REPORT) as aside:
        aside.write_text(page, "utf-8")
    return jsonl, folder / REPORT


def read_report(folder: Path) -> list[dict[str, Any]]:
    """The results in a report's folder, each as `benchmark --json` prints it.

    Raises SettingsError if the folder holds no report.
    """
    path = folder / RESULTS
    try:
        return [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"{path} cannot be read ({error}); make it with `simsearch benchmark --out {folder}`"
        ) from None


def _config(recommendation: Recommendation | None, folder: Path) -> list[str]:
    """The lines to paste, and the whitening that they name."""
    if recommendation is None:
        return []
    choice = recommendation.choice
    path = None
    if choice.whitening is not None:
        path = choice.whitening.source
        if path is None:
            path = folder / WHITENING
            choice.whitening.save(path)
    return config_lines(choice, None if path is None else str(path))


def _facts(results: Sequence[BenchmarkResult]) -> list[tuple[str, str]]:
    today = datetime.datetime.now(tz=datetime.timezone.utc).date().isoformat()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    whitened = {r.whitening.rows for r in results if r.whitening is not None}
    facts = [
        ("simsearch", __version__),
        ("date", today),
        ("models", ", ".join(dict.fromkeys(r.model for r in results))),
        ("strategies", str(len({(r.model, str(r.strategy)) for r in results}))),
        ("machine", f"{platform.system()} {platform.machine()}, {cores} cores"),
    ]
    if whitened:
        facts.append(("whitening fitted on", f"{max(whitened):,} texts, none of them scored"))
    return facts
