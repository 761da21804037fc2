"""Search by words and by both, and the word index of an index that changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_changes import add, delete, row
from test_store import ENCODER, build, change, plan_of

from simsearch.errors import SettingsError
from simsearch.records import Hit
from simsearch.search import Searcher
from simsearch.store import IndexKeeper, StoredIndex, verify


def search(folder: Path, text: str, mode: Any, k: int = 10, **options: Any) -> list[Hit]:
    with Searcher(ENCODER, StoredIndex.open(folder)) as searcher:
        return searcher.query(text, k, mode=mode, **options)


def ids(folder: Path, text: str, mode: Any, k: int = 10, **options: Any) -> list[str]:
    return [hit.id for hit in search(folder, text, mode, k, **options)]


@pytest.fixture
def index(tmp_path: Path) -> Path:
    folder = tmp_path / "索 引"
    texts = {"1": "abba", "2": "the cab", "3": "退款 要多久", "4": "退货", "5": "baba cab cab"}
    build(folder, [row(id_, text, n=int(id_)) for id_, text in texts.items()])
    return folder


def test_by_words_only_documents_that_share_one_are_found(index: Path) -> None:
    assert ids(index, "Cab!", "lexical") == ["5", "2"]
    assert ids(index, "退", "lexical") == ["4", "3"]  # the shorter first
    assert ids(index, "退款", "lexical") == ["3", "4"]
    assert ids(index, "bcab", "lexical") == []
    assert ids(index, '" OR NEAR(', "lexical") == []


def test_score_by_words_is_no_cosine(index: Path) -> None:
    first = search(index, "cab", "lexical")[0]
    assert first.score > 1
    assert (first.percentile, first.text, first.metadata) == (None, "baba cab cab", {"n": 5})
    with pytest.raises(SettingsError, match=r"the threshold 0\.5 is a cosine"):
        search(index, "cab", "lexical", threshold=0.5)
    with pytest.raises(SettingsError, match="the mode is 'sparse'; give one of dense, lexical"):
        search(index, "cab", "sparse")


def test_by_words_nothing_is_encoded(index: Path) -> None:
    before = len(ENCODER.calls)
    ids(index, "cab", "lexical")
    assert len(ENCODER.calls) == before


def test_by_both_the_ranks_are_fused(index: Path) -> None:
    assert ids(index, "cab", "dense")[:3] == ["5", "1", "2"]
    assert ids(index, "cab", "lexical") == ["5", "2"]
    hits = search(index, "cab", "hybrid")
    assert [hit.id for hit in hits[:3]] == ["5", "2", "1"]
    assert hits[0].score == pytest.approx(1 / 61 + 1 / 61)
    assert hits[1].score == pytest.approx(1 / 63 + 1 / 62)
    assert hits[2].score == pytest.approx(1 / 62)
    assert hits[0].percentile is None


def test_filters_hold_in_every_mode(index: Path) -> None:
    for mode in ("dense", "lexical", "hybrid"):
        assert ids(index, "cab", mode, 1, filter={"n": {"$in": [2, 4]}}) == ["2"]


def test_words_change_with_their_documents(index: Path) -> None:
    add(index, [row("6", "cab"), row("2", "the dog"), row("3", "退款 要多久", n=9)])
    assert ids(index, "cab", "lexical") == ["5", "6"]
    delete(index, "5")
    assert ids(index, "cab", "lexical") == ["6"]
    assert ids(index, "dogs", "lexical") == ["2"]
    with IndexKeeper.open(index) as keeper:
        keeper.optimize()
    assert ids(index, "cab", "lexical") == ["6"]
    assert list(verify(index)) == []


def test_document_in_chunks_is_found_whole_by_words(tmp_path: Path) -> None:
    build(tmp_path, [row("1", "aa bb cc"), row("2", "cc dd")], plan_of(ENCODER, chunk=(3, 0)))
    (hit,) = search(tmp_path, "bb", "lexical")
    assert (hit.id, hit.span) == ("1", None)
    assert search(tmp_path, "bb", "hybrid")[0].span == (3, 6)


def test_damaged_word_index_is_found_and_repaired(index: Path) -> None:
    change(index / "index.sqlite", "UPDATE words SET term = 'x' WHERE term = 'cab'")
    (problem,) = verify(index)
    assert "its word index is not that of the documents' texts; repair it" in problem
    with IndexKeeper.open(index) as keeper:
        keeper.repair(ENCODER.encode)
    assert list(verify(index)) == []
    assert ids(index, "cab", "lexical") == ["5", "2"]


@given(
    texts=st.lists(st.text("ab 退", min_size=1, max_size=6), min_size=1, max_size=12),
    query=st.text("ab 退", min_size=1, max_size=4).filter(str.strip),
    k=st.integers(1, 5),
)
def test_k_is_a_prefix_of_the_whole_ranking_in_every_mode(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], query: str, k: int
) -> None:
    folder = tmp_path_factory.mktemp("any") / "index"
    build(folder, [row(f"{n:02}", text) for n, text in enumerate(texts)])
    for mode in ("dense", "lexical", "hybrid"):
        whole = [(hit.id, hit.score) for hit in search(folder, query, mode, 100)]
        assert whole == sorted(whole, key=lambda pair: (-pair[1], pair[0]))
        assert [(hit.id, hit.score) for hit in search(folder, query, mode, k)] == whole[:k]
