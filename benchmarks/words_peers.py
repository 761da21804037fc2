"""Indexes terms and answers questions with bm25s or Tantivy, in their environment, for words.py.

The terms of a document stand on a line of ``terms.txt``, with spaces between them.
"""

from __future__ import annotations

import importlib.metadata
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

K = 10
Search = Callable[[list[str]], object]


def main() -> None:
    """Measure and print as JSON."""
    name, folder = sys.argv[1], Path(sys.argv[2])
    questions = json.loads((folder / "questions.json").read_text("utf-8"))
    with (folder / "terms.txt").open(encoding="utf-8", newline="\n") as file:
        documents = [line[:-1] for line in file]
    own = folder / name
    own.mkdir()
    begin = time.perf_counter()
    search = {"tantivy": tantivy_index, "bm25s": bm25s_index}[name](documents, own)
    seconds = time.perf_counter() - begin
    times: dict[str, list[float]] = {}
    for file_name, asked in questions.items():
        times[file_name] = []
        for wanted in asked:
            begin = time.perf_counter()
            search(wanted)
            times[file_name].append((time.perf_counter() - begin) * 1000)
    size = sum(file.stat().st_size for file in own.rglob("*")) // 1_000_000
    found = {"seconds": seconds, "size": size, "times": times}
    print(json.dumps({**found, "version": importlib.metadata.version(name)}))


def tantivy_index(documents: list[str], folder: Path) -> Search:
    """Tantivy's index with frequencies, and its BM25."""
    import tantivy

    builder = tantivy.SchemaBuilder()
    builder.add_integer_field("number", stored=True)
    builder.add_text_field("terms", tokenizer_name="spaces", index_option="freq")
    index = tantivy.Index(builder.build(), path=str(folder))
    spaces = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.whitespace()).build()
    index.register_tokenizer("spaces", spaces)
    writer = index.writer(256_000_000, 2)
    for number, document in enumerate(documents):
        writer.add_document(tantivy.Document(number=number, terms=document))
    writer.commit()
    writer.wait_merging_threads()
    index.reload()
    searcher = index.searcher()

    def search(wanted: list[str]) -> object:
        clauses = [
            (tantivy.Occur.Should, tantivy.Query.term_query(index.schema, "terms", term, "freq"))
            for term in wanted
        ]
        hits = searcher.search(tantivy.Query.boolean_query(clauses), K).hits
        return [searcher.doc(address)["number"][0] for _, address in hits]

    return search


def bm25s_index(documents: list[str], folder: Path) -> Search:
    """The matrix of all scores that bm25s keeps in memory."""
    import bm25s

    index = bm25s.BM25(method="lucene", k1=1.2, b=0.75)
    index.index([document.split(" ") for document in documents], show_progress=False)
    index.save(str(folder))
    return lambda wanted: index.retrieve([wanted], k=K, show_progress=False, n_threads=1)


main()
