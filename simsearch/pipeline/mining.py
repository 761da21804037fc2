"""Write files to train on, out of an index."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simsearch.errors import TaskError
from simsearch.evaluation.files import read_examples
from simsearch.files import check_new_file, new_file
from simsearch.mining import hard_negatives, one_line, paraphrases
from simsearch.pipeline.opening import open_index
from simsearch.pipeline.progress import OnProgress
from simsearch.store import StoredIndex


@dataclass(frozen=True, slots=True)
class MineReport:
    """What was written: ``lines``, of ``examples`` where negatives were asked for."""

    lines: int
    examples: int | None


def mine_negatives(
    index: str | Path,
    examples: str | Path,
    out: str | Path,
    *,
    count: int = 5,
    margin: float = 0.95,
    overrides: Mapping[str, Any] | None = None,
    progress: OnProgress | None = None,
) -> MineReport:
    """Write the examples to ``out``, each with ``count`` hard negatives from the index.

    ``examples`` are a text and its counterpart a line; negatives that it has already are dropped.
    See ``hard_negatives``; an example that has fewer is left out, as all lines have as many.
    ``overrides`` are as for ``open_index``. Raises TaskError, with nothing written, if no example
    has as many, and the errors of ``open_index``, ``read_examples`` and ``new_file``.
    """
    check_new_file(Path(out))
    given = read_examples(examples)
    with open_index(index, overrides=overrides) as searcher:
        mined = list(hard_negatives(searcher, given, count, margin, progress))
    full = [example for example in mined if len(example.negatives) == count]
    if not full:
        most = max(len(example.negatives) for example in mined)
        raise TaskError(
            f"{examples}: no example has {count} documents in {index} that are wrong enough, the "
            f"best has {most}; ask for fewer, or give a greater margin than {margin:g}"
        )
    _write(Path(out), ((e.anchor, e.positive, *e.negatives) for e in full))
    return MineReport(len(full), len(given))


def mine_paraphrases(
    index: str | Path,
    out: str | Path,
    *,
    threshold: float = 0.8,
    progress: OnProgress | None = None,
) -> MineReport:
    """Write a line ``cosine<TAB>text<TAB>text`` to ``out`` for each pair that may say the same.

    See ``paraphrases``. Raises TaskError, with nothing written, if there is none, and the errors of
    ``StoredIndex.open`` and ``new_file``.
    """
    check_new_file(Path(out))
    with StoredIndex.open(Path(index)) as stored:
        pairs = paraphrases(stored, threshold, progress)
    if not pairs:
        raise TaskError(f"{index}: no two texts have a cosine of {threshold:g}; ask for less")
    _write(Path(out), ((f"{p.score:.4f}", p.sentence1, p.sentence2) for p in pairs))
    return MineReport(len(pairs), None)


def _write(out: Path, lines: Iterable[Sequence[str]]) -> None:
    with new_file(out) as aside, aside.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines("\t".join(map(one_line, fields)) + "\n" for fields in lines)
