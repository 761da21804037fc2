from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_encoder import ToyEncoder

from simsearch.corpus import Row, RowProblem, content_id
from simsearch.errors import (
    CorpusError,
    CorruptIndexError,
    IndexBusyError,
    IndexNotFoundError,
    StoreError,
    UnfinishedIndexError,
)
from simsearch.records import Document
from simsearch.store import BuildPlan, IndexWriter, Passage, Spans, StoredIndex, database
from simsearch.store.database import open_database
from simsearch.store.meta import Meta
from simsearch.store.segments import segment_rows

CORPUS = Path("语 料.txt")
TEXTS = ["a", "ab", "b", "abc", "cab", "c c", "你好", "aa", "bc", "ca"]


class Interrupted(Exception):
    """What a test raises in the middle of a build."""


def rows_of(texts: Iterable[str]) -> Iterator[Row]:
    return (Row(CORPUS, line, None, text, {}) for line, text in enumerate(texts, start=1))


def own(line: int, id_: str, text: str = "a") -> Row:
    return Row(CORPUS, line, id_, text, {})


def plan_of(
    encoder: ToyEncoder,
    inputs: str = "TEXTS",
    pooling: str = "mean",
    chunk: tuple[int, int] | None = None,
) -> BuildPlan:
    return BuildPlan(
        inputs=inputs,
        identity=encoder.identity,
        fingerprint=encoder.fingerprint,
        settings={"model": "toy", "pooling": pooling},
        dim=encoder.dim,
        chunk=chunk,
    )


ENCODER = ToyEncoder()
PLAN = plan_of(ENCODER)
NEW = plan_of(ENCODER, "new")
NEW_TEXTS = ["a ca", "b"]
NEW_IN_CHUNKS = plan_of(ENCODER, "new", chunk=(2, 0))  # "a ", "ca", "b"


def spans_of(plan: BuildPlan) -> Spans | None:
    chunk = plan.chunk
    return None if chunk is None else lambda texts: ENCODER.spans(texts, *chunk)


def encode_pending(writer: IndexWriter, size: int = 3, stop_after: int | None = None) -> None:
    for count, shard in enumerate(writer.pending_shards(size)):
        if count == stop_after:
            raise Interrupted
        writer.commit(shard, ENCODER.encode(shard.texts))


def build(
    folder: Path,
    rows: Iterable[Row | RowProblem] | None = None,
    plan: BuildPlan = PLAN,
    *,
    replace: bool = False,
    stop_after: int | None = None,
) -> None:
    with IndexWriter.open(folder, plan, replace=replace) as writer:
        if writer.finished:
            return
        if not writer.ingested:
            rows = rows_of(TEXTS) if rows is None else rows
            writer.ingest(rows, on_error="skip", spans=spans_of(plan))
        encode_pending(writer, stop_after=stop_after)
        writer.finish()


@pytest.mark.parametrize(
    ("total", "rows"),
    [(1, 2048), (65_536, 2048), (100_000, 3125), (524_288, 16_384), (10_000_000, 16_384)],
)
def test_an_interruption_costs_a_thirty_second_or_a_file(total: int, rows: int) -> None:
    assert segment_rows(total) == rows


def interrupted_build(folder: Path, shards: int, plan: BuildPlan = PLAN, **options: Any) -> None:
    with pytest.raises(Interrupted):
        build(folder, plan=plan, stop_after=shards, **options)


def texts_in(folder: Path) -> list[str]:
    """The texts that the vectors were made from."""
    with StoredIndex.open(folder) as stored:
        return [passage.text for passage in stored.passages(range(stored.rows))]


def vector_bytes(folder: Path) -> bytes:
    with StoredIndex.open(folder) as stored:
        return b"".join(segment.tobytes() for segment in stored.segments)


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.iterdir()
    } | {".": (folder.stat().st_mtime_ns, b"")}


def change(database: Path, statement: str, *values: object) -> None:
    with closing(open_database(database, "rw")) as connection:
        connection.execute(statement, values)


def a_segment(folder: Path) -> Path:
    return min(folder.glob("vectors-*.f32"))


def run_python(code: str, *arguments: object) -> int:
    """The exit status of ``code``, run in a process of its own; negative for a signal."""
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], env={**os.environ, "PYTHONPATH": paths}
    ).returncode


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "新 建" / "索引 #1 100%?"


@pytest.fixture
def index(folder: Path) -> Path:
    build(folder)
    return folder


class TestRoundTrip:
    def test_documents_vectors_and_facts_come_back(self, index: Path) -> None:
        with StoredIndex.open(index) as stored:
            assert stored.count == 10
            assert stored.passages([9, 0]) == [
                Passage(Document(content_id("ca"), "ca"), None),
                Passage(Document(content_id("a"), "a"), None),
            ]
            assert stored.ids([1]) == [content_id("ab")]
            assert [len(segment) for segment in stored.segments] == [3, 3, 3, 1]
            assert np.concatenate(stored.segments).tobytes() == ENCODER.encode(TEXTS).tobytes()
            assert (stored.dim, stored.kind, stored.generation) == (4, "flat", 1)
            assert stored.identity == {"letters": "abc", "normalised": True}
            assert stored.fingerprint == ENCODER.fingerprint
            assert stored.settings == {"model": "toy", "pooling": "mean"}
            assert stored.deleted == frozenset()
            assert len(stored.background) == 45  # all pairs of 10

    def test_info_has_what_the_command_prints(self, index: Path) -> None:
        with StoredIndex.open(index) as stored:
            info = stored.info()
        created, measured = info.pop("created"), info.pop("measured")
        assert (measured["recall_at_10"], measured["memory_bytes"]) == (1.0, 160)
        assert created.endswith("+00:00")
        assert info == {
            "count": 10,
            "dim": 4,
            "kind": "flat",
            "fingerprint": ENCODER.fingerprint,
            "generation": 1,
            "recall_at_10": 1.0,
            "bytes": (index / "index.sqlite").stat().st_size + 10 * (4 + 1) * 4,
            "model": "toy",
            "pooling": "mean",
            "layers": None,
            "max_length": None,
            "whitening": None,
            "segments": 4,
            "chunk": None,
            "chunks": 10,
            "truncated": 0,
            "deleted": 0,
            "index": {
                "kind": "flat",
                "rows": 10,
                "dim": 4,
                "memory_bytes": 160,
                "cells": None,
                "dims_per_code": None,
            },
            "outgrown": None,
        }

    def test_folder_holds_these_files_and_no_other(self, index: Path) -> None:
        names = names_in(index)
        segments = {name for name in names if name.startswith("vectors-")}
        assert len(segments) == 4
        assert names - segments == {"index.sqlite", "manifest.json", "writer.lock"}

    def test_manifest_says_that_it_is_a_copy_and_is_not_read(self, index: Path) -> None:
        manifest = json.loads((index / "manifest.json").read_text("utf-8"))
        assert "never this file" in manifest["note"]
        assert manifest["count"] == 10
        assert manifest["identity"] == {"letters": "abc", "normalised": True}
        assert [segment["first_row"] for segment in manifest["segments"]] == [0, 3, 6, 9]
        (index / "manifest.json").unlink()
        assert texts_in(index) == TEXTS

    def test_opening_changes_nothing_in_the_folder(self, index: Path) -> None:
        before = snapshot(index)
        with StoredIndex.open(index) as stored:
            stored.passages([0])
            stored.info()
            assert names_in(index) == set(before) - {"."}
        assert snapshot(index) == before
        assert not any(segment.flags.writeable for segment in stored.segments)

    @pytest.mark.skipif(
        not hasattr(os, "geteuid") or os.geteuid() == 0,
        reason="permissions do not bind root, and Windows has others",
    )
    def test_read_only_folder_opens(self, index: Path) -> None:
        index.chmod(0o500)
        assert texts_in(index) == TEXTS

    def test_several_threads_read_at_once(self, index: Path) -> None:
        found: list[list[Passage]] = []
        with StoredIndex.open(index) as stored:
            threads = [
                threading.Thread(target=lambda: found.append(stored.passages(range(10))))
                for _ in range(8)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert [[passage.text for passage in answer] for answer in found] == [TEXTS] * 8

    json_values = st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        # surrogates are no characters: corpus files with lone ones are refused
        | st.text(st.characters(exclude_categories=("Cs",))),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.text(st.characters(exclude_categories=("Cs",))), inner, max_size=3)
        ),
        max_leaves=8,
    )

    @settings(max_examples=40, deadline=None)
    @given(
        rows=st.lists(
            st.tuples(
                st.text(st.characters(exclude_categories=("Cs",)), min_size=1),
                st.dictionaries(
                    st.text(st.characters(exclude_categories=("Cs",))), json_values, max_size=3
                ),
            ),
            min_size=1,
            max_size=12,
        )
    )
    def test_any_documents_come_back_identical_and_in_order(
        self, tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, dict[str, Any]]]
    ) -> None:
        folder = tmp_path_factory.mktemp("any") / "index"
        build(
            folder,
            [Row(CORPUS, line, None, text, data) for line, (text, data) in enumerate(rows, 1)],
        )
        with StoredIndex.open(folder) as stored:
            documents = [passage.document for passage in stored.passages(range(stored.rows))]
            vectors = np.concatenate(stored.segments)
        shutil.rmtree(folder)
        assert [(document.text, document.metadata) for document in documents] == rows
        assert len({document.id for document in documents}) == len(rows)
        assert vectors.tobytes() == ENCODER.encode([text for text, _ in rows]).tobytes()


class TestIds:
    def ids(self, folder: Path, rows: Iterable[Row]) -> list[str]:
        build(folder, rows)
        with StoredIndex.open(folder) as stored:
            return stored.ids(range(stored.count))

    def test_repeats_of_a_text_are_numbered_from_two(self, folder: Path) -> None:
        a, b = content_id("a"), content_id("b")
        rows = rows_of(["a", "b", "a", "a", "b"])
        assert self.ids(folder, rows) == [a, b, f"{a}-2", f"{a}-3", f"{b}-2"]

    def test_numbers_step_over_own_ids(self, folder: Path) -> None:
        a = content_id("a")
        rows = [own(1, f"{a}-2"), own(2, a), *rows_of(["a", "a"])]
        assert self.ids(folder, rows) == [f"{a}-2", a, f"{a}-3", f"{a}-4"]

    def test_one_text_may_repeat_many_thousand_times(self, folder: Path) -> None:
        # searching the free number from 2 each time would take 200 million steps
        with IndexWriter.open(folder, PLAN, replace=False) as writer:
            report = writer.ingest(rows_of(["a"] * 20_000), on_error="stop")
        assert report.documents == 20_000
        with closing(open_database(folder / "building.sqlite", "ro")) as connection:
            ((last,),) = connection.execute("SELECT id FROM documents WHERE number = 19999")
        assert last == f"{content_id('a')}-20000"

    def test_own_id_twice_names_both_places(self, folder: Path) -> None:
        rows = [own(1, "x"), own(2, "y"), Row(Path("b.tsv"), 7, "x", "c", {})]
        with (
            IndexWriter.open(folder, PLAN, replace=False) as writer,
            pytest.raises(CorpusError, match=r"1 of 3 rows") as caught,
        ):
            writer.ingest(rows, on_error="stop")
        assert "b.tsv:7: duplicate id 'x', first at 语 料.txt:1" in str(caught.value)
        assert "--on-error skip" in str(caught.value)


BAD = [RowProblem(CORPUS, line, f"bad {line}") for line in range(2, 27)]  # 25 of them


class TestIngestProblems:
    def test_skipping_reports_the_count_and_the_first_twenty(self, folder: Path) -> None:
        with IndexWriter.open(folder, PLAN, replace=False) as writer:
            report = writer.ingest([own(1, "x"), *BAD, own(30, "y")], on_error="skip")
            assert (writer.total, writer.done) == (2, 0)
        assert (report.documents, report.skipped) == (2, 25)
        assert report.problems == tuple(f"语 料.txt:{line}: bad {line}" for line in range(2, 22))

    def test_stopping_reads_everything_and_leaves_nothing_behind(self, folder: Path) -> None:
        rows = iter([own(1, "x"), *BAD, own(30, "y")])
        with (
            IndexWriter.open(folder, PLAN, replace=False) as writer,
            pytest.raises(CorpusError, match=r"25 of 27 rows cannot be used") as caught,
        ):
            writer.ingest(rows, on_error="stop")
        assert next(rows, None) is None
        assert "语 料.txt:21: bad 21\n  and 5 more\n" in str(caught.value)
        assert "bad 22" not in str(caught.value)
        assert not folder.parent.exists()  # created for it, like the folder itself

    def test_empty_folder_that_was_there_stays_and_is_empty(self, tmp_path: Path) -> None:
        with (
            IndexWriter.open(tmp_path, PLAN, replace=False) as writer,
            pytest.raises(CorpusError, match="no row that can be used"),
        ):
            writer.ingest([], on_error="skip")
        assert names_in(tmp_path) == set()

    def test_only_bad_rows_are_no_corpus_even_when_skipping(self, folder: Path) -> None:
        with (
            IndexWriter.open(folder, PLAN, replace=False) as writer,
            pytest.raises(CorpusError, match=r"no row that can be used.*\n.*bad 2\n"),
        ):
            writer.ingest(BAD, on_error="skip")
        assert not folder.exists()

    def test_failing_corpus_leaves_the_old_index_as_it_was(self, index: Path) -> None:
        before = snapshot(index)
        with IndexWriter.open(index, plan_of(ENCODER, "other"), replace=True) as writer:
            for _ in range(2):  # and it may be tried again
                with pytest.raises(CorpusError):
                    writer.ingest([own(1, "x"), own(2, "x")], on_error="stop")
        after = snapshot(index)
        assert after.pop(".") != before.pop(".")
        assert after.pop("writer.lock")
        before.pop("writer.lock")
        assert after == before


class TestWriterStates:
    def test_same_plan_on_a_finished_index_is_finished(self, index: Path) -> None:
        before = vector_bytes(index)
        with IndexWriter.open(index, PLAN, replace=False) as writer:
            assert writer.finished
            assert writer.ingested
            assert (writer.done, writer.total) == (10, 10)
            with pytest.raises(ValueError, match="no build is under way"):
                writer.finish()
            with pytest.raises(ValueError, match="has its documents already"):
                writer.ingest(rows_of(TEXTS), on_error="stop")
        assert vector_bytes(index) == before

    @pytest.mark.parametrize(
        ("plan", "difference"),
        [
            (plan_of(ENCODER, "other files"), r"the corpus \(its files or columns\)"),
            (plan_of(ENCODER, pooling="cls"), 'pooling: index "mean", given "cls"'),
            (plan_of(ToyEncoder("abd")), 'letters: index "abc", given "abd"'),
        ],
    )
    def test_another_plan_is_refused_with_what_differs(
        self, folder: Path, plan: BuildPlan, difference: str
    ) -> None:
        interrupted_build(folder, shards=1)
        with pytest.raises(StoreError, match=f"(?s)unfinished.*{difference}.*--replace"):
            IndexWriter.open(folder, plan, replace=False)
        build(folder)
        with pytest.raises(StoreError, match=f"(?s){difference}.*--replace.*simsearch add"):
            IndexWriter.open(folder, plan, replace=False)
        assert texts_in(folder) == TEXTS

    def test_replacing_keeps_the_old_index_answering_until_the_end(self, index: Path) -> None:
        other = plan_of(ENCODER, "other")
        with IndexWriter.open(index, other, replace=True) as writer:
            assert not writer.finished
            assert not writer.ingested
            writer.ingest(rows_of(["b", "c"]), on_error="stop")
            assert texts_in(index) == TEXTS
            encode_pending(writer)
            with StoredIndex.open(index) as old:
                writer.finish()
                # whoever has it open keeps it
                assert [passage.text for passage in old.passages(range(10))] == TEXTS
                assert np.concatenate(old.segments).tobytes() == ENCODER.encode(TEXTS).tobytes()
        assert texts_in(index) == ["b", "c"]
        with StoredIndex.open(index) as stored:
            assert stored.generation == 2
        assert len(list(index.glob("vectors-*"))) == 1

    def test_replacing_with_the_same_plan_builds_anew(self, index: Path) -> None:
        build(index, replace=True)
        with StoredIndex.open(index) as stored:
            assert stored.generation == 2
        assert texts_in(index) == TEXTS

    def test_interrupted_replacement_leaves_the_old_and_resumes(self, index: Path) -> None:
        other = plan_of(ENCODER, "other")
        interrupted_build(index, 2, other, rows=rows_of(TEXTS[::-1]), replace=True)
        assert texts_in(index) == TEXTS
        build(index)  # the old plan: finished, and the unfinished one is kept
        with IndexWriter.open(index, other, replace=True) as writer:
            assert writer.ingested
            assert (writer.done, writer.total) == (6, 10)
            encode_pending(writer)
            writer.finish()
        assert texts_in(index) == TEXTS[::-1]
        assert "building.sqlite" not in names_in(index)

    def test_replacing_gives_up_the_unfinished_build_of_another_plan(self, folder: Path) -> None:
        interrupted_build(folder, shards=2)
        old = set(folder.glob("vectors-*"))
        with IndexWriter.open(folder, plan_of(ENCODER, "other"), replace=True) as writer:
            assert not writer.ingested
            writer.ingest(rows_of(["b"]), on_error="stop")
            assert not any(path.exists() for path in old)
            encode_pending(writer)
            writer.finish()
        assert texts_in(folder) == ["b"]

    @pytest.mark.parametrize("name", ["notes.txt", ".hidden", "vectors-0123456789abcdef.f32"])
    @pytest.mark.parametrize("replace", [False, True])
    def test_folder_with_other_things_is_never_touched(
        self, tmp_path: Path, name: str, replace: bool
    ) -> None:
        (tmp_path / name).write_text("mine")
        before = snapshot(tmp_path)
        with pytest.raises(StoreError, match=f"{name}.*never touched"):
            IndexWriter.open(tmp_path, PLAN, replace=replace)
        assert snapshot(tmp_path) == before

    def test_file_in_place_of_the_folder_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("mine")
        with pytest.raises(StoreError, match="is a file"):
            IndexWriter.open(tmp_path / "file", PLAN, replace=True)
        with pytest.raises(StoreError, match="cannot be written"):
            IndexWriter.open(tmp_path / "file" / "below", PLAN, replace=True)
        assert (tmp_path / "file").read_text() == "mine"

    def test_foreign_files_beside_an_index_survive_and_garbage_does_not(self, index: Path) -> None:
        foreign = ["notes.txt", "vectors-old.f32", "vectors-0123456789ABCDEF.f32", "说明.md"]
        garbage = [
            "vectors-0123456789abcdef.f32",
            "vectors-0123456789abcdef.f32.tmp",
            "ingest-0123456789abcdef.sqlite",
            "ingest-0123456789abcdef.sqlite-journal",
            "manifest.json.tmp",
        ]
        for name in foreign + garbage:
            (index / name).write_text("x")
        (index / "vectors-00000000000000ff.f32").mkdir()
        build(index)
        names = names_in(index)
        assert names.issuperset([*foreign, "vectors-00000000000000ff.f32"])
        assert names.isdisjoint(garbage)
        build(index, replace=True)
        assert names_in(index).issuperset(foreign)
        assert texts_in(index) == TEXTS

    def test_second_writer_is_refused_until_the_first_ends(self, folder: Path) -> None:
        with IndexWriter.open(folder, PLAN, replace=False) as writer:
            writer.ingest(rows_of(TEXTS), on_error="stop")
            with pytest.raises(IndexBusyError, match="being written by another process"):
                IndexWriter.open(folder, PLAN, replace=True)
        build(folder)
        assert texts_in(folder) == TEXTS

    def test_wrong_vectors_are_our_mistake_and_are_not_stored(self, folder: Path) -> None:
        with IndexWriter.open(folder, PLAN, replace=False) as writer:
            writer.ingest(rows_of(TEXTS), on_error="stop")
            shard = next(writer.pending_shards(3))
            good = ENCODER.encode(shard.texts)
            for wrong, message in [
                (good.astype(np.float64), "float64"),
                (good[:2], r"\(2, 4\).*\(3, 4\)"),
                (good * np.float32(1.01), "not of length 1.*row 0 .*1.01"),
                (np.where([[True], [False], [True]], good, np.float32("nan")), "row 1 .*nan"),
                (np.where([[True], [True], [False]], good, np.float32("inf")), "row 2 .*inf"),
            ]:
                with pytest.raises(ValueError, match=message):
                    writer.commit(shard, wrong)
            writer.commit(shard, good)
            with pytest.raises(ValueError, match="row 0; row 3 is next"):
                writer.commit(shard, good)
            with pytest.raises(ValueError, match="3 of 10 texts"):
                writer.finish()
        assert len(list(folder.glob("vectors-*"))) == 1

    def test_plan_with_a_wrong_fingerprint_is_our_mistake(self, folder: Path) -> None:
        with pytest.raises(ValueError, match="not that of its identity"):
            IndexWriter.open(folder, dataclasses.replace(PLAN, fingerprint="0" * 64), replace=False)
        assert not folder.exists()


class TestInterruption:
    @pytest.mark.parametrize("shards", [0, 1, 2, 3])
    def test_resumed_build_equals_an_uninterrupted_one(self, tmp_path: Path, shards: int) -> None:
        build(tmp_path / "at once")
        folder = tmp_path / "in two runs"
        interrupted_build(folder, shards)
        with IndexWriter.open(folder, PLAN, replace=False) as writer:
            assert writer.ingested
            assert (writer.done, writer.total) == (3 * shards, 10)
            encode_pending(writer)
            writer.finish()
        assert vector_bytes(folder) == vector_bytes(tmp_path / "at once")
        assert texts_in(folder) == TEXTS

    def test_reader_says_how_far_an_interrupted_build_got(self, folder: Path) -> None:
        interrupted_build(folder, shards=2)
        before = snapshot(folder)
        with pytest.raises(
            UnfinishedIndexError, match=r"6 of 10 documents.*same `simsearch build`"
        ):
            StoredIndex.open(folder)
        assert snapshot(folder) == before

    def test_interrupted_ingestion_leaves_nothing(self, folder: Path) -> None:
        def rows() -> Iterator[Row]:
            yield own(1, "x")
            raise Interrupted

        with IndexWriter.open(folder, PLAN, replace=False) as writer, pytest.raises(Interrupted):
            writer.ingest(rows(), on_error="stop")
        assert not folder.exists()

    def test_lost_segment_of_an_unfinished_build_is_found_at_once(self, folder: Path) -> None:
        interrupted_build(folder, shards=2)
        a_segment(folder).unlink()
        with pytest.raises(CorruptIndexError, match=r"missing.*--replace"):
            IndexWriter.open(folder, PLAN, replace=False)
        build(folder, replace=True)
        assert texts_in(folder) == TEXTS

    # Run in a process of its own: one child after the other is killed (SIGKILL) at the 1st, 2nd,
    # 3rd ... operation on files of a build, each in a copy of the folder, until one gets through.
    KILLED_AT_EVERY_STEP = """
import os, shutil, signal, sys
from pathlib import Path
import test_store

def watch(step):
    def hook(event, arguments):
        nonlocal step
        if event in ("open", "os.rename", "os.remove", "os.mkdir"):
            step -= 1
            if step == 0:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(hook)

root, start, plan = Path(sys.argv[1]), Path(sys.argv[2]), getattr(test_store, sys.argv[3])
status, step = None, 0
while status != 0:
    step += 1
    if start.exists():
        shutil.copytree(start, root / str(step))
    child = os.fork()
    if child == 0:
        watch(step)
        rows = test_store.rows_of(test_store.NEW_TEXTS)
        test_store.build(root / str(step), rows, plan, replace=True)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert status in (0, signal.SIGKILL), status
"""

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
    @pytest.mark.parametrize(
        ("plan", "texts", "with_old_index"),
        [
            ("NEW", NEW_TEXTS, False),
            ("NEW", NEW_TEXTS, True),
            ("NEW_IN_CHUNKS", ["a ", "ca", "b"], True),
        ],
    )
    def test_killed_at_any_step_it_is_old_or_new_or_unfinished_and_resumes(
        self, tmp_path: Path, plan: str, texts: list[str], with_old_index: bool
    ) -> None:
        root, start = tmp_path / "杀 掉", tmp_path / "start"
        root.mkdir()
        if with_old_index:
            build(start)
        assert run_python(self.KILLED_AT_EVERY_STEP, root, start, plan) == 0
        killed = list(root.iterdir())
        assert len(killed) > 15  # 13 and more operations: lock, database, 1 segment, manifest
        outcomes = set()
        for folder in killed:
            outcome = self.outcome(folder, texts)
            outcomes.add(outcome)
            build(folder, rows_of(NEW_TEXTS), globals()[plan], replace=outcome != "new")
            assert texts_in(folder) == texts
            assert vector_bytes(folder) == ENCODER.encode(texts).tobytes()
            segments = {name for name in names_in(folder) if name.startswith("vectors-")}
            assert len(segments) == 1
            assert names_in(folder) - segments == {"index.sqlite", "manifest.json", "writer.lock"}
        assert outcomes == ({"old", "new"} if with_old_index else {"none", "unfinished", "new"})

    def outcome(self, folder: Path, new_texts: list[str]) -> str:
        try:
            texts = texts_in(folder)
        except IndexNotFoundError:
            return "none"
        except UnfinishedIndexError:
            return "unfinished"
        assert texts in (TEXTS, new_texts)
        return "old" if texts == TEXTS else "new"

    @pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows kills otherwise")
    def test_killed_after_two_commits_it_resumes_to_the_same_bytes(self, tmp_path: Path) -> None:
        build(tmp_path / "at once")
        folder = tmp_path / "killed"
        code = (
            "import os, signal, sys; from pathlib import Path; import test_store as t\n"
            "with t.IndexWriter.open(Path(sys.argv[1]), t.PLAN, replace=False) as writer:\n"
            "    writer.ingest(t.rows_of(t.TEXTS), on_error='stop')\n"
            "    for count, shard in enumerate(writer.pending_shards(3)):\n"
            "        if count == 2: os.kill(os.getpid(), signal.SIGKILL)\n"
            "        writer.commit(shard, t.ENCODER.encode(shard.texts))\n"
        )
        assert run_python(code, folder) == -signal.SIGKILL
        with pytest.raises(UnfinishedIndexError, match="6 of 10"):
            StoredIndex.open(folder)
        build(folder)
        assert vector_bytes(folder) == vector_bytes(tmp_path / "at once")
        assert texts_in(folder) == texts_in(tmp_path / "at once")

    @pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows kills otherwise")
    @pytest.mark.parametrize("plan", [PLAN, NEW])
    def test_transaction_that_was_killed_half_way_is_rolled_back(
        self, folder: Path, plan: BuildPlan
    ) -> None:
        interrupted_build(folder, 1, rows=rows_of(TEXTS * 2000))
        code = (
            "import os, signal, sys; from pathlib import Path\n"
            "from simsearch.store.database import open_database\n"
            "connection = open_database(Path(sys.argv[1]), 'rw')\n"
            "connection.execute('PRAGMA cache_size = 1')\n"  # so that pages are written before
            "connection.execute('BEGIN')\n"
            "connection.execute('UPDATE documents SET text = text || text')\n"
            "os.kill(os.getpid(), signal.SIGKILL)\n"
        )
        assert run_python(code, folder / "building.sqlite") == -signal.SIGKILL
        assert (folder / "building.sqlite-journal").stat().st_size > 0
        before = snapshot(folder)
        with pytest.raises(UnfinishedIndexError):
            StoredIndex.open(folder)
        assert snapshot(folder) == before
        with IndexWriter.open(folder, plan, replace=plan is NEW) as writer:
            if plan is NEW:
                writer.ingest(rows_of(TEXTS * 2000), on_error="stop")
            encode_pending(writer, size=6000)
            writer.finish()
        assert texts_in(folder) == TEXTS * 2000

    def test_readers_open_while_builds_replace_the_index(self, index: Path) -> None:
        failures: list[BaseException] = []
        ended = threading.Event()

        def read() -> None:
            while not ended.is_set():
                try:
                    assert texts_in(index) in (TEXTS, ["b"])
                except BaseException as error:
                    failures.append(error)
                    return

        reader = threading.Thread(target=read)
        reader.start()
        for _ in range(10):
            build(index, rows_of(["b"]), NEW, replace=True)
            build(index, replace=True)
        ended.set()
        reader.join()
        assert failures == []


class TestDamage:
    def refused(self, index: Path, message: str) -> None:
        with pytest.raises(CorruptIndexError, match=message):
            StoredIndex.open(index)

    def test_altered_byte_in_a_segment(self, index: Path) -> None:
        segment = a_segment(index)
        content = bytearray(segment.read_bytes())
        content[5] ^= 1
        segment.write_bytes(content)
        self.refused(index, f"{segment.name}.*altered.*SHA-256.*--replace")

    def test_truncated_segment(self, index: Path) -> None:
        segment = max(index.glob("vectors-*"), key=lambda path: path.stat().st_size)
        segment.write_bytes(segment.read_bytes()[:-4])
        self.refused(index, f"{segment.name}.*it has 56 bytes, not the 60 of 3 float32 rows of 4")

    def test_missing_segment(self, index: Path) -> None:
        a_segment(index).unlink()
        self.refused(index, "it is missing")

    def test_segment_outside_the_folder(self, index: Path) -> None:
        change(index / "index.sqlite", "UPDATE segments SET name = '../../x' WHERE first_row = 3")
        self.refused(index, r"segment '\.\./\.\./x'")

    def test_segments_with_a_gap(self, index: Path) -> None:
        change(index / "index.sqlite", "DELETE FROM segments WHERE first_row = 3")
        self.refused(index, "begins at row 6 and has 3 rows, where row 3")

    @pytest.mark.parametrize("column", ["first_row", "rows", "bytes", "sha256"])
    def test_segment_of_wrong_type(self, index: Path, column: str) -> None:
        change(index / "index.sqlite", f"UPDATE segments SET {column} = 'x' WHERE first_row = 9")
        self.refused(index, "is damaged")

    def test_fewer_vectors_than_documents(self, index: Path) -> None:
        change(index / "index.sqlite", "DELETE FROM segments WHERE first_row = 9")
        self.refused(index, "10 texts and 9 vectors")

    @pytest.mark.parametrize(
        ("column", "value"),
        [
            ("text", "b"),
            ("id", "x"),
            ("metadata", '{"a": 1}'),
            ("metadata", "["),
            ("text", b"\xff"),
        ],
    )
    def test_altered_document_is_not_handed_out(
        self, index: Path, column: str, value: object
    ) -> None:
        change(index / "index.sqlite", f"UPDATE documents SET {column} = ? WHERE number = 1", value)
        with StoredIndex.open(index) as stored:
            assert stored.passages([0, 2])[1].text == "b"
            with pytest.raises(CorruptIndexError, match="document 1 was altered"):
                stored.passages([0, 1])

    def test_document_that_vanishes_while_the_index_is_open(self, index: Path) -> None:
        with StoredIndex.open(index) as stored:
            change(index / "index.sqlite", "DELETE FROM documents WHERE number = 4")
            with pytest.raises(CorruptIndexError, match="document 4 is missing"):
                stored.passages([3, 4])
            with pytest.raises(CorruptIndexError, match="document 4 is missing"):
                stored.ids([3, 4])

    def test_newer_format_names_both_and_says_upgrade(self, index: Path) -> None:
        change(index / "index.sqlite", "PRAGMA user_version = 4")
        self.refused(index, "made by a later version.*format 4.*reads format 3; upgrade")

    def test_format_that_never_was(self, index: Path) -> None:
        change(index / "index.sqlite", "PRAGMA user_version = 0")
        self.refused(index, "format is 0")

    @pytest.mark.parametrize("content", [b"", b"garbage" * 1000])
    def test_file_that_is_no_database(self, index: Path, content: bytes) -> None:
        (index / "index.sqlite").write_bytes(content)
        self.refused(index, "not an SQLite database made by simsearch")

    def test_damaged_pages(self, index: Path) -> None:
        content = bytearray((index / "index.sqlite").read_bytes())
        content[100:] = os.urandom(len(content) - 100)
        (index / "index.sqlite").write_bytes(content)
        self.refused(index, "index.sqlite is damaged: ")
        build(index, replace=True)
        assert texts_in(index) == TEXTS

    @pytest.mark.parametrize("replace", [False, True])
    def test_database_of_another_program_is_never_touched(
        self, tmp_path: Path, replace: bool
    ) -> None:
        with closing(sqlite3.connect(tmp_path / "index.sqlite")) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("CREATE TABLE theirs (x)")
        content = (tmp_path / "index.sqlite").read_bytes()
        self.refused(tmp_path, "not an SQLite database made by simsearch")
        with pytest.raises(CorruptIndexError, match="never touched"):
            IndexWriter.open(tmp_path, PLAN, replace=replace)
        assert (tmp_path / "index.sqlite").read_bytes() == content

    @pytest.mark.parametrize("key", [field.name for field in dataclasses.fields(Meta)])
    def test_facts_missing_or_of_wrong_type(self, index: Path, key: str) -> None:
        change(index / "index.sqlite", "UPDATE meta SET value = 1.5 WHERE key = ?", key)
        self.refused(index, f"'{key}' in its table meta is not of the right type")
        change(index / "index.sqlite", "DELETE FROM meta WHERE key = ?", key)
        if key == "queries":  # the first indexes of the format have none
            assert texts_in(index) == TEXTS
        else:
            self.refused(index, f"'{key}' is missing from its table meta")

    def test_altered_identity(self, index: Path) -> None:
        change(
            index / "index.sqlite",
            "UPDATE meta SET value = replace(value, 'abc', 'abd') WHERE key = 'identity'",
        )
        self.refused(index, "fingerprint is not that of its identity")

    def test_unfinished_database_under_the_finished_name(self, folder: Path) -> None:
        interrupted_build(folder, shards=1)
        (folder / "building.sqlite").rename(folder / "index.sqlite")
        self.refused(folder, "stage is 'ingested', not 'finished'")

    def test_other_dimension(self, index: Path) -> None:
        change(index / "index.sqlite", "UPDATE meta SET value = 3 WHERE key = 'dim'")
        self.refused(index, "60 bytes, not the 60 of 3 float32 rows of 3")

    def test_deleted_document_that_does_not_exist(self, index: Path) -> None:
        change(index / "index.sqlite", "INSERT INTO tombstones VALUES (10)")
        self.refused(index, "deleted document is not among its 10 documents")

    def test_missing_table(self, index: Path) -> None:
        change(index / "index.sqlite", "DROP TABLE segments")
        self.refused(index, "no such table: segments")

    def test_no_index_says_how_to_make_one(self, tmp_path: Path) -> None:
        with pytest.raises(IndexNotFoundError, match=r"holds no index.*simsearch build"):
            StoredIndex.open(tmp_path)
        with pytest.raises(IndexNotFoundError, match=r"does not exist.*simsearch build"):
            StoredIndex.open(tmp_path / "无")

    def test_locked_database_is_busy_not_corrupt(
        self, index: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(database, "_WAIT", 0)
        with closing(open_database(index / "index.sqlite", "rw")) as other:
            other.execute("BEGIN EXCLUSIVE")
            with pytest.raises(IndexBusyError, match="written by another process"):
                StoredIndex.open(index)

    def test_damaged_document_of_an_unfinished_build_is_not_encoded(self, folder: Path) -> None:
        interrupted_build(folder, shards=1)
        change(folder / "building.sqlite", "UPDATE documents SET text = 'z' WHERE number = 8")
        with pytest.raises(CorruptIndexError, match="document 8 was altered"):
            build(folder)

    @pytest.mark.parametrize("number", [5, 9])
    def test_document_that_an_unfinished_build_lacks_is_noticed(
        self, folder: Path, number: int
    ) -> None:
        interrupted_build(folder, shards=1)
        change(folder / "building.sqlite", f"DELETE FROM documents WHERE number = {number}")
        with pytest.raises(CorruptIndexError, match=f"document {number} is missing"):
            build(folder)

    def test_deleted_documents_are_counted_out(self, index: Path) -> None:
        change(index / "index.sqlite", "INSERT INTO tombstones VALUES (2), (5)")
        with StoredIndex.open(index) as stored:
            assert stored.deleted == {2, 5}
            assert (stored.count, stored.info()["count"]) == (8, 8)

    def test_row_hash_is_the_documented_one(self, folder: Path) -> None:
        build(folder, [Row(CORPUS, 1, "x", "你", {"b": 1, "a": None})])
        with closing(open_database(folder / "index.sqlite", "ro")) as connection:
            (stored,) = connection.execute("SELECT hash FROM documents").fetchone()
        written = b'["x","\\u4f60",{"a":null,"b":1}]'
        assert stored == hashlib.sha256(written).digest()[:16]
