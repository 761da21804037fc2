"""One self-contained HTML page about a benchmark: tables, plots, failures, what to use."""

from simsearch.evaluation.report.page import render_page

__all__ = ["render_page"]
