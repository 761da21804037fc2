"""Search by words among many sentences: ours beside SQLite's FTS5, and bm25s and Tantivy.

    python benchmarks/words.py --texts zh.txt.gz --texts en.txt.gz \
        --questions zh-questions.txt --questions en-questions.txt --peer-python PEER/bin/python

All index the same terms, which are made before; each answers every question in turn.
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import apsw
import numpy as np
from memory import taking_turns
from same_vectors import machine, progress, run_python

from simsearch.store.bm25 import WordIndex
from simsearch.store.database import create_database, transaction
from simsearch.store.terms import terms
from simsearch.store.words import insert_words

K = 10
COMMON = 0.02
"""The share of documents above which a term is left out of a query, in one of FTS5's ways."""
PEERS = Path(__file__).with_name("words_peers.py")
Search = Callable[[str], list[int]]


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Time and size of word indexes.")
    parser.add_argument("--texts", action="append", required=True, type=Path, help="lines of text")
    parser.add_argument("--count", default=1_200_000, type=int, help="how many, in turn")
    parser.add_argument("--questions", action="append", required=True, type=Path, help="lines")
    parser.add_argument("--queries", default=200, type=int, help="how many of each file")
    parser.add_argument("--peer-python", help="of an environment with bm25s and tantivy")
    return parser.parse_args()


def main() -> None:
    """Measure and print."""
    given = arguments()
    texts = list(itertools.islice(taking_turns(given.texts), given.count))
    questions = {
        path.stem: list(itertools.islice(taking_turns([path]), given.queries))
        for path in given.questions
    }
    print("\n".join(f"- {line}" for line in machine({"SQLite": apsw.sqlite_lib_version()})))
    begin = time.perf_counter()
    count = sum(len(terms(text)) for text in texts)
    print(f"- {len(texts):,} documents of {count:,} terms, made in", end=" ")
    print(f"{(seconds := time.perf_counter() - begin):.0f} s\n")
    with tempfile.TemporaryDirectory() as folder:
        ours, ours_built = built(Path(folder) / "ours.sqlite", texts, insert_words)
        fts5, fts5_built = built(Path(folder) / "fts5.sqlite", texts, insert_fts5)
        index = WordIndex(ours, Path("ours.sqlite"))
        ways: dict[str, Search] = {
            "simsearch": lambda text: index.search(text, K)[0][:K].tolist(),
            "FTS5": lambda text: ask_fts5(fts5, terms(text)),
            f"FTS5 without terms of {COMMON:.0%} of documents": lambda text: ask_fts5(
                fts5, rare(fts5, terms(text), COMMON * len(texts))
            ),
        }
        columns = " | ".join(f"{name}, p50 / p99" for name in questions)
        print(f"| index | built | size | {columns} | of simsearch's 10 |")
        print(f"|---|--:|--:|{'--:|' * len(questions)}--:|")
        times, shared = timed(ways, questions)
        for name in ways:
            took, size = ours_built if name == "simsearch" else fts5_built
            cells = " | ".join(marks(times[name, file]) for file in questions)
            print(f"| {name} | {took - seconds:.0f} s | {size} MB | {cells} | {shared[name]:.0%} |")
        if given.peer_python:
            for line in peers(given.peer_python, Path(folder), texts, questions):
                print(line)


def built(
    path: Path,
    texts: Sequence[str],
    insert: Callable[[apsw.Connection, Iterable[tuple[int, str]]], None],
) -> tuple[apsw.Connection, tuple[float, int]]:
    """A database with the texts in it; seconds, terms included, and megabytes."""
    progress(f"building {path.name}")
    connection = create_database(path)
    begin = time.perf_counter()
    with transaction(connection):
        insert(connection, enumerate(texts))
    return connection, (time.perf_counter() - begin, path.stat().st_size // 1_000_000)


def insert_fts5(connection: apsw.Connection, documents: Iterable[tuple[int, str]]) -> None:
    """Index them in FTS5; as hexadecimal, a term is one token and no syntax."""
    connection.execute(
        "CREATE VIRTUAL TABLE fts USING fts5"
        "(terms, content='', contentless_delete=1, tokenize='ascii', detail='full')"
    )
    connection.execute("CREATE VIRTUAL TABLE temp.terms USING fts5vocab('main', 'fts', 'row')")
    connection.executemany(
        "INSERT INTO fts (rowid, terms) VALUES (?, ?)",
        ((number, " ".join(map(hexadecimal, terms(text)))) for number, text in documents),
    )


def hexadecimal(term: str) -> str:
    """The UTF-8 bytes of a term in hexadecimal digits."""
    return term.encode().hex()


def ask_fts5(connection: apsw.Connection, wanted: Sequence[str]) -> list[int]:
    """The best documents by FTS5's own BM25."""
    if not wanted:
        return []
    match = " OR ".join(map(hexadecimal, dict.fromkeys(wanted)))
    select = f"SELECT rowid FROM fts WHERE fts MATCH ? ORDER BY rank LIMIT {K}"
    return [number for (number,) in connection.execute(select, (match,))]


def rare(connection: apsw.Connection, wanted: Sequence[str], most: float) -> Sequence[str]:
    """The terms of no more documents than this; all of them if there is none."""
    select = "SELECT doc FROM temp.terms WHERE term = ?"
    kept = []
    for term in wanted:
        found = connection.execute(select, (hexadecimal(term),)).fetchone()
        if found is None or found[0] <= most:
            kept.append(term)
    return kept or wanted


def timed(
    ways: dict[str, Search], questions: dict[str, list[str]]
) -> tuple[dict[tuple[str, str], list[float]], dict[str, float]]:
    """Milliseconds by way and file; and the share of the first way's documents that each found."""
    times: dict[tuple[str, str], list[float]] = {(w, f): [] for w in ways for f in questions}
    shared: dict[str, list[float]] = {way: [] for way in ways}
    for file, asked in questions.items():
        for text in asked:
            truth: list[int] = []
            for way, search in ways.items():
                begin = time.perf_counter()
                found = search(text)
                times[way, file].append((time.perf_counter() - begin) * 1000)
                truth = truth or found
                shared[way].append(len(set(found) & set(truth)) / max(1, len(truth)))
    return times, {way: float(np.mean(shares)) for way, shares in shared.items()}


def marks(times: Sequence[float]) -> str:
    """The median and the 99th percentile."""
    return " / ".join(f"{np.percentile(times, p):.1f}" for p in (50, 99)) + " ms"


def peers(
    python: str, folder: Path, texts: Sequence[str], questions: dict[str, list[str]]
) -> list[str]:
    """A line of the table for each peer, which gets the terms and no text."""
    with (folder / "terms.txt").open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(" ".join(terms(text)) + "\n" for text in texts)
    asked = {
        name: [list(dict.fromkeys(terms(text))) for text in questions[name]] for name in questions
    }
    (folder / "questions.json").write_text(json.dumps(asked), "utf-8")
    lines = []
    for name in ("tantivy", "bm25s"):
        progress(f"running {name}")
        found = json.loads(run_python(python, PEERS.read_text("utf-8"), name, str(folder)))
        cells = " | ".join(marks(found["times"][file]) for file in questions)
        title = f"{name} {found['version']}"
        lines.append(f"| {title} | {found['seconds']:.0f} s | {found['size']} MB | {cells} | |")
    return lines


if __name__ == "__main__":
    main()
