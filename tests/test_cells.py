from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import faiss
import numpy as np
import pytest
from brute_force import Vectors, brute_force, clustered, cut, random_unit, recall, score_of, unit

from simsearch.index.allowed import Allowed
from simsearch.index.approximate import CellIndex, SearchWidth
from simsearch.index.cells import Cells
from simsearch.index.combined import CombinedIndex
from simsearch.index.flat import FlatIndex
from simsearch.index.vectors import Rows, SegmentedVectors

ROWS, DIM = 8000, 24
WIDTH = SearchWidth(probes=12, candidates=60)


@pytest.fixture(scope="module")
def vectors() -> Vectors:
    return clustered(ROWS, DIM, clusters=200, seed=1)


@pytest.fixture(scope="module")
def queries() -> Vectors:
    return clustered(ROWS + 60, DIM, clusters=200, seed=1)[ROWS:]


@pytest.fixture(scope="module")
def cells(vectors: Vectors) -> Cells:
    return Cells.build(cut(vectors, [3000, 3001]), 64, dims_per_code=2)


@pytest.fixture
def index(cells: Cells, vectors: Vectors) -> CellIndex:
    return CellIndex(cells, cut(vectors, [100, 5000]), WIDTH)


def nearest(vectors: Vectors, queries: Vectors, k: int, rows: Rows | None = None) -> list[Rows]:
    allowed = None if rows is None else Allowed(rows, len(vectors))
    return [found for found, _ in FlatIndex([vectors]).search(queries, k, allowed)]


class TestCellIndex:
    def test_most_of_the_nearest_are_found_with_exact_scores_in_order(
        self, index: CellIndex, vectors: Vectors, queries: Vectors
    ) -> None:
        answers = index.search(queries, 10)
        assert recall([rows for rows, _ in answers], nearest(vectors, queries, 10)) >= 0.95
        for query, (rows, scores) in zip(queries, answers, strict=True):
            assert scores.tolist() == [score_of(vectors[row], query) for row in rows]
            pairs = list(zip((-scores).tolist(), rows.tolist(), strict=True))
            assert len(pairs) == 10
            assert pairs == sorted(pairs)

    def test_one_query_equals_a_batch_to_the_last_bit(
        self, index: CellIndex, queries: Vectors
    ) -> None:
        for query, (rows, scores) in zip(queries, index.search(queries, 10), strict=True):
            ((alone, alone_scores),) = index.search(query[None], 10)
            assert alone.tolist() == rows.tolist()
            assert alone_scores.tobytes() == scores.tobytes()

    def test_segments_change_nothing(
        self, cells: Cells, vectors: Vectors, queries: Vectors
    ) -> None:
        whole = CellIndex(cells, [vectors], WIDTH).search(queries, 10)
        parts = CellIndex(cells, cut(vectors, [1, 4000, 4001]), WIDTH).search(queries, 10)
        for (rows, scores), (part_rows, part_scores) in zip(whole, parts, strict=True):
            assert rows.tolist() == part_rows.tolist()
            assert scores.tobytes() == part_scores.tobytes()

    @pytest.mark.parametrize("k", [100, 3000, ROWS, 10**9])
    def test_as_many_as_asked_come_back_each_once(
        self, cells: Cells, vectors: Vectors, queries: Vectors, k: int
    ) -> None:
        index = CellIndex(cells, [vectors], SearchWidth(probes=1, candidates=1))
        for rows, _ in index.search(queries[:3], k):
            assert len(rows) == min(k, ROWS)
            assert len(set(rows.tolist())) == len(rows)
            assert rows.min() >= 0

    @pytest.mark.parametrize("alone", [True, False])
    @pytest.mark.parametrize("share", [0.95, 0.5, 0.05, 0.005, 0.0005])
    def test_filters_keep_the_recall_and_the_number_of_answers(
        self, index: CellIndex, vectors: Vectors, queries: Vectors, share: float, alone: bool
    ) -> None:
        mask = np.random.default_rng(7).random(ROWS) < share
        mask[17] = True
        allowed, rows = Allowed.of_mask(mask), np.flatnonzero(mask)
        if alone:
            found = [index.search(query[None], 10, allowed)[0][0] for query in queries]
        else:
            found = [ours for ours, _ in index.search(queries, 10, allowed)]
        assert all(mask[ours].all() for ours in found)
        assert {len(ours) for ours in found} == {min(10, len(rows))}
        assert recall(found, nearest(vectors, queries, 10, rows)) >= 0.95

    def test_a_filter_for_the_other_language_keeps_the_recall(self) -> None:
        # every topic in two languages, which lie apart; queries in one ask for the other
        topics = 0.7 * clustered(3000, DIM, clusters=100, seed=8)
        first = unit(np.pad(topics, ((0, 0), (0, 1)), constant_values=0.6))
        second = unit(np.pad(topics[::-1], ((0, 0), (0, 1)), constant_values=-0.6))
        both = np.concatenate([first, second])
        index = CellIndex(Cells.build([both], 64, dims_per_code=1), [both], WIDTH)
        others = Allowed(np.arange(3000, 6000), 6000)
        found = [rows for rows, _ in index.search(first[:50], 10, others)]
        assert recall(found, nearest(both, first[:50], 10, others.rows)) >= 0.95

    def test_no_allowed_rows_no_answers(self, index: CellIndex, queries: Vectors) -> None:
        nothing = Allowed(np.empty(0, np.int64), ROWS)
        assert [len(rows) for rows, _ in index.search(queries, 10, nothing)] == [0] * len(queries)

    def test_few_deleted_rows_are_left_out_and_cost_no_recall(
        self, index: CellIndex, vectors: Vectors, queries: Vectors
    ) -> None:
        deleted = np.unique(np.concatenate(nearest(vectors, queries, 2)))
        live = Allowed.all_but(deleted, ROWS)
        found = [rows for rows, _ in index.search(queries, 10, live)]
        assert not np.isin(np.concatenate(found), deleted).any()
        assert recall(found, nearest(vectors, queries, 10, live.rows)) >= 0.95

    def test_every_row_that_is_compared_was_checked(
        self, cells: Cells, vectors: Vectors, queries: Vectors
    ) -> None:
        checked: set[int] = set()
        index = CellIndex(cells, [vectors], WIDTH, lambda rows: checked.update(rows.tolist()))
        ((rows, _),) = index.search(queries[:1], 10)
        assert len(checked) == 10 + WIDTH.candidates
        assert checked > set(rows.tolist())
        few = Allowed(np.arange(5), ROWS)
        checked.clear()
        index.search(queries[:1], 3, few)
        assert checked == set(range(5))

    def test_a_check_that_fails_ends_the_search(
        self, cells: Cells, vectors: Vectors, queries: Vectors
    ) -> None:
        def check(rows: Rows) -> None:
            raise OSError("row 3 was altered")

        with pytest.raises(OSError, match="row 3 was altered"):
            CellIndex(cells, [vectors], WIDTH, check).search(queries, 10)

    def test_other_vectors_than_those_in_the_cells_are_refused(
        self, cells: Cells, vectors: Vectors
    ) -> None:
        with pytest.raises(ValueError, match="hold 8000 rows of 24 coordinates, the segments 7999"):
            CellIndex(cells, [vectors[1:]], WIDTH)


class TestCells:
    def test_equal_rows_give_equal_bytes_in_any_segments_and_by_any_number_of_threads(
        self, cells: Cells, vectors: Vectors
    ) -> None:
        threads = faiss.omp_get_max_threads()
        faiss.omp_set_num_threads(1)
        try:
            alone = Cells.build(cut(vectors, [1, 2, 7000]), 64, dims_per_code=2)
        finally:
            faiss.omp_set_num_threads(threads)
        assert alone.to_bytes().tobytes() == cells.to_bytes().tobytes()

    def test_another_process_gives_the_same_bytes(self, tmp_path: Path) -> None:
        rows = clustered(600, 8, clusters=10, seed=3)
        np.save(tmp_path / "rows.npy", rows)
        code = (
            "import sys, numpy as np; from simsearch.index.cells import Cells\n"
            "cells = Cells.build([np.load(sys.argv[1])], 8, dims_per_code=4)\n"
            "sys.stdout.buffer.write(cells.to_bytes().tobytes())"
        )
        argv = [sys.executable, "-c", code, str(tmp_path / "rows.npy")]
        ran = subprocess.run(argv, capture_output=True, check=True)
        assert ran.stdout == Cells.build([rows], 8, dims_per_code=4).to_bytes().tobytes()
        assert ran.stderr == b""

    def test_bytes_give_the_same_answers_from_a_mapped_file(
        self, cells: Cells, vectors: Vectors, queries: Vectors, tmp_path: Path
    ) -> None:
        path = tmp_path / "单元.faiss"
        path.write_bytes(cells.to_bytes().tobytes())
        again = Cells.from_bytes(np.memmap(path, np.uint8, "r"), DIM)
        assert (again.total, again.dim, again.count) == (ROWS, DIM, 64)
        first = CellIndex(cells, [vectors], WIDTH).search(queries, 10)
        second = CellIndex(again, [vectors], WIDTH).search(queries, 10)
        for (rows, scores), (other_rows, other_scores) in zip(first, second, strict=True):
            assert rows.tolist() == other_rows.tolist()
            assert scores.tobytes() == other_scores.tobytes()

    def test_nothing_is_left_in_the_bytes_that_were_read(
        self, cells: Cells, queries: Vectors
    ) -> None:
        data = cells.to_bytes()
        again = Cells.from_bytes(data, DIM)
        data[:] = 0
        assert again.to_bytes().tobytes() == cells.to_bytes().tobytes()
        assert again.find(queries, 5, 40).tolist() == cells.find(queries, 5, 40).tolist()

    def test_bytes_that_are_no_cells_are_refused(self, cells: Cells, vectors: Vectors) -> None:
        data = cells.to_bytes()
        with pytest.raises(ValueError, match="can't read"):
            Cells.from_bytes(data[:1000], DIM)
        flat = faiss.IndexFlatIP(DIM)
        flat.add(vectors[:3])
        with pytest.raises(ValueError, match="IndexFlat"):
            Cells.from_bytes(faiss.serialize_index(flat), DIM)
        with pytest.raises(ValueError, match="24 coordinates, not of 25"):
            Cells.from_bytes(data, 25)

    @pytest.mark.parametrize(("dim", "dims_per_code"), [(5, 4), (7, 2), (3, 8), (16, 4)])
    def test_any_dimension_fits_any_code(self, dim: int, dims_per_code: int) -> None:
        rows = clustered(2000, dim, clusters=20, seed=4)
        cells = Cells.build([rows], 16, dims_per_code)
        index = CellIndex(cells, [rows], SearchWidth(16, 200))
        found = [ours for ours, _ in index.search(rows[:20], 10)]
        assert recall(found, nearest(rows, rows[:20], 10)) >= 0.95

    def test_all_cells_hold_all_rows_once(self, cells: Cells, queries: Vectors) -> None:
        found = cells.find(queries[:2], 64, ROWS + 5, None)
        assert [sorted(rows.tolist()) for rows in found] == [[-1] * 5 + list(range(ROWS))] * 2

    def test_a_query_looks_into_the_cell_of_its_own_direction(self) -> None:
        # four tight bundles, a cell each: the probed one holds the rows of the query's bundle
        bundles = np.repeat(np.eye(4), 50, axis=0)
        rows = unit(bundles + 0.01 * np.random.default_rng(5).standard_normal((200, 4)))
        cells = Cells.build([rows], 4, dims_per_code=2)
        found = cells.find(np.eye(4, dtype=np.float32), 1, 50, None)
        assert [sorted(ours.tolist()) for ours in found] == [
            list(range(start, start + 50)) for start in (0, 50, 100, 150)
        ]

    def test_equal_rows_in_more_cells_than_there_are_directions(self) -> None:
        rows = np.repeat(unit([[1, 0, 0], [0, 1, 0]]), 50, axis=0)
        index = CellIndex(Cells.build([rows], 8, dims_per_code=2), [rows], SearchWidth(8, 20))
        ((found, scores),) = index.search(unit([[0, 1, 0]]), 10)
        assert set(scores.tolist()) == {1.0}
        assert len(found) >= 10
        assert set(found.tolist()) <= set(range(50, 100))

    @pytest.mark.parametrize(("rows", "count"), [(15, 1), (20, 21), (0, 1)])
    def test_too_few_rows_are_refused(self, rows: int, count: int) -> None:
        with pytest.raises(ValueError, match=f"{rows} rows don't fill {count} cells"):
            Cells.build([random_unit(rows, 4, seed=1)] if rows else [], count, dims_per_code=2)


class TestCombinedIndex:
    def test_added_rows_are_found_exactly_and_numbered_after_the_others(
        self, cells: Cells, vectors: Vectors, queries: Vectors
    ) -> None:
        added = clustered(300, DIM, clusters=200, seed=9)
        both = np.concatenate([vectors, added])
        index = CombinedIndex(CellIndex(cells, [vectors], WIDTH), cut(added, [17]))
        assert (index.total, index.dim) == (ROWS + 300, DIM)
        answers = index.search(queries, 10)
        assert recall([rows for rows, _ in answers], nearest(both, queries, 10)) >= 0.95
        for query, (rows, scores) in zip(queries, answers, strict=True):
            assert scores.tolist() == [score_of(both[row], query) for row in rows]
            pairs = list(zip((-scores).tolist(), rows.tolist(), strict=True))
            assert pairs == sorted(pairs)[:10]
            last = scores[-1]
            new = [row for score, row in brute_force(added, query, 300) if -score > last]
            assert {ROWS + row for row in new} <= set(rows.tolist())

    def test_filters_and_ties_reach_over_the_edge(self, cells: Cells, vectors: Vectors) -> None:
        index = CombinedIndex(CellIndex(cells, [vectors], WIDTH), [vectors[:5]])
        ((rows, scores),) = index.search(vectors[3:4], 1)
        assert rows.tolist() == [3, ROWS + 3]
        assert scores[0] == scores[1]
        for some in ([3, 40], [40, ROWS + 3], [ROWS + 3], [40]):
            allowed = Allowed(np.array(some), ROWS + 5)
            ((rows, _),) = index.search(vectors[3:4], 5, allowed)
            assert sorted(rows.tolist()) == some

    def test_nothing_added(self, cells: Cells, vectors: Vectors, queries: Vectors) -> None:
        first = CellIndex(cells, [vectors], WIDTH)
        combined = CombinedIndex(first, [])
        for (rows, _), (other, _) in zip(
            first.search(queries, 10), combined.search(queries, 10), strict=True
        ):
            assert rows.tolist() == other.tolist()


class TestSegmentedVectors:
    def test_rows_come_in_the_order_asked_from_any_segment(self) -> None:
        vectors = random_unit(50, 3, seed=1)
        table = SegmentedVectors(cut(vectors, [0, 1, 20, 20]))
        for rows in ([49, 0, 0, 20, 19], [0, 1, 1, 20, 49], []):
            assert table.gather(np.array(rows, np.int64)).tolist() == vectors[rows].tolist()

    @pytest.mark.parametrize("rows", [[0, 50], [-1]])
    def test_rows_that_are_not_there_are_refused(self, rows: list[int]) -> None:
        with pytest.raises(IndexError, match="of 50"):
            SegmentedVectors([random_unit(50, 3, seed=1)]).gather(np.array(rows))

    @pytest.mark.parametrize("queries", [1, 3, 8])
    def test_inner_products_of_few_and_many_queries(self, queries: int) -> None:
        vectors, asked = random_unit(60, 7, seed=2), random_unit(queries, 7, seed=3)
        rows = np.random.default_rng(4).integers(-1, 60, (queries, 9))
        expected = np.where(rows < 0, -np.inf, (asked[:, None] * vectors[rows]).sum(axis=2))
        products = SegmentedVectors(cut(vectors, [10, 11])).inner_products(asked, rows)
        assert products == pytest.approx(expected, abs=1e-6)


class TestTransientSegments:
    """Of files that are gone through once, and must not stay in memory."""

    @pytest.fixture
    def mapped(self, vectors: Vectors, tmp_path: Path) -> list[Vectors]:
        paths = [tmp_path / f"{i}.bin" for i in range(4)]
        for path, part in zip(paths, cut(vectors, [2000, 4000, 6000]), strict=True):
            path.write_bytes(part.tobytes())
        return [np.memmap(path, np.float32, "r").reshape(-1, DIM)[:1999] for path in paths]

    def test_answers_are_the_same(
        self, cells: Cells, vectors: Vectors, queries: Vectors, mapped: list[Vectors]
    ) -> None:
        rows = np.random.default_rng(1).integers(0, 4 * 1999, 500)
        plain = SegmentedVectors(mapped).gather(rows)
        assert SegmentedVectors(mapped, transient=True).gather(rows).tobytes() == plain.tobytes()
        whole = cut(vectors, [3000])
        for mine, others in (
            (FlatIndex(mapped, transient=True), FlatIndex(mapped)),
            (CellIndex(cells, whole, WIDTH, transient=True), CellIndex(cells, whole, WIDTH)),
        ):
            for asked in (queries, queries[:1]):
                pairs = zip(mine.search(asked, 10), others.search(asked, 10), strict=True)
                for (found, scores), (other_found, other_scores) in pairs:
                    assert found.tobytes() == other_found.tobytes()
                    assert scores.tobytes() == other_scores.tobytes()

    @pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="asks Linux for its pages")
    def test_no_more_than_one_segment_stays_in_memory(
        self, queries: Vectors, mapped: list[Vectors], tmp_path: Path
    ) -> None:
        FlatIndex(mapped).search(queries, 10)
        assert kibibytes_in_memory(tmp_path) > sum(part.nbytes for part in mapped) / 1024
        FlatIndex(mapped, transient=True).search(queries, 10)
        assert kibibytes_in_memory(tmp_path) <= mapped[0].nbytes / 1024
        SegmentedVectors(mapped).gather(np.arange(4 * 1999))
        SegmentedVectors(mapped, transient=True).gather(np.arange(4 * 1999))
        assert kibibytes_in_memory(tmp_path) == 0
        Cells.build(mapped, 64, dims_per_code=2)
        assert kibibytes_in_memory(tmp_path) == 0


def kibibytes_in_memory(folder: Path) -> int:
    """How much of the folder's files this process has mapped and read."""
    total, here = 0, False
    for line in Path("/proc/self/smaps").read_text("utf-8").splitlines():
        first, *rest = line.split()
        if not first.endswith(":"):
            here = bool(rest) and rest[-1].startswith(f"{folder}/")
        elif here and first == "Rss:":
            total += int(rest[0])
    return total
