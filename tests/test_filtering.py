"""Filters in searches, of indexes that change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_changes import add, delete, row
from test_store import ENCODER, build, change, plan_of

import simsearch
from simsearch.errors import SettingsError
from simsearch.search import Searcher
from simsearch.store import IndexKeeper, StoredIndex, verify


def found(folder: Path, filter: dict[str, Any], k: int = 10, text: str = "a") -> list[str]:
    with Searcher(ENCODER, StoredIndex.open(folder)) as searcher:
        return [hit.id for hit in searcher.query(text, k, filter=filter)]


@pytest.fixture
def index(tmp_path: Path) -> Path:
    folder = tmp_path / "索 引"
    rows = [row("1", "a", n=1), row("2", "aab", n=2), row("3", "ab", n=3), row("4", "b", n=1)]
    build(folder, rows)
    return folder


def test_only_matching_documents_are_found_best_first(index: Path) -> None:
    assert found(index, {"n": {"$gte": 2}}) == ["2", "3"]
    assert found(index, {"n": 1}) == ["1", "4"]
    assert found(index, {"n": 7}) == []


def test_k_come_back_if_k_match(tmp_path: Path) -> None:
    rows = [row(f"{n:03}", "a" * (1 + n % 5) + "b" * (n // 5), odd=n % 2) for n in range(200)]
    build(tmp_path, rows)
    near = found(tmp_path, {"odd": {"$in": [0, 1]}}, 200)
    assert found(tmp_path, {"odd": 1}, 50) == [id_ for id_ in near if int(id_) % 2][:50]


def test_filters_see_what_was_added_deleted_and_relabelled(index: Path) -> None:
    add(index, [row("5", "ca", n=1), row("1", "a", n=2), row("3", "bb", n=1)])
    delete(index, "4")
    assert found(index, {"n": 1}) == ["5", "3"]
    assert found(index, {"n": 2}) == ["1", "2"]
    with IndexKeeper.open(index) as keeper:
        keeper.optimize()
    assert found(index, {"n": 1}) == ["5", "3"]
    assert found(index, {"n": {"$ne": 1}}) == ["1", "2"]
    assert list(verify(index)) == []


def test_documents_are_deleted_by_their_metadata(index: Path) -> None:
    report = simsearch.delete(index, ["2", "9"], filter={"n": 1})
    assert (report.deleted, report.missing, report.documents) == (3, ("9",), 1)
    assert found(index, {"n": {"$gt": 0}}) == ["3"]


def test_fields_that_are_not_of_the_metadata_are_found_and_repaired(index: Path) -> None:
    change(index / "index.sqlite", "UPDATE fields SET value = 5 WHERE document = 2")
    (problem,) = verify(index)
    assert "table fields is not that of the documents' metadata; repair it" in problem
    assert found(index, {"n": 3}) == []
    with IndexKeeper.open(index) as keeper:
        keeper.repair(ENCODER.encode)
    assert list(verify(index)) == []
    assert found(index, {"n": 3}) == ["3"]


def test_filters_are_about_documents_where_they_are_cut_into_chunks(tmp_path: Path) -> None:
    rows = [row("1", "bbabb", n=1), row("2", "aacc", n=2)]
    build(tmp_path, rows, plan_of(ENCODER, chunk=(2, 0)))
    assert found(tmp_path, {"n": 1}) == ["1"]
    assert found(tmp_path, {"n": {"$in": [1, 2]}}) == ["2", "1"]


def test_filter_that_is_none_is_refused_before_anything_is_encoded(index: Path) -> None:
    with pytest.raises(SettingsError, match=r"\$gt"):
        found(index, {"n": {"$gtt": 1}})


@given(
    values=st.lists(st.integers(0, 4), min_size=1, max_size=25),
    wanted=st.sets(st.integers(0, 4), min_size=1),
    k=st.integers(1, 8),
)
def test_filtered_search_is_the_search_of_the_matching_documents(
    tmp_path_factory: pytest.TempPathFactory, values: list[int], wanted: set[int], k: int
) -> None:
    folder = tmp_path_factory.mktemp("any") / "index"
    texts = ["a" * (n % 4 + 1) + "b" * (n // 4) for n in range(len(values))]
    build(folder, [row(f"{n:02}", texts[n], n=value) for n, value in enumerate(values)])
    scores = ENCODER.encode(texts).astype(float) @ ENCODER.encode(["aab"])[0].astype(float)
    order = sorted(range(len(values)), key=lambda n: (-min(scores[n], 1.0), f"{n:02}"))
    expected = [f"{n:02}" for n in order if values[n] in wanted][:k]
    assert found(folder, {"n": {"$in": sorted(wanted)}}, k, "aab") == expected
