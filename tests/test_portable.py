from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_changes import add, contents, delete, row
from test_store import ENCODER, TEXTS, build, change, names_in, plan_of

from simsearch.errors import CorpusError, CorruptIndexError, SimsearchError, StoreError
from simsearch.search import Searcher
from simsearch.store import StoredIndex, export_index, import_index, verify


@pytest.fixture
def index(tmp_path: Path) -> Path:
    folder = tmp_path / "索 引"
    build(folder, [row(f"d{n}", text, n=n, 名=[text]) for n, text in enumerate(TEXTS)])
    delete(folder, "d3")
    add(folder, [row("d4", "bb", x=None)])
    change(folder / "index.sqlite", "INSERT INTO truncated VALUES (7, 600)")
    return folder


def exported(index: Path) -> Path:
    path = index.parent / "导 出.parquet"
    export_index(index, path)
    return path


def answers(folder: Path) -> list[Any]:
    with Searcher(ENCODER, StoredIndex.open(folder)) as searcher:
        return [
            [(h.id, h.score, h.text, dict(h.metadata), h.span, h.truncated) for h in hits]
            for hits in searcher.search(["a", "bc", "好"], k=20)
        ]


def test_what_is_imported_answers_as_what_was_exported(index: Path) -> None:
    copy = index.parent / "copy"
    assert export_index(index, index.parent / "x.parquet") == 9
    seen: list[tuple[int, int | None]] = []
    count = import_index(
        index.parent / "x.parquet", copy, replace=False, progress=lambda *n: seen.append(n)
    )
    assert count == 9
    assert seen == [(9, 9)]
    assert contents(copy) == contents(index)
    assert answers(copy) == answers(index)
    assert list(verify(copy)) == []
    with StoredIndex.open(copy) as stored:
        assert (stored.fingerprint, stored.settings) == (
            ENCODER.fingerprint,
            {"model": "toy", "pooling": "mean"},
        )


def test_chunks_come_along(tmp_path: Path) -> None:
    folder = tmp_path / "index"
    build(folder, [row("x", "abcab"), row("y", "ca b")], plan_of(ENCODER, chunk=(2, 0)))
    delete(folder, "x")
    add(folder, [row("z", "bbb")])
    import_index(exported(folder), tmp_path / "copy", replace=False)
    assert answers(tmp_path / "copy") == answers(folder)


def test_any_parquet_reader_sees_documents_and_vectors(index: Path) -> None:
    table = pq.read_table(exported(index))
    assert table.column_names == ["id", "text", "metadata", "truncated", "spans", "vectors"]
    first = table.slice(0, 1).to_pylist()[0]
    assert (first["id"], first["text"]) == ("d0", "a")
    assert json.loads(first["metadata"]) == {"n": 0, "名": ["a"]}
    assert np.array_equal(np.array(first["vectors"], np.float32), ENCODER.encode(["a"]))
    assert json.loads(table.schema.metadata[b"simsearch"])["fingerprint"] == ENCODER.fingerprint


def test_importing_twice_does_nothing_and_over_another_index_is_refused(index: Path) -> None:
    path = exported(index)
    copy = index.parent / "copy"
    import_index(path, copy, replace=False)
    before = names_in(copy)
    assert import_index(path, copy, replace=False) == 9
    assert names_in(copy) == before
    with pytest.raises(StoreError, match="--replace"):
        import_index(path, index, replace=False)
    import_index(path, index, replace=True)
    assert contents(index) == contents(copy)


def test_damaged_index_is_not_exported(index: Path) -> None:
    change(index / "index.sqlite", "UPDATE documents SET text = 'z' WHERE number = 2")
    with pytest.raises(CorruptIndexError, match="document 2"):
        exported(index)
    assert not (index.parent / "导 出.parquet").exists()


def test_folder_that_holds_an_index_is_no_file(index: Path) -> None:
    with pytest.raises(CorpusError, match="cannot be read as parquet"):
        import_index(index / "index.sqlite", index.parent / "copy", replace=False)
    with pytest.raises(CorpusError, match="does not exist"):
        import_index(index / "no", index.parent / "copy", replace=False)
    assert not (index.parent / "copy").exists()


def facts(**others: Any) -> Callable[[pa.Table], pa.Table]:
    def altered(table: pa.Table) -> pa.Table:
        known = json.loads(table.schema.metadata[b"simsearch"])
        return table.replace_schema_metadata({b"simsearch": json.dumps({**known, **others})})

    return altered


def column(name: str, value: Any) -> Callable[[pa.Table], pa.Table]:
    def altered(table: pa.Table) -> pa.Table:
        place = table.column_names.index(name)
        values = table.column(name).to_pylist()
        values[4] = value
        kind = None if name == "vectors" else table.schema.field(name).type
        return table.set_column(place, name, pa.array(values, kind))

    return altered


@pytest.mark.parametrize(
    ("alter", "message"),
    [
        (lambda table: table.replace_schema_metadata(None), "what it says of itself"),
        (facts(format=2), "what it says of itself cannot be used"),
        (facts(identity=[1]), "what it says of itself cannot be used"),
        (facts(identity={"letters": "x"}), "fingerprint is not that of its identity"),
        (facts(dim=10**9), "what it says of itself cannot be used"),
        (facts(dim="4"), "what it says of itself cannot be used"),
        (facts(dim=5), r"row 1: vectors are float32 \(1, 4\), not float32 \(1, 5\)"),
        (facts(settings="../../x"), "what it says of itself cannot be used"),
        (facts(chunk=[3, 3]), "what it says of itself cannot be used"),
        (facts(chunk=[3, 0]), "row 1: "),
        (column("id", "d0"), "duplicate id 'd0'"),
        (column("id", ""), "row 5: its id or text is empty"),
        (column("id", None), "row 5: its id or text is empty"),
        (column("text", " "), "row 5: its id or text is empty"),
        (column("metadata", "["), "row 5: "),
        (column("metadata", "[]"), "row 5: its metadata is no object"),
        (column("metadata", '{"a": NaN}'), "row 5: "),
        (column("metadata", "[" * 100_000), "row 5: "),
        (column("metadata", None), "row 5: "),
        (column("truncated", -1), "row 5: it is said to have -1 tokens"),
        (column("vectors", [[1.0, 0.0, 0.0, 1.0]]), "row 5: 1 vectors are not of length 1"),
        (column("vectors", [[float("nan")] * 4]), "row 5: 1 vectors are not of length 1"),
        (column("vectors", [[1.0, 0.0]]), "row 5: vectors are float32"),
        (column("vectors", []), "row 5: vectors are float32"),
        (column("vectors", None), "row 5: vectors are float32"),
        (lambda table: table.drop_columns("text"), "row 1: 'text'"),
    ],
)
def test_file_that_is_not_as_it_must_be_makes_no_index(
    index: Path, alter: Callable[[pa.Table], pa.Table], message: str
) -> None:
    path = exported(index)
    pq.write_table(alter(pq.read_table(path)), path)
    copy = index.parent / "copy"
    with pytest.raises(CorpusError, match=message):
        import_index(path, copy, replace=False)
    assert not copy.exists()


def test_a_byte_that_changed_is_found_or_harmless(index: Path) -> None:
    path = exported(index)
    content = path.read_bytes()
    expected = answers(index)
    rng = random.Random(3)
    refused = 0
    for number in range(100):
        flipped = bytearray(content)
        flipped[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        path.write_bytes(flipped)
        copy = index.parent / f"copy {number}"
        try:
            import_index(path, copy, replace=False)
        except SimsearchError:
            refused += 1
            assert not copy.exists()
        else:
            assert list(verify(copy)) == []
            assert [[hit[:2] for hit in hits] for hits in answers(copy)] == [
                [hit[:2] for hit in hits] for hits in expected
            ]
    assert refused > 60
