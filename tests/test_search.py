from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_encoder import ToyEncoder

from simsearch.answering import Answering
from simsearch.corpus import Row, content_id
from simsearch.errors import EncoderMismatchError, SettingsError
from simsearch.milvus import Address, MilvusCollection, MilvusSearcher, export_to_milvus
from simsearch.records import Hit
from simsearch.search import Searcher
from simsearch.store import BuildPlan, IndexWriter, StoredIndex
from simsearch.store.database import open_database

ENCODER = ToyEncoder()


def build(
    folder: Path, rows: Iterable[Row], chunk: tuple[int, int] | None = None, longest: int = 1000
) -> Path:
    """An index of the rows, cut into chunks if they are to be, by an encoder of ``longest``."""
    plan = BuildPlan("rows", ENCODER.identity, ENCODER.fingerprint, {}, ENCODER.dim, chunk)
    spans = None if chunk is None else lambda texts: ENCODER.spans(texts, *chunk)
    encoder = ToyEncoder(max_length=longest)
    with IndexWriter.open(folder, plan, replace=False) as writer:
        writer.ingest(rows, on_error="stop", spans=spans)
        for shard in writer.pending_shards(size=2):
            counts = enumerate(encoder.token_counts(shard.texts))
            cut = {i: count for i, count in counts if count > longest}
            writer.commit(shard, encoder.encode(shard.texts), cut)
        writer.finish()
    return folder


def row(id_: str | None, text: str, **metadata: Any) -> Row:
    return Row(Path("corpus.jsonl"), 1, id_, text, metadata)


@pytest.fixture(scope="module", params=["folder", "Milvus"], autouse=True)
def milvus(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """Runs every test twice: answers are those of the folder, and of its image in Milvus."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "Milvus":
            database = str(tmp_path_factory.mktemp("Milvus 库") / "images.db")
            patch.setattr(sys.modules[__name__], "open_searcher", partial(open_image, database))
        yield


def open_searcher(folder: Path) -> Answering:
    return Searcher(ToyEncoder(), StoredIndex.open(folder))


def open_image(database: str, folder: Path) -> Answering:
    address = Address(database, f"c_{hashlib.md5(str(folder).encode()).hexdigest()}")
    export_to_milvus(folder, address)
    return MilvusSearcher(ToyEncoder(), MilvusCollection(address))


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
    with closing(open_database(index / "index.sqlite", "rw")) as connection:
        connection.executemany("INSERT INTO tombstones VALUES (?)", [(row,) for row in rows])


class TestQuery:
    def test_ranks_by_score_then_id(self, searcher: Answering) -> None:
        hits = searcher.query("a")
        assert ids(hits) == ["a", "aab", "y ba", "z ab", "b", "好"]
        assert [hit.rank for hit in hits] == [1, 2, 3, 4, 5, 6]
        expected = [1, 2 / 5**0.5, 0.5**0.5, 0.5**0.5, 0, 0]
        assert [hit.score for hit in hits] == pytest.approx(expected, abs=1e-6)

    def test_hit_has_the_text_the_metadata_and_the_percentile(self, searcher: Answering) -> None:
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

    def test_tie_at_the_last_place_goes_to_the_smaller_id(self, searcher: Answering) -> None:
        assert ids(searcher.query("a", k=3)) == ["a", "aab", "y ba"]
        assert ids(searcher.query("a", k=5)) == ["a", "aab", "y ba", "z ab", "b"]

    def test_all_of_many_equal_documents_compete_for_the_last_place(self, tmp_path: Path) -> None:
        rows = [row(f"{number:03}", "ab") for number in reversed(range(300))]
        with open_searcher(build(tmp_path / "equal", rows)) as searcher:
            assert ids(searcher.query("ab", k=4)) == ["000", "001", "002", "003"]

    def test_k_beyond_the_corpus_returns_every_document_once(self, searcher: Answering) -> None:
        assert sorted(ids(searcher.query("b", k=1000))) == ["a", "aab", "b", "y ba", "z ab", "好"]

    def test_threshold_keeps_what_reaches_it(self, searcher: Answering) -> None:
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
    def test_batch_equals_each_query_alone(self, searcher: Answering) -> None:
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


class TestChunks:
    def test_document_is_found_by_its_best_chunk(self, tmp_path: Path) -> None:
        # in chunks of 3: "bb " and "ab"; "ab " (cosine with "ab" 2/sqrt(6)) and "ab"; "aa " and "b"
        rows = [row("x", "bb ab", page=3), row("y", "ab ab"), row("z", "aa b")]
        with open_searcher(build(tmp_path / "块", rows, chunk=(3, 0))) as searcher:
            hits = searcher.query("ab")
            assert searcher.info()["chunks"] == 6
        assert [(hit.id, hit.text, hit.span) for hit in hits] == [
            ("x", "bb ab", (3, 5)),
            ("y", "ab ab", (3, 5)),
            ("z", "aa b", (3, 4)),
        ]
        assert [hit.score for hit in hits] == pytest.approx([1, 1, 0.5**0.5], abs=1e-6)
        assert hits[0].metadata == {"page": 3}
        # of the 12 pairs of chunks of different documents, only "ab" and "ab" have cosine 1
        assert hits[0].percentile == pytest.approx(100 * 11.5 / 12)

    def test_of_equal_chunks_the_first_is_shown(self, tmp_path: Path) -> None:
        with open_searcher(build(tmp_path / "i", [row("x", "c ab ab ab")], (3, 0))) as searcher:
            (hit,) = searcher.query("a")  # "c ", "ab ", "ab ", "ab"
            assert hit.span == (8, 10)
            (hit,) = searcher.query("b ?")  # the space helps
            assert hit.span == (2, 5)

    def test_short_document_is_one_chunk_and_without_chunks_there_is_no_span(
        self, tmp_path: Path, searcher: Answering
    ) -> None:
        with open_searcher(build(tmp_path / "i", [row("x", "ab")], (3, 0))) as chunked:
            assert chunked.query("a")[0].span == (0, 2)
        assert [hit.span for hit in searcher.query("a")] == [None] * 6

    def test_ties_between_documents_are_broken_by_id(self, tmp_path: Path) -> None:
        rows = [row(f"{number:03}", "b ab " * 3 + "c") for number in reversed(range(100))]
        with open_searcher(build(tmp_path / "i", rows, (3, 0))) as searcher:
            hits = searcher.query("ab?", k=3)
        assert ids(hits) == ["000", "001", "002"]
        assert {hit.span for hit in hits} == {(2, 5)}

    def test_document_of_many_good_chunks_leaves_room_for_others(self, tmp_path: Path) -> None:
        rows = [row("long", "a " * 500), row("2", "ab"), row("1", "ba"), row("0", "b")]
        with open_searcher(build(tmp_path / "i", rows, (2, 0))) as searcher:
            assert ids(searcher.query("a ", k=1)) == ["long"]
            assert ids(searcher.query("a ", k=3)) == ["long", "1", "2"]
            assert ids(searcher.query("a ", k=10)) == ["long", "1", "2", "0"]
            batch = searcher.search(["b", "a ", "ab"], k=2)
            assert batch == [searcher.query(text, k=2) for text in ("b", "a ", "ab")]

    def test_deleted_document_is_not_found_by_any_chunk(self, tmp_path: Path) -> None:
        rows = [row("x", "a a a"), row("y", "ab b"), row("z", "b b b")]
        folder = build(tmp_path / "i", rows, (2, 0))
        delete(folder, 0)
        with open_searcher(folder) as searcher:
            assert ids(searcher.query("a")) == ["y", "z"]
            assert ids(searcher.query("a", k=1)) == ["y"]
            assert searcher.info()["count"] == 2

    def test_threshold_is_for_the_best_chunk(self, tmp_path: Path) -> None:
        with open_searcher(build(tmp_path / "i", [row("x", "b a"), row("y", "b")], (2, 0))) as s:
            assert ids(s.query("a", threshold=0.99)) == ["x"]

    def test_document_that_was_cut_is_marked(self, tmp_path: Path) -> None:
        rows = [row("x", "aab"), row("y", "ab")]
        with open_searcher(build(tmp_path / "i", rows, longest=2)) as searcher:
            first, second = searcher.query("a")  # "aa", without its end, and "ab"
        assert (first.id, first.score, first.truncated) == ("x", pytest.approx(1), True)
        assert (second.id, second.truncated) == ("y", False)

    @settings(max_examples=40)
    @given(
        texts=st.lists(st.text("ab 好", min_size=1, max_size=20), min_size=1, max_size=10),
        tokens=st.integers(1, 7),
        overlap=st.integers(0, 6),
        queries=st.lists(st.text("abc", min_size=1, max_size=4), min_size=1, max_size=3),
        k=st.integers(1, 12),
        deleted=st.sets(st.integers(0, 9), max_size=4),
    )
    def test_hits_are_those_of_brute_force_over_all_chunks(
        self,
        tmp_path_factory: pytest.TempPathFactory,
        texts: list[str],
        tokens: int,
        overlap: int,
        queries: list[str],
        k: int,
        deleted: set[int],
    ) -> None:
        chunk = (tokens, overlap % tokens)
        rows = [row(f"{len(texts) - i:02}", text) for i, text in enumerate(texts)]
        folder = build(tmp_path_factory.mktemp("chunks") / "i", rows, chunk)
        live = [i for i in range(len(texts)) if i not in deleted]
        delete(folder, *(i for i in deleted if i < len(texts)))
        with open_searcher(folder) as searcher:
            answers = searcher.search(queries, k)
        for query, hits in zip(queries, answers, strict=True):
            (vector,) = ENCODER.encode([query]).astype(np.float64)
            expected = []
            for i in live:
                spans = ENCODER.spans([texts[i]], *chunk)[0]
                pieces = ENCODER.encode([texts[i][start:stop] for start, stop in spans])
                scores = np.clip((pieces.astype(np.float64) * vector).sum(axis=1), -1, 1)
                best = int(np.argmax(scores))  # the first of equal ones
                expected.append((-scores[best], rows[i].id, spans[best]))
            assert [(-hit.score, hit.id, hit.span) for hit in hits] == sorted(expected)[:k]


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

    def test_one_string_instead_of_a_list_is_refused(self, searcher: Answering) -> None:
        with pytest.raises(SettingsError, match="texts is one string"):
            searcher.search("abc")

    @pytest.mark.parametrize("k", [0, -1, 1.5, True, "3", None])
    def test_k_must_be_a_positive_integer(self, searcher: Answering, k: Any) -> None:
        with pytest.raises(SettingsError, match=f"k is {k!r}"):
            searcher.query("a", k=k)
        with pytest.raises(SettingsError, match=f"k is {k!r}"):
            searcher.query("", k=k)

    def test_numpy_integers_are_integers(self, searcher: Answering) -> None:
        assert ids(searcher.query("a", k=np.int64(2))) == ["a", "aab"]

    @pytest.mark.parametrize("threshold", [float("nan"), "0.5"])
    def test_threshold_must_be_a_number(self, searcher: Answering, threshold: Any) -> None:
        with pytest.raises(SettingsError, match="threshold is"):
            searcher.query("a", threshold=threshold)

    def test_info_is_that_of_the_index(self, index: Path, searcher: Answering) -> None:
        facts = searcher.info()
        with StoredIndex.open(index) as stored:
            expected = stored.info()
        for name in ("count", "dim", "fingerprint", "generation", "created", "chunk", "chunks"):
            assert facts[name] == expected[name]
        assert facts["recall_at_10"] == expected["recall_at_10"] == 1


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
