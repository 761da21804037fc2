from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_changes import add, contents, delete, row
from test_store import ENCODER, a_segment, build, change, names_in, plan_of, rows_of
from toy_encoder import ToyEncoder

from simsearch.corpus import content_id
from simsearch.errors import CorruptIndexError, IndexNotFoundError, SimsearchError
from simsearch.search import Searcher
from simsearch.store import IndexKeeper, StoredIndex, verify
from simsearch.store.segments import write_segment


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "索 引"


@pytest.fixture
def index(folder: Path) -> Path:
    """Ten documents of a build, of which one was replaced and one deleted, and two more."""
    build(folder)
    add(folder, [row(content_id("ab"), "SECRET NEW"), row("n", "cab", n=1)])
    add(folder, [row("m", "bb")])
    delete(folder, content_id("abc"))
    return folder


def optimize(folder: Path) -> bool:
    with IndexKeeper.open(folder) as keeper:
        return keeper.optimize()


def repair(folder: Path, encoder: ToyEncoder = ENCODER) -> int:
    with IndexKeeper.open(folder) as keeper:
        return keeper.repair(encoder.encode)


def bytes_in(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.iterdir())


class TestOptimize:
    def test_the_same_documents_in_one_segment_without_gaps(self, index: Path) -> None:
        before = contents(index)
        assert optimize(index)
        assert contents(index) == before
        with StoredIndex.open(index) as stored:
            assert [len(segment) for segment in stored.segments] == [11]
            assert stored.deleted == frozenset()
            assert (stored.count, stored.generation) == (11, 5)
        files = names_in(index) - {"index.sqlite", "manifest.json", "writer.lock"}
        assert len(files) == 1
        assert list(verify(index)) == []

    def test_it_equals_a_build_of_the_same_documents(self, index: Path, tmp_path: Path) -> None:
        optimize(index)
        build(
            tmp_path / "new",
            [
                row(id_, *text_and)
                for id_, text_and in ((i, (t,)) for i, (t, _) in contents(index).items())
            ],
        )
        with StoredIndex.open(index) as a, StoredIndex.open(tmp_path / "new") as b:
            assert np.concatenate(a.segments).tobytes() == np.concatenate(b.segments).tobytes()
            assert a.background.tobytes() == b.background.tobytes()

    def test_what_was_deleted_is_nowhere_in_the_folder(self, folder: Path) -> None:
        secrets = [f"secret number {random.Random(i).random()}" for i in range(300)]
        build(folder, rows_of([*secrets, "a"]))
        assert all(secret.encode() in bytes_in(folder) for secret in secrets)
        vectors = ENCODER.encode(["a"]).tobytes()
        delete(folder, *(content_id(secret) for secret in secrets))
        optimize(folder)
        content = bytes_in(folder)
        assert not any(secret.encode() in content for secret in secrets)
        assert not any(content_id(secret).encode() in content for secret in secrets)
        assert vectors in content

    def test_nothing_to_gain_changes_nothing(self, folder: Path) -> None:
        build(folder, rows_of(["a", "b"]))
        before = bytes_in(folder)
        assert not optimize(folder)
        assert bytes_in(folder) == before

    def test_open_searcher_goes_on(self, index: Path) -> None:
        with Searcher(ENCODER, StoredIndex.open(index)) as searcher:
            before = searcher.query("cab", k=20)
            optimize(index)
            assert [(h.id, h.score) for h in searcher.query("cab", k=20)] == [
                (h.id, h.score) for h in before
            ]

    def test_documents_in_chunks(self, folder: Path) -> None:
        build(folder, [row("x", "abcab"), row("y", "ca b")], plan_of(ENCODER, chunk=(2, 0)))
        delete(folder, "x")
        add(folder, [row("z", "bbb")])
        optimize(folder)
        with StoredIndex.open(folder) as stored:
            assert stored.chunks.documents.tolist() == [0, 0, 1, 1]
            assert [p.text for p in stored.passages(range(4))] == ["ca", " b", "bb", "b"]
        assert list(verify(folder)) == []

    def test_truncated_documents_are_still_known(self, folder: Path) -> None:
        build(folder, [row("x", "a"), row("y", "b"), row("z", "c")])
        change(folder / "index.sqlite", "INSERT INTO truncated VALUES (2, 9)")
        delete(folder, "x")
        optimize(folder)
        with StoredIndex.open(folder) as stored:
            assert stored.truncated == {1}

    def test_an_index_may_become_empty(self, folder: Path) -> None:
        build(folder, [row("x", "a")])
        delete(folder, "x")
        optimize(folder)
        assert contents_of_empty(folder) == {}
        add(folder, [row("y", "b")])
        assert contents(folder) == {"y": ("b", {})}

    def test_damage_is_found_and_the_index_left_as_it_is(self, index: Path) -> None:
        change(index / "index.sqlite", "UPDATE documents SET text = 'z' WHERE number = 0")
        names = names_in(index)
        with pytest.raises(CorruptIndexError, match="document 0 was altered"):
            optimize(index)
        assert names_in(index) == names


def contents_of_empty(folder: Path) -> dict[str, Any]:
    with StoredIndex.open(folder) as stored:
        assert (stored.rows, stored.count, stored.segments) == (0, 0, [])
    return {}


class TestVerify:
    def test_nothing_is_wrong_with_what_was_written(self, index: Path) -> None:
        seen: list[tuple[int, int]] = []
        assert list(verify(index, lambda done, total: seen.append((done, total)))) == []
        assert seen[-1][0] == seen[-1][1]

    def test_there_must_be_an_index(self, tmp_path: Path) -> None:
        with pytest.raises(IndexNotFoundError):
            list(verify(tmp_path))

    def test_each_wrong_thing_is_a_line(self, index: Path) -> None:
        segment = a_segment(index)
        segment.write_bytes(segment.read_bytes()[:-1] + b"?")
        change(index / "index.sqlite", "UPDATE documents SET text = 'z' WHERE number IN (0, 2)")
        change(index / "index.sqlite", "DELETE FROM documents WHERE number = 6")
        problems = list(verify(index))
        assert len(problems) == 5
        assert f"{segment.name} is damaged: it was altered" in problems[0]
        assert "of 13 documents 10 are there and 2 deleted" in problems[1]
        assert "document 0 was altered" in problems[2]
        assert "document 2 was altered" in problems[3]
        assert "its word index is not that" in problems[4]

    def test_missing_index_entry_is_found(self, index: Path) -> None:
        change(
            index / "index.sqlite",
            "DELETE FROM documents WHERE number = 0",
        )
        assert any("10 are there" in problem for problem in verify(index))

    def test_chunks_must_cover_their_documents(self, folder: Path) -> None:
        build(folder, [row("x", "abc"), row("y", "ca")], plan_of(ENCODER, chunk=(2, 0)))
        change(folder / "index.sqlite", "UPDATE chunks SET stop = 4 WHERE row = 1")
        assert ["do not cover a text of 3" in problem for problem in verify(folder)] == [True]

    def test_vectors_must_be_of_length_one(self, folder: Path) -> None:
        build(folder, rows_of(["a", "b"]))
        old = a_segment(folder)
        new = write_segment(folder, 0, np.array([[1, 0, 0, 0], [0, 2, 0, 0]], np.float32))
        change(
            folder / "index.sqlite",
            "UPDATE segments SET name = ?, sha256 = ?",
            new.name,
            new.sha256,
        )
        old.unlink()
        (problem,) = verify(folder)
        assert "1 vectors are not of length 1; the first is row 1" in problem


class TestRepair:
    def test_lost_and_damaged_segments_are_encoded_again(self, index: Path) -> None:
        before = contents(index)
        with StoredIndex.open(index) as stored:
            first, last = stored._files[0], stored._files[-1]
        (index / first.name).unlink()
        damaged = bytearray((index / last.name).read_bytes())
        damaged[3] ^= 1
        (index / last.name).write_bytes(damaged)
        with pytest.raises(CorruptIndexError):
            StoredIndex.open(index)
        assert (first.rows, last.rows) == (12, 1)
        assert repair(index) == 10 + 1  # two of the twelve were deleted
        assert contents(index) == before
        assert list(verify(index)) == []

    def test_without_damage_nothing_is_encoded(self, index: Path) -> None:
        encoder = ToyEncoder()
        before = contents(index)
        assert repair(index, encoder) == 0
        assert encoder.calls == []
        assert contents(index) == before

    def test_a_lost_document_is_not_passed_over(self, index: Path) -> None:
        change(index / "index.sqlite", "UPDATE documents SET text = 'z' WHERE number = 4")
        with pytest.raises(CorruptIndexError, match="document 4 was altered"):
            repair(index)


class TestFlips:
    """One bit of a file changes: either it is found, or no answer is another."""

    @staticmethod
    def answers(folder: Path) -> list[list[tuple[str, float, str]]]:
        with Searcher(ENCODER, StoredIndex.open(folder)) as searcher:
            return [
                [(hit.id, hit.score, hit.text) for hit in hits]
                for hits in searcher.search(["a", "bc", "好"], k=20)
            ]

    def test_any_flip_is_found_or_harmless(self, index: Path) -> None:
        expected = self.answers(index)
        before = contents(index)
        files = sorted(path for path in index.iterdir() if path.stat().st_size)
        sizes = [path.stat().st_size for path in files]
        rng = random.Random(20)
        refused: list[tuple[str, list[str]]] = []
        for path in rng.choices(files, sizes, k=150) + files * 10:
            content = path.read_bytes()
            flipped = bytearray(content)
            flipped[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
            path.write_bytes(flipped)
            try:
                assert self.answers(index) == expected, path
                assert contents(index) == before
            except SimsearchError as error:
                refused.append((str(error), list(verify(index))))
            path.write_bytes(content)
        assert len(refused) > 100
        assert all(str(index) in message and problems for message, problems in refused)
        assert self.answers(index) == expected
