"""An index in Milvus: what an export writes, anew and later, and what a search asks of it.

That its answers are those of the folder is tested in test_search, which runs twice.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from test_changes import add, delete
from test_filters import corpora_and_filters, matches
from test_search import build, row
from toy_encoder import ToyEncoder

from simsearch.config import IndexSettings
from simsearch.errors import (
    EncoderMismatchError,
    IndexNotFoundError,
    SettingsError,
    StoreError,
)
from simsearch.filters import parse_filter
from simsearch.milvus import (
    Address,
    MilvusCollection,
    MilvusSearcher,
    export_to_milvus,
    parse_address,
)
from simsearch.milvus.door import connected
from simsearch.milvus.exporting import collection_name
from simsearch.milvus.expressions import NOTHING, expression_of
from simsearch.milvus.layout import Column, find_columns, loosened
from simsearch.milvus.planning import plan_search

Texts = dict[str, tuple[str, dict[str, Any]]]


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("Milvus 库") / "all.db")


@pytest.fixture
def index(tmp_path: Path) -> Path:
    rows = [row("1", "aab", year=2020), row("2", "b", year=2021), row("3", "ab", tags=["x", "y"])]
    return build(tmp_path / "索 引", rows)


@pytest.fixture
def image(database: str, tmp_path: Path) -> Address:
    """Where the index is to be written."""
    return Address(database, f"image_{abs(hash(tmp_path))}")


def open_image(image: Address) -> MilvusSearcher:
    return MilvusSearcher(ToyEncoder(), MilvusCollection(image))


def documents(image: Address) -> Texts:
    """What a search can find, by id."""
    with open_image(image) as searcher:
        return {hit.id: (hit.text, dict(hit.metadata)) for hit in searcher.query("ab", k=100)}


def collections(image: Address) -> list[str]:
    with connected(image.uri) as client:
        names = client.list_collections()
    return [name for name in names if name.startswith(f"{image.collection}_")]


class TestExport:
    def test_all_of_it_and_then_nothing(self, index: Path, image: Address) -> None:
        first, second = export_to_milvus(index, image), export_to_milvus(index, image)
        assert (first.documents, first.rows, first.written, first.deleted) == (3, 3, 3, 0)
        assert (second.documents, second.rows, second.written, second.deleted) == (3, 3, 0, 0)
        assert documents(image) == {
            "1": ("aab", {"year": 2020}),
            "2": ("b", {"year": 2021}),
            "3": ("ab", {"tags": ["x", "y"]}),
        }

    def test_later_only_what_has_changed(self, index: Path, image: Address) -> None:
        export_to_milvus(index, image)
        with open_image(image) as searcher:
            add(index, [row("2", "bb"), row("4", "c", year=1999), row("1", "aab", year=2)])
            delete(index, "3")
            report = export_to_milvus(index, image)
            assert (report.documents, report.written, report.deleted) == (3, 3, 1)
            assert searcher.info()["generation"] > 1
            assert {hit.id for hit in searcher.query("a")} == {"1", "2", "4"}
        assert documents(image) == {
            "1": ("aab", {"year": 2}),
            "2": ("bb", {}),
            "4": ("c", {"year": 1999}),
        }

    def test_a_field_keeps_its_type_and_a_filter_its_meaning(
        self, index: Path, image: Address
    ) -> None:
        export_to_milvus(index, image)
        add(index, [row("4", "b", year="2020", new=True), row("5", "b", year=None)])
        export_to_milvus(index, image)
        for filter, ids in (
            ({"year": 2020}, ["1"]),
            ({"year": "2020"}, ["4"]),
            ({"year": None}, ["5"]),
            ({"new": True}, ["4"]),
            ({"year": {"$ne": 2020}}, ["2", "3", "4", "5"]),
        ):
            with open_image(image) as searcher:
                hits = searcher.query("a", filter=filter)
            assert sorted(hit.id for hit in hits) == ids, filter

    def test_interrupted_it_goes_on_and_nobody_sees_the_half(
        self, tmp_path: Path, image: Address
    ) -> None:
        folder = build(tmp_path / "i", [row(f"{n}", "ab" * (n % 7 + 1)) for n in range(1500)])

        def kill(done: int, total: int | None) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            export_to_milvus(folder, image, progress=kill)
        with pytest.raises(IndexNotFoundError, match="is not there; make it with"):
            open_image(image)
        seen: list[int] = []
        report = export_to_milvus(folder, image, progress=lambda done, total: seen.append(done))
        assert (report.documents, report.written, seen) == (1500, 500, [1000, 1500])
        assert len(collections(image)) == 1
        assert len(documents(image)) == 100

    def test_replaced_at_one_stroke(self, index: Path, image: Address, tmp_path: Path) -> None:
        export_to_milvus(index, image)
        other = build(tmp_path / "other", [row("9", "c")])
        with open_image(image) as searcher:

            def asked_meanwhile(done: int, total: int | None) -> None:
                assert len(searcher.query("a")) == 3

            report = export_to_milvus(other, image, replace=True, progress=asked_meanwhile)
            assert [hit.id for hit in searcher.query("a")] == ["9"]
        assert report.written == 1
        assert len(collections(image)) == 1

    def test_what_is_there_is_not_taken_for_ours(
        self, index: Path, image: Address, tmp_path: Path
    ) -> None:
        with connected(image.uri) as client:
            client.create_collection(image.collection, dimension=4)
        for replace in (False, True):
            with pytest.raises(StoreError, match="holds something else; give another name"):
                export_to_milvus(index, image, replace=replace)
        with pytest.raises(IndexNotFoundError, match="was not written by simsearch"):
            open_image(image)

    def test_another_encoder(self, index: Path, image: Address) -> None:
        export_to_milvus(index, image)
        with pytest.raises(
            EncoderMismatchError, match=r"milvus\+.* was built with another encoder"
        ):
            MilvusSearcher(ToyEncoder("xyz"), MilvusCollection(image))

    def test_another_index(self, index: Path, image: Address, tmp_path: Path) -> None:
        export_to_milvus(index, image)
        chunked = build(tmp_path / "chunked", [row("1", "a b")], chunk=(2, 0))
        with pytest.raises(StoreError, match=r"with other chunks:\n  chunk: index null, given \["):
            export_to_milvus(chunked, image)
        assert len(documents(image)) == 3

    def test_a_text_that_is_too_long(self, tmp_path: Path, image: Address) -> None:
        folder = build(tmp_path / "i", [row("long", "好" * 21_846)])
        with pytest.raises(StoreError, match="its text has 65,538 bytes, and Milvus takes 65,535"):
            export_to_milvus(folder, image)

    def test_a_property_that_was_altered(self, index: Path, image: Address) -> None:
        export_to_milvus(index, image)
        with connected(image.uri) as client:
            (name,) = collections(image)
            client.alter_collection_properties(name, {"simsearch": "{}"})
        for use in (lambda: open_image(image), lambda: export_to_milvus(index, image)):
            with pytest.raises(StoreError, match=r"was altered .* export it anew with --replace"):
                use()
        assert export_to_milvus(index, image, replace=True).written == 3


class TestKindOfIndex:
    def test_of_many_vectors_it_is_approximate_and_measured(
        self, tmp_path: Path, image: Address
    ) -> None:
        random = np.random.default_rng(0)
        letters = list("abcdefgh 好")
        rows = [row(f"{n}", "".join(random.choice(letters, 12))) for n in range(1200)]
        folder = build(tmp_path / "i", rows)
        for budget, kind, effort in ((None, "HNSW", "ef"), (0.05, "IVF_SQ8", "nprobe")):
            wanted = IndexSettings(kind="ivf", memory_budget=budget)
            report = export_to_milvus(folder, image, settings=wanted, replace=True)
            assert report.plan.kind == kind
            assert report.plan.search.keys() == {effort}
            assert 0.95 <= report.plan.recall_at_10 <= 1
            with open_image(image) as searcher:
                assert searcher.query(rows[7].text, k=1)[0].score == pytest.approx(1)
                assert searcher.info()["recall_at_10"] == report.plan.recall_at_10

    @pytest.mark.parametrize(
        ("rows", "budget", "kind"),
        [(40_000, None, "FLAT"), (100_000, None, "HNSW"), (100_000, 60, "IVF_SQ8")],
    )
    def test_it_is_the_planners(self, rows: int, budget: float | None, kind: str) -> None:
        assert plan_search(rows, 384, IndexSettings(memory_budget=budget)).kind == kind

    def test_what_does_not_fit_into_memory_is_refused(self) -> None:
        # a byte for each of 384 coordinates, 8 for the number, and 512 cells of 384 float32
        expected = "in Milvus 100,000 vectors of 384 dimensions need 39 MiB or more"
        with pytest.raises(SettingsError, match=expected):
            plan_search(100_000, 384, IndexSettings(memory_budget=20))


# Filters


@settings(max_examples=25)
@given(drawn=corpora_and_filters())
def test_any_filter_finds_what_the_definition_says(
    database: str, tmp_path_factory: pytest.TempPathFactory, drawn: Any
) -> None:
    held = [metadata for metadata, _ in drawn[0]]
    folder = tmp_path_factory.mktemp("filters") / "i"
    build(folder, [row(f"{n}", "ab", **metadata) for n, metadata in enumerate(held)])
    image = Address(database, folder.parent.name)
    export_to_milvus(folder, image)
    with open_image(image) as searcher:
        for filter in drawn[1]:
            expected = [f"{n}" for n, metadata in enumerate(held) if matches(metadata, filter)]
            assert [hit.id for hit in searcher.query("a", filter=filter)] == sorted(expected)


COLUMNS = {
    "text": Column("t", "string"),
    "whole": Column("w", "integer"),
    "part": Column("p", "number"),
    "yes": Column("y", "boolean"),
    "tags": Column("l", "list"),
    "mixed": None,
}


@pytest.mark.parametrize(
    ("filter", "expected"),
    [
        ({"text": 'a"b\\'}, 't in ["a\\"b\\\\"]'),
        ({"text": {"$in": ["猫", None, 3]}}, 't is null or t in ["猫"]'),
        ({"text": {"$ne": "a"}}, 't is null or not (t in ["a"])'),
        ({"text": {"$gte": "a"}}, 't >= "a"'),
        ({"text": {"$contains": "50%_of it"}}, 't like "%of it%"'),
        ({"text": {"$contains": "%"}}, 't like "%%"'),
        ({"text": "a\n"}, None),
        ({"text": 3}, NOTHING),
        ({"whole": {"$in": [1, 2.0, 2.5, True, 10**30]}}, "w in [1, 2]"),
        ({"whole": {"$gt": 1.5}}, "w > 1"),
        ({"whole": {"$gte": 1.5}}, "w >= 2"),
        ({"whole": {"$lt": 1.5}}, "w < 2"),
        ({"whole": {"$lte": 10**30}}, None),
        ({"part": {"$gt": 1}}, "p >= 1.0"),
        ({"part": {"$ne": 1}}, None),
        ({"yes": True}, "y in [true]"),
        ({"yes": 1}, NOTHING),
        ({"tags": {"$in": ["a", "b"]}}, 'array_contains_any(l, ["a", "b"])'),
        ({"tags": {"$contains": "a"}}, 'array_contains(l, "a")'),
        ({"tags": {"$gt": "a"}}, None),
        ({"mixed": 1}, None),
        ({"nobody has it": 1}, NOTHING),
        ({"nobody has it": {"$ne": 1}}, None),
        ({"yes": True, "mixed": 1}, "(y in [true])"),
        ({"$or": [{"yes": True}, {"mixed": 1}]}, None),
        ({"$or": [{"yes": True}, {"whole": 1}]}, "(y in [true]) or (w in [1])"),
    ],
)
def test_an_expression_is_as_narrow_as_is_safe(filter: Any, expected: str | None) -> None:
    assert expression_of(parse_filter(filter), COLUMNS) == expected


def test_columns_are_those_of_one_type() -> None:
    found = find_columns(
        [
            {"year": 1, "size": 1, "ok": True, "tags": ["a"], "名": "x", "mixed": 1, "null": None},
            {"year": None, "size": 0.5, "mixed": "1", "deep": {"a": 1}, "big": 2**63},
        ]
    )
    assert found == {
        "year": Column("meta_year", "integer"),
        "size": Column("meta_size", "number"),
        "ok": Column("meta_ok", "boolean"),
        "tags": Column("meta_tags", "list"),
        "名": Column("meta__4", "string"),
        "mixed": None,
        "null": None,
        "deep": None,
        "big": None,
    }
    later = loosened(found, [{"year": 2, "size": 3, "new": 1}, {"ok": "yes", "tags": None}])
    changed = {key: column for key, column in later.items() if column != found.get(key, 0)}
    assert changed == {"ok": None, "new": None}


# Addresses


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("milvus+http://localhost:19530#faq", Address("http://localhost:19530", "faq")),
        ("https://host", Address("https://host")),
        ("milvus+库/a.db", Address("库/a.db")),
    ],
)
def test_an_address(text: str, address: Address) -> None:
    assert parse_address(text) == address
    assert parse_address(str(address)) == address


@pytest.mark.parametrize(
    "text", ["milvus+faq", "ftp://host", "http://", "a.db#two words", "a.db#1"]
)
def test_no_address(text: str) -> None:
    with pytest.raises(SettingsError, match=r"is no place of Milvus|name of a collection"):
        parse_address(text)


@pytest.mark.parametrize(
    ("folder", "name"),
    [("indexes/faq", "faq"), ("a-b c", "a_b_c"), ("2024", "simsearch_2024"), ("问答", "simsearch")],
)
def test_the_name_of_a_collection(folder: str, name: str) -> None:
    assert collection_name(Path(folder)) == name
    assert parse_address(f"a.db#{name}").collection == name


def test_which_collection_must_be_said_if_there_are_several(index: Path, tmp_path: Path) -> None:
    database = str(tmp_path / "two.db")
    with pytest.raises(IndexNotFoundError, match=r"two.db is not there; make it with"):
        MilvusCollection(Address(database))
    assert not Path(database).exists()
    export_to_milvus(index, Address(database, "one"))
    with open_image(Address(database)) as searcher:
        assert searcher.info()["count"] == 3
    export_to_milvus(index, Address(database, "two"))
    with pytest.raises(IndexNotFoundError, match=r"has written one, two; name one, .*two.db#one"):
        MilvusCollection(Address(database))


def test_many_queries_for_many_hits_are_asked_in_parts(index: Path, image: Address) -> None:
    export_to_milvus(index, image)
    texts = ["a", "b", "ab"]
    with open_image(image) as searcher:
        assert searcher.search(texts, k=5000) == [searcher.query(t, k=5000) for t in texts]
        assert [hit.id for hit in searcher.query("b", k=5000)] == ["2", "3", "1"]


def test_what_milvus_cannot_do(index: Path, image: Address) -> None:
    export_to_milvus(index, image)
    with open_image(image) as searcher:
        with pytest.raises(SettingsError, match="mode 'hybrid' is not for this index"):
            searcher.query("a", mode="hybrid")
        with pytest.raises(SettingsError, match="k is 20000; Milvus finds 16,368 at most"):
            searcher.query("a", k=20_000)


def test_no_server() -> None:
    with pytest.raises(SettingsError, match=r"cannot reach Milvus at http://127.0.0.1:1"):
        MilvusCollection(Address("http://127.0.0.1:1", "faq"))


def test_a_local_file_that_another_process_has(index: Path, image: Address) -> None:
    export_to_milvus(index, image)  # this process keeps it
    code = f"import simsearch\nsimsearch.open_milvus({str(image)!r})"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.stderr.count("Traceback") == 1
    assert ran.stderr.splitlines()[-1].endswith("only one process at a time can have a local file")
