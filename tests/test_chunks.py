"""An index whose documents were cut into chunks, and one whose documents were cut short."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_store import (
    CORPUS,
    ENCODER,
    Interrupted,
    build,
    change,
    encode_pending,
    interrupted_build,
    names_in,
    plan_of,
    rows_of,
    run_python,
    snapshot,
    spans_of,
    texts_in,
    vector_bytes,
)

from simsearch.corpus import Row
from simsearch.errors import CorpusError, CorruptIndexError, StoreError, UnfinishedIndexError
from simsearch.records import Document, Span
from simsearch.store import IndexWriter, Passage, StoredIndex
from simsearch.store.database import open_database

PLAN = plan_of(ENCODER, chunk=(6, 3))
# "aa bb cc" is cut between words, and "abcabcab", a word of more than 6 characters, anywhere
TEXTS = ["a", "aa bb cc", "abcabcab", "你好 b"]
CHUNKS = [(0, 0, 1), (1, 0, 6), (1, 3, 8), (2, 0, 6), (2, 3, 8), (3, 0, 4)]
CHUNK_TEXTS = ["a", "aa bb ", "bb cc", "abcabc", "abcab", "你好 b"]


def documents() -> list[Row]:
    return [Row(CORPUS, line, f"d{line}", text, {}) for line, text in enumerate(TEXTS)]


def table(database: Path, name: str) -> list[tuple[object, ...]]:
    with closing(open_database(database, "rw")) as connection:
        return connection.execute(f"SELECT * FROM {name} ORDER BY 1").fetchall()


def begin(folder: Path, shards: int) -> None:
    """A build that stopped after so many shards of two chunks."""
    with IndexWriter.open(folder, PLAN, replace=False) as writer:
        writer.ingest(documents(), on_error="stop", spans=spans_of(PLAN))
        with pytest.raises(Interrupted):
            encode_pending(writer, size=2, stop_after=shards)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "块 儿" / "索引"


@pytest.fixture
def index(folder: Path) -> Path:
    build(folder, documents(), PLAN)
    return folder


class TestRoundTrip:
    def test_every_chunk_has_its_own_vector(self, index: Path) -> None:
        with StoredIndex.open(index) as stored:
            assert texts_in(index) == CHUNK_TEXTS
            assert stored.passages([2, 5]) == [
                Passage(Document("d1", "aa bb cc"), (3, 8)),
                Passage(Document("d3", "你好 b"), (0, 4)),
            ]
            assert stored.ids([3, 1]) == ["d3", "d1"]
            assert (
                np.concatenate(stored.segments).tobytes() == ENCODER.encode(CHUNK_TEXTS).tobytes()
            )
            assert stored.chunks.documents.tolist() == [0, 1, 1, 2, 2, 3]
            # of 15 pairs, the two within a document are left out
            assert len(stored.background) == 13
        rows = [(row, *chunk) for row, chunk in enumerate(CHUNKS)]
        assert table(index / "index.sqlite", "chunks") == rows

    def test_info_and_manifest_count_documents_and_chunks(self, index: Path) -> None:
        with StoredIndex.open(index) as stored:
            info = stored.info()
        assert (info["count"], info["chunk"], info["chunks"]) == (4, [6, 3], 6)
        manifest = json.loads((index / "manifest.json").read_text("utf-8"))
        assert (manifest["count"], manifest["chunk"], manifest["chunks"]) == (4, [6, 3], 6)

    def test_without_chunks_the_table_is_empty(self, folder: Path) -> None:
        build(folder, documents())
        assert table(folder / "index.sqlite", "chunks") == []
        with StoredIndex.open(folder) as stored:
            assert (stored.rows, stored.count, stored.info()["chunk"]) == (4, 4, None)
            assert stored.passages([1]) == [Passage(Document("d1", "aa bb cc"), None)]

    def test_deleting_is_by_document(self, index: Path) -> None:
        change(index / "index.sqlite", "INSERT INTO tombstones VALUES (3)")
        with StoredIndex.open(index) as stored:
            assert (stored.deleted, stored.count, stored.rows) == ({3}, 3, 6)
        change(index / "index.sqlite", "INSERT INTO tombstones VALUES (4)")
        with pytest.raises(CorruptIndexError, match="not among its 4 documents"):
            StoredIndex.open(index)

    @settings(max_examples=25)
    @given(
        texts=st.lists(st.text("ab 好", min_size=1, max_size=30), min_size=1, max_size=8),
        tokens=st.integers(1, 9),
        overlap=st.integers(0, 8),
        size=st.integers(1, 5),
    )
    def test_chunks_of_any_texts_come_back(
        self,
        tmp_path_factory: pytest.TempPathFactory,
        texts: list[str],
        tokens: int,
        overlap: int,
        size: int,
    ) -> None:
        overlap %= tokens
        plan = plan_of(ENCODER, chunk=(tokens, overlap))
        folder = tmp_path_factory.mktemp("any") / "index"
        with IndexWriter.open(folder, plan, replace=False) as writer:
            writer.ingest(rows_of(texts), on_error="stop", spans=spans_of(plan))
            encode_pending(writer, size)
            writer.finish()
        cut = ENCODER.spans(texts, tokens, overlap)
        with StoredIndex.open(folder) as stored:
            found = [passage.span for passage in stored.passages(range(stored.rows))]
            assert (stored.count, stored.rows) == (len(texts), sum(map(len, cut)))
        assert found == [span for spans in cut for span in spans]
        pieces = [text[a:b] for text, spans in zip(texts, cut, strict=True) for a, b in spans]
        assert vector_bytes(folder) == ENCODER.encode(pieces).tobytes()


class TestIngestion:
    def test_texts_are_cut_some_at_a_time(self, folder: Path) -> None:
        sizes: list[tuple[int, int]] = []

        def spans(texts: Sequence[str]) -> list[list[Span]]:
            sizes.append((len(texts), sum(map(len, texts))))
            return [[(0, len(text))] for text in texts]

        texts = ["a"] * 2000 + ["b" * 2**19] * 3 + ["c"]
        with IndexWriter.open(folder, PLAN, replace=False) as writer:
            writer.ingest(rows_of(texts), on_error="stop", spans=spans)
            assert (writer.done, writer.total) == (0, 2004)
        assert sizes == [(1024, 1024), (978, 976 + 2**20), (2, 2**19 + 1)]

    def test_tokenizer_that_fails_leaves_nothing(self, folder: Path) -> None:
        def spans(texts: Sequence[str]) -> list[list[Span]]:
            raise Interrupted

        with IndexWriter.open(folder, PLAN, replace=False) as writer, pytest.raises(Interrupted):
            writer.ingest(documents(), on_error="stop", spans=spans)
        assert not folder.parent.exists()

    def test_bad_rows_leave_nothing_and_are_not_cut(self, folder: Path) -> None:
        rows = [*documents(), *documents()]
        with (
            IndexWriter.open(folder, PLAN, replace=False) as writer,
            pytest.raises(CorpusError, match="4 of 8 rows"),
        ):
            writer.ingest(rows, on_error="stop", spans=spans_of(PLAN))
        assert not folder.exists()

    @pytest.mark.parametrize(
        "cut",
        [
            [],
            [(0, 7)],
            [(1, 8)],
            [(0, 9)],
            [(0, 4), (0, 8)],
            [(0, 8), (4, 8)],
            [(0, 4), (4, 4), (4, 8)],
        ],
    )
    def test_spans_that_do_not_cover_a_text_are_our_mistake(
        self, folder: Path, cut: list[Span]
    ) -> None:
        with (
            IndexWriter.open(folder, PLAN, replace=False) as writer,
            pytest.raises(ValueError, match="do not cover a text of 8 characters"),
        ):
            writer.ingest(rows_of(["aa bb cc"]), on_error="stop", spans=lambda texts: [cut])
        assert not folder.exists()

    def test_spans_and_plan_must_agree(self, folder: Path) -> None:
        with (
            IndexWriter.open(folder, PLAN, replace=False) as writer,
            pytest.raises(ValueError, match=r"plan's chunk is \(6, 3\), but spans is None"),
        ):
            writer.ingest(documents(), on_error="stop")
        assert not folder.exists()


class TestInterruption:
    @pytest.mark.parametrize("shards", [0, 1, 2])
    def test_resumed_build_equals_an_uninterrupted_one(
        self, tmp_path: Path, folder: Path, shards: int
    ) -> None:
        build(tmp_path / "at once", documents(), PLAN)
        begin(folder, shards)  # the second shard begins within a document
        with pytest.raises(UnfinishedIndexError, match=f"{2 * shards} of 6 chunks encoded"):
            StoredIndex.open(folder)
        with IndexWriter.open(folder, PLAN, replace=False) as writer:
            assert (writer.ingested, writer.done, writer.total) == (True, 2 * shards, 6)
            encode_pending(writer, size=2)
            writer.finish()
        assert vector_bytes(folder) == vector_bytes(tmp_path / "at once")
        assert texts_in(folder) == CHUNK_TEXTS

    @pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows kills otherwise")
    def test_killed_while_texts_are_cut_it_begins_anew(self, index: Path) -> None:
        code = (
            "import os, signal, sys; from pathlib import Path; import test_chunks as t\n"
            "def spans(texts): os.kill(os.getpid(), signal.SIGKILL)\n"
            "with t.IndexWriter.open(Path(sys.argv[1]), t.PLAN, replace=True) as writer:\n"
            "    writer.ingest(t.documents(), on_error='stop', spans=spans)\n"
        )
        assert run_python(code, index) == -signal.SIGKILL
        assert texts_in(index) == CHUNK_TEXTS  # the old one
        assert any(name.startswith("ingest-") for name in names_in(index))
        build(index, documents(), PLAN, replace=True)
        assert not any(name.startswith("ingest-") for name in names_in(index))
        assert texts_in(index) == CHUNK_TEXTS

    @pytest.mark.parametrize(
        ("chunk", "difference"),
        [
            (None, "chunk: index 6 tokens with an overlap of 3, given none"),
            (
                (6, 2),
                "chunk: index 6 tokens with an overlap of 3, given 6 tokens with an overlap of 2",
            ),
        ],
    )
    def test_other_chunks_are_another_plan(
        self, folder: Path, chunk: tuple[int, int] | None, difference: str
    ) -> None:
        begin(folder, 1)
        other = plan_of(ENCODER, chunk=chunk)
        with pytest.raises(StoreError, match=f"(?s)unfinished.*\n  {difference}\n.*--replace"):
            IndexWriter.open(folder, other, replace=False)
        build(folder, documents(), PLAN)
        with pytest.raises(StoreError, match=f"(?s)finished.*\n  {difference}\n.*--replace"):
            IndexWriter.open(folder, other, replace=False)
        build(folder, documents(), other, replace=True)
        with StoredIndex.open(folder) as stored:
            assert stored.info()["chunk"] == (chunk and list(chunk))


class TestDamage:
    FOLLOWS = "does not follow the one before it"

    @pytest.mark.parametrize(
        ("statement", "message"),
        [
            ("DELETE FROM chunks WHERE row = 2", f"chunk 3, of document 2 from 0 to 6, {FOLLOWS}"),
            ("DELETE FROM chunks WHERE row = 5", "its chunks end with document 2, not with 3"),
            ("DELETE FROM chunks", "its chunks end with document -1, not with 3"),
            (
                "INSERT INTO chunks VALUES (6, 4, 0, 1)",
                "its chunks end with document 4, not with 3",
            ),
            ("INSERT INTO chunks VALUES (6, 3, 1, 5)", "it has 7 texts and 6 vectors"),
            ("UPDATE chunks SET row = -1 WHERE row = 0", f"chunk -1, of .* {FOLLOWS}"),
            ("UPDATE chunks SET row = 7 WHERE row = 5", f"chunk 7, of .* {FOLLOWS}"),
            (
                "UPDATE chunks SET document = -1 WHERE row = 0",
                f"chunk 0, of document -1 .*{FOLLOWS}",
            ),
            ("UPDATE chunks SET document = 1 WHERE row = 0", f"chunk 0, of document 1 .*{FOLLOWS}"),
            ("UPDATE chunks SET document = 2 WHERE row = 2", f"chunk 2, of document 2 .*{FOLLOWS}"),
            ("UPDATE chunks SET document = 3 WHERE row = 3", f"chunk 3, of document 3 .*{FOLLOWS}"),
            ("UPDATE chunks SET document = 1 WHERE row = 4", f"chunk 4, of document 1 .*{FOLLOWS}"),
            ("UPDATE chunks SET start = 1 WHERE row = 1", f"chunk 1, .* from 1 to 6, {FOLLOWS}"),
            ("UPDATE chunks SET start = -1 WHERE row = 1", f"chunk 1, .* from -1 to 6, {FOLLOWS}"),
            ("UPDATE chunks SET start = 0 WHERE row = 2", f"chunk 2, .* from 0 to 8, {FOLLOWS}"),
            ("UPDATE chunks SET stop = 6 WHERE row = 2", f"chunk 2, .* from 3 to 6, {FOLLOWS}"),
            ("UPDATE chunks SET stop = 0 WHERE row = 0", f"chunk 0, .* from 0 to 0, {FOLLOWS}"),
            ("UPDATE chunks SET start = 'x' WHERE row = 2", "chunks is not of the right type"),
            ("UPDATE chunks SET document = 1.5 WHERE row = 2", "chunks is not of the right type"),
            ("UPDATE chunks SET stop = x'00' WHERE row = 2", "chunks is not of the right type"),
            ("UPDATE meta SET value = 3 WHERE key = 'numbered'", "end with document 3, not with 2"),
            ("DROP TABLE chunks", "no such table: chunks"),
            (
                "UPDATE meta SET value = 'null' WHERE key = 'chunk'",
                "chunks, though it was built with",
            ),
            (
                "UPDATE meta SET value = '[3, 3]' WHERE key = 'chunk'",
                "'chunk' in its table meta is n",
            ),
            (
                "UPDATE meta SET value = '[3]' WHERE key = 'chunk'",
                "'chunk' in its table meta is not",
            ),
            (
                "UPDATE meta SET value = '[true, 0]' WHERE key = 'chunk'",
                "'chunk' in its table meta",
            ),
            (
                "UPDATE meta SET value = '[3, 0' WHERE key = 'chunk'",
                "'chunk' in its table meta is n",
            ),
        ],
    )
    def test_chunks_that_are_not_what_was_written(
        self, index: Path, statement: str, message: str
    ) -> None:
        change(index / "index.sqlite", statement)
        with pytest.raises(CorruptIndexError, match=message):
            StoredIndex.open(index)

    def test_chunk_that_ends_beyond_its_document_is_not_handed_out(self, index: Path) -> None:
        change(index / "index.sqlite", "UPDATE chunks SET stop = 5 WHERE row = 5")
        with StoredIndex.open(index) as stored:
            assert stored.passages([4])[0].text == "abcab"
            with pytest.raises(
                CorruptIndexError, match="chunk 5 ends at character 5 of document 3, w"
            ):
                stored.passages([4, 5])

    def test_chunks_in_an_index_without_them(self, folder: Path) -> None:
        build(folder, documents())
        change(folder / "index.sqlite", "INSERT INTO chunks VALUES (0, 0, 0, 1)")
        with pytest.raises(CorruptIndexError, match="has chunks, though it was built without"):
            StoredIndex.open(folder)

    def test_damaged_chunks_of_an_unfinished_build_are_found_at_once(self, folder: Path) -> None:
        begin(folder, 1)
        change(folder / "building.sqlite", "DELETE FROM chunks WHERE row = 4")
        with pytest.raises(CorruptIndexError, match="chunk 5, of document 3"):
            IndexWriter.open(folder, PLAN, replace=False)
        build(folder, documents(), PLAN, replace=True)
        assert texts_in(folder) == CHUNK_TEXTS


def build_cut(folder: Path, texts: Iterable[str], cut: dict[int, int], size: int = 3) -> None:
    """Build without chunks; ``cut`` has the rows that were cut, and their tokens."""
    with IndexWriter.open(folder, plan_of(ENCODER), replace=False) as writer:
        writer.ingest(rows_of(texts), on_error="stop")
        for shard in writer.pending_shards(size):
            here = {row - shard.first_row: tokens for row, tokens in cut.items()}
            here = {i: tokens for i, tokens in here.items() if 0 <= i < len(shard.texts)}
            writer.commit(shard, ENCODER.encode(shard.texts), here)
        writer.finish()


class TestTruncation:
    def test_documents_that_were_cut_are_known(self, folder: Path) -> None:
        build_cut(folder, ["a", "b", "c", "ab", "ac"], {1: 812, 4: 513})
        with StoredIndex.open(folder) as stored:
            b, ac = stored.ids([1, 4])
            assert stored.truncated == {1, 4}
            assert stored.info()["truncated"] == 2
        with IndexWriter.open(folder, plan_of(ENCODER), replace=False) as writer:
            assert writer.facts.truncation.documents == 2
            assert writer.facts.truncation.first == ((b, 812), (ac, 513))
        assert json.loads((folder / "manifest.json").read_text("utf-8"))["truncated"] == 2

    def test_first_twenty_are_named(self, folder: Path) -> None:
        build_cut(folder, ["a"] * 30, {row: 1000 + row for row in range(5, 30)})
        with IndexWriter.open(folder, plan_of(ENCODER), replace=False) as writer:
            truncation = writer.facts.truncation
        assert truncation.documents == 25
        assert [tokens for _, tokens in truncation.first] == list(range(1005, 1025))

    def test_document_counts_once_by_its_longest_chunk(self, folder: Path) -> None:
        with IndexWriter.open(folder, PLAN, replace=False) as writer:
            writer.ingest(documents(), on_error="stop", spans=spans_of(PLAN))
            for number, shard in enumerate(writer.pending_shards(2)):
                # rows 1, 2 and 4: of "aa bb cc" (twice) and "abcabcab"
                cut = [{1: 12}, {0: 9}, {0: 7}][number]
                writer.commit(shard, ENCODER.encode(shard.texts), cut)
            writer.finish()
            assert writer.facts.truncation.first == (("d1", 12), ("d2", 7))

    def test_commit_that_was_interrupted_notes_nothing(self, folder: Path) -> None:
        with IndexWriter.open(folder, plan_of(ENCODER), replace=False) as writer:
            writer.ingest(rows_of("abc"), on_error="stop")
            shard = next(writer.pending_shards(2))
            change(folder / "building.sqlite", "DROP TABLE truncated")
            with pytest.raises(CorruptIndexError, match="no such table: truncated"):
                writer.commit(shard, ENCODER.encode(shard.texts), {0: 9})
            assert writer.done == 0
        assert table(folder / "building.sqlite", "segments") == []

    @pytest.mark.parametrize(
        "statement",
        [
            "INSERT INTO truncated VALUES (5, 600)",
            "INSERT INTO truncated VALUES (-1, 600)",
            "UPDATE truncated SET tokens = 'x'",
            "DROP TABLE truncated",
        ],
    )
    def test_damaged_table_is_refused(self, folder: Path, statement: str) -> None:
        build_cut(folder, ["a", "b", "c", "ab", "ac"], {1: 812})
        change(folder / "index.sqlite", statement)
        with pytest.raises(CorruptIndexError, match="truncated"):
            StoredIndex.open(folder)


class TestFormat1:
    """What an earlier version made is ours, cannot be read, and can be replaced."""

    MESSAGE = (
        "made by an earlier version.*format 1.*reads format 3; build the index again with --rep"
    )

    def test_finished_index_is_refused_and_can_be_replaced(self, folder: Path) -> None:
        build(folder, rows_of(["old"]))
        old = set(folder.glob("vectors-*"))
        change(folder / "index.sqlite", "PRAGMA user_version = 1")
        before = snapshot(folder)
        with pytest.raises(CorruptIndexError, match=self.MESSAGE):
            StoredIndex.open(folder)
        assert snapshot(folder) == before
        with pytest.raises(CorruptIndexError, match=self.MESSAGE):
            IndexWriter.open(folder, PLAN, replace=False)
        build(folder, documents(), PLAN, replace=True)
        assert texts_in(folder) == CHUNK_TEXTS
        assert not any(path.exists() for path in old)

    def test_unfinished_index_is_refused_and_can_be_replaced(self, folder: Path) -> None:
        interrupted_build(folder, 1)
        change(folder / "building.sqlite", "PRAGMA user_version = 1")
        with pytest.raises(CorruptIndexError, match=self.MESSAGE):
            IndexWriter.open(folder, PLAN, replace=False)
        with pytest.raises(UnfinishedIndexError):
            StoredIndex.open(folder)
        build(folder, documents(), PLAN, replace=True)
        assert texts_in(folder) == CHUNK_TEXTS
        assert len(list(folder.glob("vectors-*"))) == 2
