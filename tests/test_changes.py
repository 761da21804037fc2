from __future__ import annotations

import dataclasses
import shutil
import tempfile
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from test_store import (
    BAD,
    ENCODER,
    PLAN,
    TEXTS,
    build,
    interrupted_build,
    names_in,
    own,
    plan_of,
    rows_of,
    snapshot,
)
from toy_encoder import ToyEncoder

from simsearch.corpus import Row, RowProblem, content_id
from simsearch.errors import (
    CorpusError,
    CorruptIndexError,
    IndexBusyError,
    IndexNotFoundError,
    UnfinishedIndexError,
)
from simsearch.records import Document
from simsearch.search import Searcher
from simsearch.store import IndexEditor, IndexKeeper, IndexWriter, Passage, StoredIndex, reader
from simsearch.store.database import open_database

CORPUS = Path("追 加.csv")
CHUNKED = plan_of(ENCODER, "chunked", chunk=(2, 0))


def row(id_: str | None, text: str, **metadata: Any) -> Row:
    return Row(CORPUS, 1, id_, text, metadata)


def add(
    folder: Path,
    rows: Iterable[Row | RowProblem],
    size: int = 3,
    encoder: ToyEncoder = ENCODER,
) -> dict[str, int]:
    counts = {"new": 0, "replaced": 0, "relabelled": 0, "unchanged": 0, "encoded": 0}
    with IndexEditor.open(folder) as editor:
        editor.stage(rows, on_error="stop")
        chunk = editor.chunk
        spans = None if chunk is None else lambda texts: encoder.spans(texts, *chunk)
        for batch in editor.batches(spans, size):
            editor.commit(batch, encoder.encode(batch.texts))
            counts["new"] += len(batch.new) - len(batch.replaced)
            counts["replaced"] += len(batch.replaced)
            counts["relabelled"] += len(batch.relabelled)
            counts["unchanged"] += batch.unchanged
            counts["encoded"] += len(batch.texts)
    return counts


def delete(folder: Path, *ids: str) -> list[str]:
    with IndexEditor.open(folder) as editor:
        return editor.delete(ids)


def contents(folder: Path) -> dict[str, tuple[str, dict[str, Any]]]:
    """The documents that can be found, by id, each with a vector of its text."""
    found = {}
    with StoredIndex.open(folder) as stored:
        vectors = np.concatenate(stored.segments)
        for number, document in enumerate(stored.chunks.documents.tolist()):
            if document in stored.deleted:
                continue
            (passage,) = stored.passages([number])
            assert vectors[number].tobytes() == ENCODER.encode([passage.text]).tobytes()
            found[passage.document.id] = (passage.document.text, dict(passage.document.metadata))
        assert stored.count == len(found)
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "索 引"


@pytest.fixture
def index(folder: Path) -> Path:
    build(folder, [row("1", "a", n=1), row("2", "ab"), row("3", "b")])
    return folder


class TestAdd:
    def test_new_documents_are_found_and_the_old_ones_still(self, index: Path) -> None:
        assert add(index, [row("4", "ca", n=2), row(None, "好")])["new"] == 2
        assert contents(index) == {
            "1": ("a", {"n": 1}),
            "2": ("ab", {}),
            "3": ("b", {}),
            "4": ("ca", {"n": 2}),
            content_id("好"): ("好", {}),
        }

    def test_document_of_the_same_id_is_replaced_and_never_found_again(self, index: Path) -> None:
        assert add(index, [row("2", "cc")])["replaced"] == 1
        assert contents(index)["2"] == ("cc", {})
        with StoredIndex.open(index) as stored:
            assert stored.deleted == {1}
            with pytest.raises(CorruptIndexError, match="document 1 is missing"):
                stored.ids([1])

    def test_what_is_there_is_neither_encoded_nor_written(self, index: Path) -> None:
        before = snapshot(index)
        counts = add(index, [row("1", "a", n=1), row("3", "b")])
        assert counts == {"new": 0, "replaced": 0, "relabelled": 0, "unchanged": 2, "encoded": 0}
        assert {name: s for name, s in snapshot(index).items() if name != "."} == {
            name: s for name, s in before.items() if name != "."
        }

    def test_other_metadata_needs_no_new_vector(self, index: Path) -> None:
        counts = add(index, [row("1", "a", n=7)])
        assert (counts["relabelled"], counts["encoded"]) == (1, 0)
        assert contents(index)["1"] == ("a", {"n": 7})

    def test_the_same_text_without_an_id_is_there_already(self, folder: Path) -> None:
        build(folder, rows_of(["a", "b", "a"]))
        assert add(folder, rows_of(["c c", "a", "a", "a"]))["new"] == 2
        assert set(contents(folder)) == {
            *(content_id(text) for text in ("a", "b", "c c")),
            f"{content_id('a')}-2",
            f"{content_id('a')}-3",
        }

    def test_each_commit_is_a_generation(self, index: Path) -> None:
        add(index, [row(None, text) for text in TEXTS], size=4)
        with StoredIndex.open(index) as stored:
            assert stored.generation == 4

    def test_small_segments_are_folded_as_a_counter_carries(self, index: Path) -> None:
        lengths = []
        for number in range(8):
            add(index, [row(f"n{number}", "abc")])
            with StoredIndex.open(index) as stored:
                lengths.append([len(segment) for segment in stored.segments])
        assert lengths == [
            [3, 1],
            [3, 2],
            [3, 2, 1],
            [7],
            [7, 1],
            [7, 2],
            [7, 2, 1],
            [7, 4],
        ]
        assert len(names_in(index) - {"index.sqlite", "manifest.json", "writer.lock"}) == 2

    def test_documents_are_cut_into_chunks_as_the_index_is(self, folder: Path) -> None:
        build(folder, [row("x", "aa bb")], CHUNKED)
        add(folder, [row("y", "cab"), row("x", "b")])
        with StoredIndex.open(folder) as stored:
            assert stored.chunks.documents.tolist() == [0, 0, 0, 1, 1, 2]
            assert stored.deleted == {0}
            assert [p.text for p in stored.passages([3, 4, 5])] == ["ca", "b", "b"]
            assert stored.passages([4]) == [Passage(Document("y", "cab"), (2, 3))]

    def test_bad_rows_change_nothing(self, index: Path) -> None:
        before = contents(index)
        with pytest.raises(CorpusError, match="25 of 26"):
            add(index, [row("9", "c"), *BAD])
        with pytest.raises(CorpusError, match="duplicate id 'y', first at 追 加"):
            add(index, [row("y", "c"), row("y", "a")])
        assert contents(index) == before
        assert not any(name.startswith("ingest-") for name in names_in(index))

    def test_interrupted_it_goes_on_where_it_was(self, index: Path) -> None:
        rows = [own(line, f"n{line}", text) for line, text in enumerate(TEXTS)]
        with IndexEditor.open(index) as editor:
            editor.stage(rows, on_error="stop")
            for count, batch in enumerate(editor.batches(None, size=3)):
                if count == 2:
                    break
                editor.commit(batch, ENCODER.encode(batch.texts))
        assert len(contents(index)) == 9
        counts = add(index, rows)
        assert (counts["encoded"], counts["unchanged"]) == (4, 6)
        assert len(contents(index)) == 13

    def test_percentiles_come_with_the_second_document(self, folder: Path) -> None:
        build(folder, [row("1", "a")])
        add(folder, [row("2", "b"), row("3", "a")])
        with StoredIndex.open(folder) as stored:
            assert stored.background.tolist() == [0, 0, 1]

    def test_wrong_vectors_are_our_mistake_and_change_nothing(self, index: Path) -> None:
        before = contents(index)
        with IndexEditor.open(index) as editor:
            editor.stage([row("4", "c")], on_error="stop")
            (batch,) = editor.batches(None)
            with pytest.raises(ValueError, match="not of length 1"):
                editor.commit(batch, np.ones((1, 4), np.float32))
        assert contents(index) == before


class TestTextsThatRepeat:
    ROWS = (row("1", "a"), row("2", "b"), row("3", "a", n=1), row("4", "b"))

    def ingested(self, folder: Path, duplicates: Any) -> dict[str, Any]:
        with IndexWriter.open(folder, PLAN, replace=True) as writer:
            report = writer.ingest(self.ROWS, on_error="skip", duplicates=duplicates)
            for shard in writer.pending_shards():
                writer.commit(shard, ENCODER.encode(shard.texts))
            writer.finish()
        return {"ids": list(contents(folder)), **dataclasses.asdict(report)}

    def test_they_are_kept_collapsed_or_refused(self, folder: Path) -> None:
        nothing = {"collapsed": 0, "skipped": 0, "problems": ()}
        kept = self.ingested(folder, "keep")
        assert kept == {"ids": ["1", "2", "3", "4"], "documents": 4, **nothing}
        collapsed = self.ingested(folder, "collapse")
        assert collapsed == {"ids": ["1", "2"], "documents": 2, **nothing, "collapsed": 2}
        refused = self.ingested(folder, "refuse")
        assert (refused["ids"], refused["skipped"]) == (["1", "2"], 2)
        assert refused["problems"][0] == "追 加.csv:1: the text is that of 追 加.csv:1"

    def test_adding_collapses_what_repeats_among_the_new_rows(self, index: Path) -> None:
        with IndexEditor.open(index) as editor:
            report = editor.stage([row("7", "c"), row("8", "c")], "stop", "collapse")
        assert (report.documents, report.collapsed) == (1, 1)


class TestDelete:
    def test_deleted_documents_are_gone_and_missing_ids_are_named(self, index: Path) -> None:
        assert delete(index, "2", "7", "2", "7") == ["7"]
        assert set(contents(index)) == {"1", "3"}
        with StoredIndex.open(index) as stored:
            assert (stored.count, stored.generation) == (2, 2)

    def test_deleting_nothing_is_no_commit(self, index: Path) -> None:
        before = snapshot(index)["index.sqlite"][1]
        assert delete(index, "7") == ["7"]
        assert snapshot(index)["index.sqlite"][1] == before

    def test_deleted_id_can_be_given_again(self, index: Path) -> None:
        delete(index, "2")
        add(index, [row("2", "ab")])
        assert contents(index)["2"] == ("ab", {})

    def test_all_documents_may_go_and_others_come(self, index: Path) -> None:
        delete(index, "1", "2", "3")
        assert contents(index) == {}
        with Searcher(ENCODER, StoredIndex.open(index)) as searcher:
            assert searcher.query("a") == []
            with IndexKeeper.open(index) as keeper:
                keeper.optimize()
            assert searcher.query("a") == []
            add(index, [row("4", "a")])
            assert [hit.id for hit in searcher.query("a")] == ["4"]

    def test_truncation_of_a_deleted_document_is_forgotten(self, folder: Path) -> None:
        with IndexWriter.open(folder, PLAN, replace=False) as writer:
            writer.ingest([row("1", "abc"), row("2", "a")], on_error="stop")
            for shard in writer.pending_shards():
                writer.commit(shard, ENCODER.encode(shard.texts), {0: 3})
            writer.finish()
        delete(folder, "1")
        with StoredIndex.open(folder) as stored:
            assert stored.truncated == frozenset()


class TestEditor:
    def test_there_must_be_a_finished_index(self, tmp_path: Path, folder: Path) -> None:
        with pytest.raises(IndexNotFoundError, match="does not exist"):
            IndexEditor.open(tmp_path / "无")
        assert not (tmp_path / "无").exists()
        interrupted_build(folder, 1)
        with pytest.raises(UnfinishedIndexError):
            IndexEditor.open(folder)

    def test_second_writer_is_refused(self, index: Path) -> None:
        with IndexEditor.open(index):
            with pytest.raises(IndexBusyError, match="another process"):
                IndexEditor.open(index)
            with pytest.raises(IndexBusyError):
                IndexWriter.open(index, PLAN, replace=True)

    def test_garbage_of_a_killed_writer_is_swept(self, index: Path) -> None:
        (index / "ingest-0123456789abcdef.sqlite").write_bytes(b"x")
        (index / "vectors-0123456789abcdef.f32").write_bytes(b"x")
        names = names_in(index)
        delete(index, "1")
        assert len(names - names_in(index)) == 2


class TestReaders:
    def test_open_searcher_finds_what_was_committed_since(self, index: Path) -> None:
        with Searcher(ENCODER, StoredIndex.open(index)) as searcher:
            assert [hit.id for hit in searcher.query("cc", 1)] == ["1"]
            add(index, [row("4", "c")])
            assert [hit.id for hit in searcher.query("cc", 1)] == ["4"]
            delete(index, "4")
            assert [hit.id for hit in searcher.query("cc")] == ["1", "2", "3"]
            assert searcher.info()["count"] == 3

    def test_open_searcher_follows_a_new_build(self, index: Path) -> None:
        with Searcher(ENCODER, StoredIndex.open(index)) as searcher:
            build(index, rows_of(["cc"]), plan_of(ENCODER, "new"), replace=True)
            assert [hit.text for hit in searcher.query("a")] == ["cc"]

    def test_a_build_that_ends_between_a_look_and_the_reading_is_followed(
        self, index: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        looked = []

        def look(path: Path) -> tuple[int, int]:
            found = reader_inode(path)
            if not looked:
                looked.append(found)  # after this a commit, and a build that sweeps its segments
                add(index, [row("4", "c")])
                build(index, rows_of(["cc"]), plan_of(ENCODER, "new"), replace=True)
            return found

        reader_inode = reader._inode
        with Searcher(ENCODER, StoredIndex.open(index)) as searcher:
            monkeypatch.setattr(reader, "_inode", look)
            assert [hit.text for hit in searcher.query("a")] == ["cc"]
        assert looked

    def test_segments_that_are_known_stay_mapped(self, index: Path) -> None:
        with StoredIndex.open(index) as stored:
            before = stored.segments[0]
            add(index, [row("4", "c")])
            with stored.reading():
                assert stored.segments[0] is before
                assert len(stored.segments) == 2

    def test_writer_waits_for_a_search_and_the_search_sees_one_state(self, index: Path) -> None:
        with StoredIndex.open(index) as stored, stored.reading():
            with closing(open_database(index / "index.sqlite", "rw")) as other:
                other.set_busy_timeout(0)
                with pytest.raises(Exception, match="lock"):
                    other.execute("DELETE FROM documents")
            assert stored.ids([0]) == ["1"]


class AnyChanges(RuleBasedStateMachine):
    """Any adds and deletes, against a dictionary; one reader stays open throughout."""

    ids = st.sampled_from(["a", "b", "c", "d", None])
    texts = st.text("abc好 ", min_size=1, max_size=4).filter(str.strip)

    @initialize(texts=st.lists(texts, min_size=1, max_size=4, unique=True))
    def begin(self, texts: list[str]) -> None:
        self.root = Path(tempfile.mkdtemp())
        self.folder = self.root / "索引"
        build(self.folder, rows_of(texts))
        self.model: dict[str, tuple[str, dict[str, Any]]] = {
            content_id(text): (text, {}) for text in texts
        }
        self.searcher = Searcher(ENCODER, StoredIndex.open(self.folder))

    @rule(
        rows=st.lists(
            st.tuples(ids, texts, st.sampled_from([{}, {"n": 1}])), min_size=1, max_size=5
        ),
        size=st.integers(1, 3),
    )
    def add(self, rows: list[tuple[str | None, str, dict[str, Any]]], size: int) -> None:
        unique = {
            id_ if id_ is not None else content_id(text): (id_, text, data)
            for id_, text, data in rows
        }
        add(self.folder, [Row(CORPUS, 1, i, text, data) for i, text, data in unique.values()], size)
        for key, (_, text, data) in unique.items():
            self.model[key] = (text, data)

    @rule(ids=st.lists(ids.filter(bool), max_size=3), data=st.data())
    def delete(self, ids: list[str], data: st.DataObject) -> None:
        if self.model:
            ids = [*ids, data.draw(st.sampled_from(sorted(self.model)))]
        if ids:
            missing = delete(self.folder, *ids)
            assert missing == [i for i in dict.fromkeys(ids) if i not in self.model]
            for id_ in ids:
                self.model.pop(id_, None)

    @invariant()
    def agrees(self) -> None:
        assert contents(self.folder) == self.model
        hits = self.searcher.query("ab", k=100)
        assert {hit.id: (hit.text, dict(hit.metadata)) for hit in hits} == self.model

    def teardown(self) -> None:
        self.searcher.close()
        shutil.rmtree(self.root)


AnyChanges.TestCase.settings = settings(max_examples=15, stateful_step_count=12, deadline=None)
TestAnyChangesAgainstADictionary = AnyChanges.TestCase
