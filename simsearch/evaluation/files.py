"""The files of tasks: pairs, examples, BEIR folders, word-order triples, labelled texts."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Final

from simsearch.config import OnError
from simsearch.corpus import read_corpus, usable
from simsearch.errors import CorpusError, TaskError
from simsearch.readers import read_lines, without_line_end
from simsearch.records import (
    Document,
    Example,
    LabelledText,
    Qrel,
    Query,
    SentencePair,
    TaggedText,
    WordOrderTriple,
)

PAIR_COLUMNS: Final = ("score", "sentence1", "sentence2")
QREL_COLUMNS: Final = ("query-id", "corpus-id", "score")
LABEL_COLUMNS: Final = ("label", "category")
WORD_ORDER_COLUMNS: Final = ("id", "language", "phenomenon", "sentence", "paraphrase", "swap")


@dataclass(frozen=True)
class RetrievalData:
    """The three files of a BEIR folder. A query and a document of equal id are unrelated."""

    documents: Sequence[Document]
    queries: Sequence[Query]
    qrels: Sequence[Qrel]


def read_pairs(path: str | Path) -> list[SentencePair]:
    """Read a file with a line ``score<TAB>sentence1<TAB>sentence2`` for each pair.

    UTF-8, no header, no quoting: a quotation mark is text. ``TaskError`` with path and line for a
    wrong number of fields, a score that is no finite number or an empty sentence; also for a file
    that cannot be read, is not UTF-8 or is empty.
    """
    pairs = []
    for where, (score, first, second) in _tsv_rows(Path(path), PAIR_COLUMNS, header=False):
        _require_text(where, sentence1=first, sentence2=second)
        pairs.append(SentencePair(_finite(where, score), first, second))
    return pairs


def read_examples(path: str | Path, least_score: float | None = None) -> list[Example]:
    """Read a line ``text<TAB>counterpart[<TAB>false counterpart]...`` for each example.

    UTF-8, no header, no quoting; all lines have as many fields. With ``least_score`` the file has
    graded pairs instead (see ``read_pairs``), of which those of such a score belong together.
    ``TaskError`` with path and line for a wrong number of fields or an empty one, and for a file
    that cannot be read or gives no example.
    """
    path = Path(path)
    if least_score is not None:
        pairs = read_pairs(path)
        examples = [Example(p.sentence1, p.sentence2) for p in pairs if p.score >= least_score]
        if not examples:
            best = max(pair.score for pair in pairs)
            raise TaskError(
                f"{path}: no pair has a score of {least_score:g}; the best has {best:g}"
            )
        return examples
    examples = []
    for where, line in _lines(path):
        fields = line.split("\t")
        wanted = 2 + len(examples[0].negatives) if examples else max(2, len(fields))
        if len(fields) != wanted:
            raise TaskError(
                f"{where}: {len(fields)} field(s), expected {wanted} with tabs between them: a "
                "text, its counterpart, and as many false ones as in the first line"
            )
        _require_text(where, **{f"field {i}": text for i, text in enumerate(fields, 1)})
        examples.append(Example(fields[0], fields[1], tuple(fields[2:])))
    if not examples:
        raise TaskError(f"{path}: no lines, expected a text and its counterpart in each")
    return examples


def read_tagged(path: str | Path) -> list[TaggedText]:
    """Read a line ``unit tag`` for each unit, and an empty line after each text (CoNLL's form).

    UTF-8; the last space or tab of a line stands between the two. ``TaskError`` with path and line
    for a line without a tag; also for a file that cannot be read or is empty.
    """
    texts, units, tags = [], list[str](), list[str]()
    for where, line in [*_lines(Path(path)), ("", "")]:
        if line.strip():
            unit, _, tag = line.rstrip().replace("\t", " ").rpartition(" ")
            _require(unit, f"{where}: {line!r}, expected a character or word, a space and its tag")
            units.append(unit.strip() or " ")
            tags.append(tag)
        elif units:
            texts.append(TaggedText(tuple(units), tuple(tags)))
            units, tags = [], []
    _require(texts, f"{path}: no lines, expected a character or word and its tag in each")
    return texts


def read_word_order(path: str | Path) -> list[WordOrderTriple]:
    """Read a TSV with the header of ``WORD_ORDER_COLUMNS``; otherwise as ``read_pairs``.

    ``TaskError`` also for an empty field, an id that comes twice and another header.
    """
    triples, seen = [], set[str]()
    for where, fields in _tsv_rows(Path(path), WORD_ORDER_COLUMNS, header=True):
        _require_text(where, **dict(zip(WORD_ORDER_COLUMNS, fields, strict=True)))
        _require_new(where, f"id {fields[0]!r}", seen)
        triples.append(WordOrderTriple(*fields))
    return triples


def builtin_word_order() -> list[WordOrderTriple]:
    """Read the test half of the package's own suite, in English and Chinese."""
    packaged = resources.files("simsearch.evaluation") / "word_order_test.tsv"
    with resources.as_file(packaged) as path:
        return read_word_order(path)


def read_retrieval(folder: str | Path) -> RetrievalData:
    """Read a BEIR folder: ``corpus.jsonl``, ``queries.jsonl`` and ``qrels/test.tsv``.

    A document's text is title + space + text, or the text alone where the title is missing or
    empty. ``TaskError`` with path and line for a record that is no object with a text and an
    ``_id``, an id that comes twice, an empty query, a judgement that comes twice, names an unknown
    query or document, or is no whole number; also for a file that is missing or empty.
    """
    root = Path(folder)
    documents = []
    for where, record in _json_rows(root / "corpus.jsonl"):
        title = record.get("title") or ""
        if not isinstance(title, str):
            raise TaskError(f"{where}: title {title!r}, expected a string or no title")
        text = f"{title} {record['text']}" if title.strip() else record["text"]
        documents.append(Document(record["_id"], text))
    queries = []
    for where, record in _json_rows(root / "queries.jsonl"):
        _require_text(where, text=record["text"])
        queries.append(Query(record["_id"], record["text"]))
    known_queries, known_documents = {q.id for q in queries}, {d.id for d in documents}
    qrels, seen = [], set[str]()
    for where, fields in _tsv_rows(root / "qrels" / "test.tsv", QREL_COLUMNS, header=True):
        query, document, relevance = fields
        if query not in known_queries:
            raise TaskError(f"{where}: query-id {query!r} is not an _id of queries.jsonl")
        if document not in known_documents:
            raise TaskError(f"{where}: corpus-id {document!r} is not an _id of corpus.jsonl")
        _require_new(where, f"judgement of {document!r} for {query!r}", seen)
        qrels.append(Qrel(query, document, _whole(where, relevance)))
    return RetrievalData(documents, queries, qrels)


def read_labelled(
    path: str | Path,
    *,
    text_column: str | None = None,
    label_column: str | None = None,
    on_error: OnError = "stop",
) -> tuple[list[LabelledText], list[LabelledText] | None]:
    """Read labelled texts, to learn from and to classify: ``(train, test)``.

    ``path`` is a folder with a ``train`` and a ``test`` file, or one file, where test is ``None``.
    The files are those of a corpus (see corpus.py) with a column of labels more: ``label_column``,
    else "label" or "category". Raises TaskError for a folder without these files, a row that cannot
    be used (unless ``on_error`` is "skip") and a row without label; CorpusError as a corpus does.
    """
    root = Path(path)
    if not root.is_dir():
        return _labelled(root, text_column, label_column, on_error), None
    halves = []
    for name in ("train", "test"):
        found = sorted(file for file in root.iterdir() if file.name.split(".")[0] == name)
        if len(found) != 1:
            listed = ", ".join(file.name for file in found) or "none"
            raise TaskError(
                f"{root}: expected one file {name}.csv, .tsv, .jsonl, …; there is {listed}"
            )
        halves.append(_labelled(found[0], text_column, label_column, on_error))
    return halves[0], halves[1]


def _labelled(
    path: Path, text_column: str | None, label_column: str | None, on_error: OnError
) -> list[LabelledText]:
    items = []
    rows = read_corpus([path], text_column=text_column, id_column=None)
    for row in usable(rows, on_error, TaskError):
        names = (label_column,) if label_column else LABEL_COLUMNS
        label = next((row.metadata[name] for name in names if name in row.metadata), None)
        where = f"{path}:{row.line}"
        if label is None:
            columns = ", ".join(map(repr, row.metadata)) or "no other column"
            raise TaskError(
                f"{where}: no column {' or '.join(map(repr, names))} with the label; there is "
                f"{columns}; name it with --label-column"
            )
        if isinstance(label, float) or not isinstance(label, (str, int)) or not str(label).strip():
            raise TaskError(f"{where}: label {label!r}, expected a name or a whole number")
        items.append(LabelledText(row.text, str(label)))
    _require(items, f"{path}: no rows, expected a text and a label in each")
    return items


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """("path:line", line without its end) of a UTF-8 file; a line ends with LF or CRLF only."""
    try:
        for number, line, reason in read_lines(path, gzipped=False):
            if reason is not None:
                raise TaskError(f"{path}:{number}: {reason}")
            yield f"{path}:{number}", without_line_end(line)
    except CorpusError as error:
        raise TaskError(str(error)) from error


def _tsv_rows(
    path: Path, columns: tuple[str, ...], *, header: bool
) -> Iterator[tuple[str, list[str]]]:
    """("path:line", fields) of each row; its header, where it has one, must be ``columns``."""
    expected = f"expected {len(columns)} fields with tabs between them: {', '.join(columns)}"
    rows, awaits_header = 0, header
    for where, line in _lines(path):
        fields = line.split("\t")
        if awaits_header:
            awaits_header = False
            if fields != list(columns):
                raise TaskError(f"{where}: header {line!r}, {expected}")
            continue
        if len(fields) != len(columns):
            raise TaskError(f"{where}: {len(fields)} field(s), {expected}")
        rows += 1
        yield where, fields
    _require(rows, f"{path}: no rows, {expected}")


def _json_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """("path:line", object) of each line; ``_id`` and ``text`` are strings, and no id is twice."""
    seen = set[str]()
    for where, line in _lines(path):
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise TaskError(f"{where}: {error.msg}, expected one JSON object a line") from error
        if not isinstance(record, dict):
            raise TaskError(f"{where}: {line[:40]!r}, expected one JSON object a line")
        for key in ("_id", "text"):
            if not isinstance(record.get(key), str):
                raise TaskError(f"{where}: {key} {record.get(key)!r}, expected a string")
        _require_text(where, _id=record["_id"])
        _require_new(where, f"_id {record['_id']!r}", seen)
        yield where, record
    _require(seen, f"{path}: no rows, expected one JSON object a line")


def _finite(where: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise TaskError(f"{where}: score {text!r}, expected a finite number")
    return value


def _whole(where: str, text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise TaskError(f"{where}: score {text!r}, expected a whole number") from error


def _require(condition: object, message: str) -> None:
    if not condition:
        raise TaskError(message)


def _require_text(where: str, **fields: str) -> None:
    for name, text in fields.items():
        _require(text.strip(), f"{where}: {name} is empty; fill it in or remove the line")


def _require_new(where: str, what: str, seen: set[str]) -> None:
    _require(what not in seen, f"{where}: {what} is there twice; keep one of them")
    seen.add(what)
