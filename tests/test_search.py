from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_encoder import ToyEncoder

from simsearch.corpus import Row, content_id
from simsearch.errors import EncoderMismatchError, SettingsError
from simsearch.records import Hit
from simsearch.search import Searcher
from simsearch.store import BuildPlan, IndexWriter, StoredIndex

ENCODER = ToyEncoder()


def build(folder: Path, rows: Iterable[Row]) -> Path:
    plan = BuildPlan("rows", ENCODER.identity, ENCODER.fingerprint, {}, ENCODER.dim)
    with IndexWriter.open(folder, plan, replace=False) as writer:
        writer.ingest(rows, on_error="stop")
        for shard in writer.pending_shards(size=2):
            writer.commit(shard, ENCODER.encode(shard.texts))
        writer.finish()
    return folder


def row(id_: str | None, text: str, **metadata: Any) -> Row:
    return Row(Path("corpus.jsonl"), 1, id_, text, metadata)


def open_searcher(folder: Path) -> Searcher:
    return Searcher(ToyEncoder(), StoredIndex.open(folder))


def ids(hits: list[Hit]) -> list[str]:
    return [hit.id for hit in hits]


@pytest.fixture
def index(tmp_path: Path) -> Path:
    # cosines with "a": aab 2/sqrt(5), a 1, b 0, ab and ba 1/sqrt(2), 好 0
    rows = [
        row("aab", "aab", page=3),
        row("a", "a"),
        row("b", "b"),
        row("z ab", "ab"),
        row("y ba", "ba"),
        row("好", "好"),
    ]
    return build(tmp_path / "搜 索", rows)


@pytest.fixture
def searcher(index: Path) -> Iterable[Searcher]:
    with open_searcher(index) as opened:
        yield opened


def delete(index: Path, *rows: int) -> None:
    with closing(sqlite3.connect(index / "index.sqlite")) as connection, connection:
        connection.executemany("INSERT INTO tombstones VALUES (?)", [(row,) for row in rows])


class TestQuery:
    def test_ranks_by_score_then_id(self, searcher: Searcher) -> None:
        hits = searcher.query("a")
        assert ids(hits) == ["a", "aab", "y ba", "z ab", "b", "好"]
        assert [hit.rank for hit in hits] == [1, 2, 3, 4, 5, 6]
        expected = [1, 2 / 5**0.5, 0.5**0.5, 0.5**0.5, 0, 0]
        assert [hit.score for hit in hits] == pytest.approx(expected, abs=1e-6)

    def test_hit_has_the_text_the_metadata_and_the_percentile(self, searcher: Searcher) -> None:
        # The 15 pairs: aab-a .894, aab-b .447, aab-ab and aab-ba .949, a-b 0, a-ab and a-ba .707,
        # b-ab and b-ba .707, ab-ba 1, and 0 for the five pairs of 好: 6 zeros, .447, four .707,
        # then .894. So below aab's score are 11, and one equals it.
        hit = searcher.query("a", k=2)[1]
        assert hit == Hit(
            rank=2,
            id="aab",
            score=hit.score,
            percentile=pytest.approx(100 * 11.5 / 15),
            text="aab",
            metadata={"page": 3},
        )

    def test_tie_at_the_last_place_goes_to_the_smaller_id(self, searcher: Searcher) -> None:
        assert ids(searcher.query("a", k=3)) == ["a", "aab", "y ba"]
        assert ids(searcher.query("a", k=5)) == ["a", "aab", "y ba", "z ab", "b"]

    def test_all_of_many_equal_documents_compete_for_the_last_place(self, tmp_path: Path) -> None:
        rows = [row(f"{number:03}", "ab") for number in reversed(range(300))]
        with open_searcher(build(tmp_path / "equal", rows)) as searcher:
            assert ids(searcher.query("ab", k=4)) == ["000", "001", "002", "003"]

    def test_k_beyond_the_corpus_returns_every_document_once(self, searcher: Searcher) -> None:
        assert sorted(ids(searcher.query("b", k=1000))) == ["a", "aab", "b", "y ba", "z ab", "好"]

    def test_threshold_keeps_what_reaches_it(self, searcher: Searcher) -> None:
        score = searcher.query("a", k=3)[2].score
        assert ids(searcher.query("a", threshold=score)) == ["a", "aab", "y ba", "z ab"]
        assert ids(searcher.query("a", k=3, threshold=score)) == ["a", "aab", "y ba"]
        above = float(np.nextafter(score, 1))
        assert ids(searcher.query("a", threshold=above)) == ["a", "aab"]
        assert searcher.query("a", threshold=1.5) == []
        assert len(searcher.query("a", threshold=-1)) == 6

    def test_one_document_has_no_percentile(self, tmp_path: Path) -> None:
        with open_searcher(build(tmp_path / "one", [row(None, "ab")])) as searcher:
            (hit,) = searcher.query("ba")
        assert (hit.id, hit.percentile) == (content_id("ab"), None)
        assert hit.score == pytest.approx(1, abs=1e-6)


class TestBatch:
    def test_batch_equals_each_query_alone(self, searcher: Searcher) -> None:
        texts = ["a", "", "ab", "好", "aab"] * 6
        assert searcher.search(texts, k=3) == [searcher.query(text, k=3) for text in texts]

    def test_empty_queries_have_no_hits_and_are_not_encoded(self, index: Path) -> None:
        encoder = ToyEncoder()
        with Searcher(encoder, StoredIndex.open(index)) as searcher:
            assert searcher.search(["", " \t\n", "　"]) == [[], [], []]
            assert searcher.search([]) == []
            assert encoder.calls == []
            answers = searcher.search(["b", " ", "a"], k=1)
        assert [ids(hits) for hits in answers] == [["b"], [], ["a"]]
        assert encoder.calls == [(["b", "a"], "query")]


class TestDeletedRows:
    def test_deleted_documents_never_appear_and_others_take_their_place(self, index: Path) -> None:
        delete(index, 1, 4)
        with open_searcher(index) as searcher:
            assert ids(searcher.query("a", k=3)) == ["aab", "z ab", "b"]
            assert ids(searcher.query("a", k=10)) == ["aab", "z ab", "b", "好"]
            assert searcher.info()["count"] == 4

    def test_best_live_document_is_found_behind_many_deleted_ones(self, tmp_path: Path) -> None:
        rows = [row(f"a{number}", "a") for number in range(200)]
        rows += [row("2", "aab"), row("1", "ab"), row("0", "ba")]
        folder = build(tmp_path / "index", rows)
        delete(folder, *range(200))
        with open_searcher(folder) as searcher:
            assert ids(searcher.query("a", k=2)) == ["2", "0"]

    def test_nothing_is_left(self, index: Path) -> None:
        delete(index, *range(6))
        with open_searcher(index) as searcher:
            assert searcher.query("a") == []


class TestRefusals:
    def test_other_encoder_is_named_field_by_field(self, index: Path) -> None:
        with (
            StoredIndex.open(index) as stored,
            pytest.raises(EncoderMismatchError, match="搜 索 was built with") as caught,
        ):
            Searcher(ToyEncoder("abd"), stored)
        assert 'letters: index "abc", given "abd"' in str(caught.value)
        assert "normalised" not in str(caught.value)
        assert "--replace" in str(caught.value)

    def test_one_string_instead_of_a_list_is_refused(self, searcher: Searcher) -> None:
        with pytest.raises(SettingsError, match="texts is one string"):
            searcher.search("abc")

    @pytest.mark.parametrize("k", [0, -1, 1.5, True, "3", None])
    def test_k_must_be_a_positive_integer(self, searcher: Searcher, k: Any) -> None:
        with pytest.raises(SettingsError, match=f"k is {k!r}"):
            searcher.query("a", k=k)
        with pytest.raises(SettingsError, match=f"k is {k!r}"):
            searcher.query("", k=k)

    def test_numpy_integers_are_integers(self, searcher: Searcher) -> None:
        assert ids(searcher.query("a", k=np.int64(2))) == ["a", "aab"]

    @pytest.mark.parametrize("threshold", [float("nan"), "0.5"])
    def test_threshold_must_be_a_number(self, searcher: Searcher, threshold: Any) -> None:
        with pytest.raises(SettingsError, match="threshold is"):
            searcher.query("a", threshold=threshold)

    def test_info_is_that_of_the_index(self, index: Path, searcher: Searcher) -> None:
        with StoredIndex.open(index) as stored:
            assert searcher.info() == stored.info()


@settings(max_examples=30, deadline=None)
@given(texts=st.lists(st.text("abc d好", min_size=1), min_size=1, max_size=15))
def test_every_document_is_found_by_its_own_text_with_score_one(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("found") / "index"
    asked = [text for text in texts if text.strip()]
    with open_searcher(build(folder, [row(None, text) for text in texts])) as searcher:
        answers = searcher.search(asked, k=len(texts))
    for text, hits in zip(asked, answers, strict=True):
        assert len(hits) == len(texts)
        assert [(-hit.score, hit.id) for hit in hits] == sorted((-h.score, h.id) for h in hits)
        own = next(hit for hit in hits if hit.text == text)
        assert own.score == pytest.approx(1, abs=1e-6)
        assert own.score >= hits[0].score - 1e-6
