from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_changes import add, delete, row
from test_store import ENCODER, build, plan_of

import simsearch.duplicates
from simsearch.duplicates import near_duplicates
from simsearch.errors import SettingsError
from simsearch.store import StoredIndex


def clusters(folder: Path, threshold: float) -> list[list[tuple[str, float]]]:
    with StoredIndex.open(folder) as stored:
        found = list(near_duplicates(stored, threshold))
    return [[(d.document.id, round(d.score, 4)) for d in cluster] for cluster in found]


def test_documents_close_to_each_other_are_clusters_greatest_first(tmp_path: Path) -> None:
    texts = {"1": "a", "2": "ab", "3": "aaab", "4": "ba", "5": "c", "6": "aa", "7": "cc", "8": "b"}
    build(tmp_path, [row(id_, text) for id_, text in texts.items()])
    # (3, 1) has 0.949 with (1, 0) and 0.894 with (1, 1); (1, 1) has 0.707 with (0, 1)
    assert clusters(tmp_path, 0.999) == [
        [("1", 1), ("6", 1)],
        [("2", 1), ("4", 1)],
        [("5", 1), ("7", 1)],
    ]
    assert clusters(tmp_path, 0.94) == [
        [("1", 1), ("3", 0.9487), ("6", 1)],
        [("2", 1), ("4", 1)],
        [("5", 1), ("7", 1)],
    ]
    assert [len(cluster) for cluster in clusters(tmp_path, 0.89)] == [5, 2]


def test_deleted_documents_are_in_no_cluster_and_added_ones_are(tmp_path: Path) -> None:
    build(tmp_path, [row("1", "a"), row("2", "aa"), row("3", "b")])
    delete(tmp_path, "1")
    assert clusters(tmp_path, 0.9) == []
    add(tmp_path, [row("4", "bb")])
    assert clusters(tmp_path, 0.9) == [[("3", 1), ("4", 1)]]


def test_documents_that_share_a_chunk_are_together(tmp_path: Path) -> None:
    build(
        tmp_path,
        [row("1", "abcc"), row("2", "caab"), row("3", "aa")],
        plan_of(ENCODER, chunk=(2, 0)),
    )
    assert clusters(tmp_path, 0.99) == [[("1", 1), ("2", 0.5)]]


def test_more_duplicates_than_are_asked_for_at_once_are_all_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simsearch.duplicates, "_ANSWERS_AT_ONCE", 64)
    build(tmp_path, [row(str(n), "a" * (1 + n % 7)) for n in range(50)] + [row("x", "b")])
    assert [len(cluster) for cluster in clusters(tmp_path, 0.99)] == [50]


@pytest.mark.parametrize("threshold", [0, -1, 1.01, float("nan")])
def test_threshold_must_be_a_cosine(tmp_path: Path, threshold: float) -> None:
    build(tmp_path, [row("1", "a")])
    with pytest.raises(SettingsError, match="give a cosine"):
        clusters(tmp_path, threshold)


@given(
    texts=st.lists(st.text("abc", min_size=1, max_size=4), min_size=1, max_size=12),
    threshold=st.sampled_from([0.5, 0.8, 0.95]),
)
def test_clusters_are_the_components_of_the_graph_of_close_pairs(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], threshold: float
) -> None:
    folder = tmp_path_factory.mktemp("any") / "index"
    build(folder, [row(str(n), text) for n, text in enumerate(texts)])
    vectors = ENCODER.encode(texts).astype(np.float64)
    close = np.clip(vectors @ vectors.T, -1, 1) >= threshold
    for _ in texts:
        close = (close.astype(int) @ close.astype(int)) > 0
    expected = {frozenset(np.flatnonzero(line).tolist()) for line in close}
    found = {frozenset(int(id_) for id_, _ in cluster) for cluster in clusters(folder, threshold)}
    assert found == {cluster for cluster in expected if len(cluster) > 1}
