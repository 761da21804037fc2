"""An index in cells: built, searched, changed, damaged, planned anew."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from test_changes import add, contents, delete, row
from test_store import ENCODER, build, change, names_in, plan_of

from simsearch.config import IndexSettings
from simsearch.errors import CorruptIndexError, SettingsError, StoreError
from simsearch.search import Searcher
from simsearch.store import IndexKeeper, IndexWriter, StoredIndex, verify

IVF = IndexSettings(kind="ivf")
FLAT = IndexSettings(kind="flat")
ROWS = [row(f"{n:02}", "a" * (1 + n % 8) + "b" * (n // 8) + "c" * (n % 3), n=n) for n in range(64)]
PLAN = dataclasses.replace(plan_of(ENCODER), search=IVF)


@pytest.fixture
def index(tmp_path: Path) -> Path:
    folder = tmp_path / "索 引"
    build(folder, ROWS, PLAN)
    return folder


def found(folder: Path, text: str, k: int = 5, **options: Any) -> list[str]:
    with Searcher(ENCODER, StoredIndex.open(folder)) as searcher:
        return [hit.id for hit in searcher.query(text, k, **options)]


def info(folder: Path) -> dict[str, Any]:
    with StoredIndex.open(folder) as stored:
        return stored.info()


def test_it_says_its_plan_and_what_was_measured(index: Path) -> None:
    facts = info(index)
    assert (facts["kind"], facts["index"]["kind"], facts["index"]["rows"]) == ("ivf", "ivf", 64)
    assert facts["recall_at_10"] == facts["measured"]["recall_at_10"]
    assert facts["outgrown"] is None
    (cells,) = index.glob("cells-*.faiss")
    assert (
        facts["bytes"]
        == sum(
            path.stat().st_size for path in index.iterdir() if path.suffix in (".sqlite", ".f32")
        )
        + cells.stat().st_size
    )


def test_all_are_found_when_all_are_asked_for(index: Path) -> None:
    exact = index.parent / "exact"
    build(exact, ROWS, dataclasses.replace(PLAN, search=FLAT))
    assert found(index, "aab", 64) == found(exact, "aab", 64)
    assert found(index, "aab", 64, filter={"n": {"$lt": 9}}) == found(
        exact, "aab", 64, filter={"n": {"$lt": 9}}
    )


def test_what_was_added_is_compared_exactly_and_what_was_deleted_is_gone(index: Path) -> None:
    add(index, [row("new", "ccccb"), row("05", "cccccb")])
    assert found(index, "cccccb", 2) == ["05", "new"]
    delete(index, "05", "new")
    assert not {"05", "new"} & set(found(index, "cccccb", 64))
    assert info(index)["index"]["rows"] == 64  # planned for so many


def test_it_says_when_it_has_outgrown_its_plan_and_is_planned_anew(index: Path) -> None:
    add(index, [row(f"x{n}", "ab" * n + "c") for n in range(1, 20)])
    assert "19 vectors were added to 64" in info(index)["outgrown"]
    before = set(index.glob("cells-*"))
    with IndexKeeper.open(index) as keeper:
        assert keeper.optimize()
    assert (info(index)["outgrown"], info(index)["index"]["rows"]) == (None, 83)
    after = set(index.glob("cells-*"))
    assert len(after) == 1
    assert after != before
    with IndexKeeper.open(index) as keeper:
        assert not keeper.optimize()


def test_it_can_be_planned_otherwise_without_being_written_anew(index: Path) -> None:
    with IndexKeeper.open(index) as keeper:
        assert keeper.optimize()  # one segment
    documents, segments = contents(index), set(index.glob("vectors-*"))
    with IndexKeeper.open(index) as keeper:
        assert keeper.optimize(FLAT)
    assert (info(index)["kind"], list(index.glob("cells-*"))) == ("flat", [])
    assert (contents(index), set(index.glob("vectors-*"))) == (documents, segments)


def test_queries_to_tune_on_are_kept_and_the_cells_are_not_made_anew(index: Path) -> None:
    with IndexKeeper.open(index) as keeper:
        assert keeper.optimize()  # one segment
    before = set(index.glob("cells-*"))
    queries = ENCODER.encode(["abc" * n + "b" for n in range(1, 41)])
    with IndexKeeper.open(index) as keeper:
        assert keeper.optimize(queries=queries)
        assert not keeper.optimize(queries=queries)
    assert (info(index)["measured"]["tuned_on"], info(index)["measured"]["queries"]) == (
        "queries",
        20,
    )
    assert set(index.glob("cells-*")) == before
    add(index, [row(f"x{n}", "ab" * n + "c") for n in range(1, 20)])
    with IndexKeeper.open(index) as keeper:
        assert keeper.optimize()
    assert (info(index)["measured"]["tuned_on"], info(index)["index"]["rows"]) == ("queries", 83)
    assert not list(verify(index))


def test_queries_that_are_no_unit_vectors_of_the_index_are_refused(index: Path) -> None:
    with IndexKeeper.open(index) as keeper:
        with pytest.raises(ValueError, match="not of length 1"):
            keeper.optimize(queries=2 * ENCODER.encode(["abc"] * 40))
        with pytest.raises(ValueError, match="not float32"):
            keeper.optimize(queries=ENCODER.encode(["abc"] * 40)[:, :-1])


def test_stored_queries_of_another_dimension_are_damage(index: Path) -> None:
    change(index / "index.sqlite", "UPDATE meta SET value = x'00000000' WHERE key = 'queries'")
    with pytest.raises(CorruptIndexError, match="1 values are no queries"):
        StoredIndex.open(index)


def test_open_searcher_follows_a_new_plan(index: Path) -> None:
    with Searcher(ENCODER, StoredIndex.open(index)) as searcher:
        before = [hit.id for hit in searcher.query("aab", 64)]
        with IndexKeeper.open(index) as keeper:
            keeper.optimize(FLAT)
        assert [hit.id for hit in searcher.query("aab", 64)] == before
        assert searcher.info()["kind"] == "flat"


@pytest.mark.parametrize("damage", ["flip", "cut", "lose"])
def test_damaged_cells_are_refused_and_repaired(index: Path, damage: str) -> None:
    (cells,) = index.glob("cells-*")
    content = bytearray(cells.read_bytes())
    content[len(content) // 2] ^= 4
    if damage == "lose":
        cells.unlink()
    else:
        cells.write_bytes(content if damage == "flip" else content[:-3])
    with pytest.raises(CorruptIndexError, match=cells.name):
        StoredIndex.open(index)
    assert any(cells.name in problem for problem in verify(index))
    with IndexKeeper.open(index) as keeper:
        assert keeper.repair(ENCODER.encode) == 0
    assert list(verify(index)) == []
    assert len(found(index, "aab", 64)) == 64


def test_altered_row_in_cells_is_never_ranked(index: Path) -> None:
    segment = max(index.glob("vectors-*"), key=lambda path: path.stat().st_size)
    content = bytearray(segment.read_bytes())
    content[5] ^= 1
    segment.write_bytes(content)
    with pytest.raises(CorruptIndexError, match=r"its row 0 was altered, the checksum is another"):
        found(index, "aab", 64)


@pytest.mark.parametrize(
    ("value", "message"),
    [("{}", "searched is wrong at settings|names no file"), ('{"plan": 3}', "wrong at plan")],
)
def test_record_that_is_none_is_damage(index: Path, value: str, message: str) -> None:
    change(index / "index.sqlite", "UPDATE meta SET value = ? WHERE key = 'search'", value)
    if value == "{}":  # a flat index without plan or measurement: nothing names the cells
        with StoredIndex.open(index) as stored:
            assert stored.kind == "flat"
        return
    with pytest.raises(CorruptIndexError, match=message):
        StoredIndex.open(index)


def test_cells_outside_the_folder_are_never_opened(index: Path) -> None:
    change(
        index / "index.sqlite",
        "UPDATE meta SET value = replace(value, 'cells-', '../cells-') WHERE key = 'search'",
    )
    with pytest.raises(CorruptIndexError, match="names no file of cells"):
        StoredIndex.open(index)


def test_other_settings_are_another_plan(index: Path) -> None:
    with pytest.raises(StoreError, match=r'index\.kind: index "ivf", given "flat"'):
        IndexWriter.open(index, dataclasses.replace(PLAN, search=FLAT), replace=False)


def test_settings_that_no_index_can_meet_change_nothing(index: Path) -> None:
    names = names_in(index)
    tiny = IndexSettings(kind="ivf", memory_budget=0.0001)
    with IndexKeeper.open(index) as keeper, pytest.raises(SettingsError, match="memory_budget"):
        keeper.optimize(tiny)
    assert names_in(index) == names
