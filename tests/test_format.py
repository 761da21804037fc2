"""The committed index of the format: it must open, and answer, whatever version runs."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from make_format import ROWS
from test_changes import contents
from test_store import ENCODER

from simsearch.search import Searcher
from simsearch.store import IndexEditor, IndexKeeper, StoredIndex, verify

EXPECTED: dict[str, tuple[str, dict[str, Any]]] = {
    **{str(row.id): (row.text, row.metadata) for row in ROWS if row.id not in ("d7", "d8")},
    "d9": ("new 退款", {"n": 9}),
    "x": ("bb", {}),
}


@pytest.fixture
def index(tmp_path: Path) -> Path:
    folder = tmp_path / "index"
    shutil.copytree(Path(__file__).parent / "data" / "format-3", folder)
    return folder


def test_it_opens_with_all_that_it_held(index: Path) -> None:
    assert contents(index) == EXPECTED
    assert list(verify(index)) == []
    with StoredIndex.open(index) as stored:
        assert (stored.kind, stored.generation, stored.truncated) == ("ivf", 3, {20, 40})
        assert stored.info()["index"]["rows"] == 48


def test_it_answers_in_every_mode_and_through_filters(index: Path) -> None:
    with Searcher(ENCODER, StoredIndex.open(index)) as searcher:
        assert searcher.query("bb", 1)[0].text in ("b", "bb", "bbb")
        assert [hit.id for hit in searcher.query("退款", mode="lexical")] == ["d9"]
        assert searcher.query("退款", 1, mode="hybrid")[0].id == "d9"
        found = searcher.query("a", 100, filter={"even": True, "n": {"$lt": 12}})
        assert {hit.id for hit in found} == {"d0", "d2", "d4", "d6", "d10"}


def test_it_can_be_changed(index: Path) -> None:
    with IndexEditor.open(index) as editor:
        editor.delete(["x"])
    with IndexKeeper.open(index) as keeper:
        assert keeper.optimize()
    assert contents(index) == {id_: found for id_, found in EXPECTED.items() if id_ != "x"}
    assert list(verify(index)) == []
