"""Benchmark poolings: the tasks in files, run on encoders by their settings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from simsearch.config import EncoderSettings
from simsearch.errors import SettingsError
from simsearch.evaluation.files import (
    builtin_word_order,
    read_pairs,
    read_retrieval,
    read_word_order,
)
from simsearch.evaluation.report import BenchmarkResult
from simsearch.evaluation.tasks import PairsTask, RetrievalTask, Task, WordOrderTask
from simsearch.pipeline.opening import load_encoder


def read_tasks(
    pairs: Iterable[str | Path] = (),
    retrieval: Iterable[str | Path] = (),
    word_order: Iterable[str | Path] = (),
) -> list[Task]:
    """The tasks in these files and folders; the built-in word-order suite if there are none.

    Raises TaskError for a file that does not have its layout.
    """
    for given in (pairs, retrieval, word_order):
        if isinstance(given, (str, Path)):
            raise SettingsError(f"{given!r} is one path; expected a list of paths, such as [path]")
    tasks: list[Task] = [
        *(PairsTask(str(path), read_pairs(path)) for path in pairs),
        *(RetrievalTask(str(path), read_retrieval(path)) for path in retrieval),
        *(WordOrderTask(str(path), read_word_order(path)) for path in word_order),
    ]
    return tasks or [WordOrderTask("word-order", builtin_word_order())]


def benchmark(
    tasks: Sequence[Task], encoders: Iterable[EncoderSettings]
) -> Iterator[BenchmarkResult]:
    """Run every task on every encoder, one result at a time, encoder by encoder."""
    for settings in encoders:
        encoder = load_encoder(settings)
        for task in tasks:
            before = encoder.truncated
            result = task.run(encoder)
            if cut := encoder.truncated - before:
                limit = encoder.checkpoint.max_length
                note = f"cut to the model's length of {limit} tokens: {cut:,} of the texts"
                result = replace(result, notes=(*result.notes, note))
            yield BenchmarkResult(encoder.checkpoint.name, encoder.pooling.name, result)
