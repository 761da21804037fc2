from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from brute_force import Vectors, clustered, cut, recall, unit

from simsearch.config import IndexSettings, Settings, load_settings
from simsearch.errors import SettingsError
from simsearch.index.allowed import Allowed
from simsearch.index.approximate import CellIndex
from simsearch.index.cells import Cells
from simsearch.index.flat import FlatIndex
from simsearch.index.planner import FLAT_VALUES, IndexPlan, outgrown, plan_index
from simsearch.index.tuner import Tuning, measure_flat, tune_cells

AUTO = IndexSettings()
MIB = 1 << 20


@pytest.fixture(scope="module")
def vectors() -> Vectors:
    return clustered(12_000, 24, clusters=40, seed=1)


@pytest.fixture(scope="module")
def cells(vectors: Vectors) -> Cells:
    plan = plan_index(len(vectors), 24, IndexSettings(kind="ivf"))
    assert plan.cells is not None
    assert plan.dims_per_code is not None
    return Cells.build([vectors], plan.cells, plan.dims_per_code)


@pytest.fixture(scope="module")
def tuning(cells: Cells, vectors: Vectors) -> Tuning:
    return tune_cells(cells, cut(vectors, [5000]), 0.95)


class TestPlan:
    def test_exact_up_to_so_many_values_and_cells_beyond(self) -> None:
        assert FLAT_VALUES == 43_690 * 384 + 256
        assert plan_index(43_690, 384, AUTO) == IndexPlan("flat", 43_690, 384, 43_690 * 384 * 4)
        assert plan_index(43_691, 384, AUTO).kind == "ivf"

    def test_a_million_rows_by_hand(self) -> None:
        plan = plan_index(1_000_000, 384, AUTO)
        # 2 * sqrt(1,000,000) = 2000, next to 2**11; 384 / 4 = 96 codes in 48 bytes, 8 bytes for the
        # number of a row and 4 for that of its cell; half a block of 32 codes of padding for each
        # cell, and its centroid twice
        memory = 1_000_000 * (48 + 12) + 2048 * (16 * 48 + 2 * 384 * 4)
        assert plan == IndexPlan("ivf", 1_000_000, 384, memory, cells=2048, dims_per_code=4)

    @pytest.mark.parametrize(
        ("dim", "dims_per_code"),
        [(1024, 4), (256, 4), (255, 2), (128, 2), (127, 1), (64, 1), (2, 1)],
    )
    def test_a_code_has_64_parts_or_more_where_there_are_coordinates(
        self, dim: int, dims_per_code: int
    ) -> None:
        assert plan_index(10**7, dim, AUTO).dims_per_code == dims_per_code

    def test_a_budget_makes_codes_coarser_and_says_the_least(self) -> None:
        sizes = {}
        for budget in (65, 42, 30):
            plan = plan_index(10**6, 384, IndexSettings(memory_budget=budget))
            sizes[plan.dims_per_code] = plan.memory_bytes / MIB
            assert plan.memory_bytes <= budget * MIB
        assert list(sizes) == [4, 8, 16]
        with pytest.raises(SettingsError, match=r"20 MiB; .* 1,000,000 vectors .* needs 30 MiB"):
            plan_index(10**6, 384, IndexSettings(memory_budget=20))

    def test_a_budget_below_the_vectors_leaves_them_on_disk(self) -> None:
        # 30,000 * 384 * 4 bytes are 43.9 MiB
        assert plan_index(30_000, 384, IndexSettings(memory_budget=44)).kind == "flat"
        assert plan_index(30_000, 384, IndexSettings(memory_budget=43)).kind == "ivf"
        with pytest.raises(SettingsError, match=r"kind 'flat' of 30,000 vectors .* needs 44 MiB"):
            plan_index(30_000, 384, IndexSettings(kind="flat", memory_budget=43))

    def test_a_latency_that_an_exact_search_misses_asks_for_cells(self) -> None:
        # 10,000 * 384 values at 700,000 a millisecond: 5.5 ms
        assert plan_index(10_000, 384, IndexSettings(latency_target=6)).kind == "flat"
        assert plan_index(10_000, 384, IndexSettings(latency_target=5)).kind == "ivf"

    def test_the_kind_can_be_said(self) -> None:
        assert plan_index(100, 8, IndexSettings(kind="ivf")).cells == 16  # 2 * sqrt(100), 2**4
        assert plan_index(10**6, 384, IndexSettings(kind="flat")).kind == "flat"

    def test_too_few_rows_have_no_cells(self) -> None:
        assert plan_index(0, 384, AUTO).kind == "flat"
        assert plan_index(15, 384, IndexSettings(latency_target=1e-9)).kind == "flat"
        with pytest.raises(SettingsError, match="16 vectors or more and there are 15"):
            plan_index(15, 384, IndexSettings(kind="ivf"))

    @pytest.mark.parametrize("rows", [16, 17, 100, 1000])
    def test_there_are_never_more_cells_than_rows(self, rows: int) -> None:
        cells = plan_index(rows, 8, IndexSettings(kind="ivf")).cells
        assert cells is not None
        assert 1 <= cells <= rows

    def test_it_outgrows_its_plan(self) -> None:
        flat, ivf = plan_index(40_000, 384, AUTO), plan_index(100_000, 384, AUTO)
        assert outgrown(flat, 43_690, 0) is None
        assert outgrown(flat, 43_691, 0) == (
            "43,691 vectors are more than are compared one by one fast enough"
        )
        assert outgrown(ivf, 125_000, 0) is None
        assert outgrown(ivf, 125_001, 0) == (
            "25,001 vectors were added to 100,000, and are compared one by one"
        )
        assert outgrown(ivf, 100_000, 25_000) is None
        assert outgrown(ivf, 100_000, 25_001) == "25,001 of 100,000 vectors are deleted"
        million = plan_index(1_000_000, 384, AUTO)
        assert outgrown(million, 1_043_690, 0) is None
        assert outgrown(million, 1_043_691, 0) is not None

    def test_a_flat_index_that_was_asked_for_is_not_outgrown(self) -> None:
        asked = plan_index(10**6, 384, IndexSettings(kind="flat"))
        assert outgrown(asked, 2 * 10**6, 0) is None

    def test_a_plan_is_json(self) -> None:
        plan = plan_index(10**6, 384, AUTO)
        assert IndexPlan(**json.loads(json.dumps(dataclasses.asdict(plan)))) == plan


class TestTuning:
    def test_the_recall_holds_on_queries_of_the_same_kind(
        self, cells: Cells, vectors: Vectors, tuning: Tuning
    ) -> None:
        others = clustered(12_500, 24, clusters=40, seed=1)[12_000:]
        found = CellIndex(cells, [vectors], tuning.width).search(others, 10)
        expected = FlatIndex([vectors]).search(others, 10)
        reached = recall([rows for rows, _ in found], [rows for rows, _ in expected])
        assert reached >= 0.95
        assert tuning.recall_at_10 >= 0.95
        assert tuning.recall_low <= reached <= min(1, tuning.recall_high + 0.02)
        assert tuning.queries == 300  # a twentieth of the rows, half of which it was tuned on

    def test_no_more_is_looked_at_than_the_target_asks_for(
        self, cells: Cells, vectors: Vectors, tuning: Tuning
    ) -> None:
        less = tune_cells(cells, [vectors], 0.7)
        assert less.probes is not None
        assert tuning.probes is not None
        assert less.probes < tuning.probes < cells.count
        assert 0.7 <= less.recall_at_10 < 0.85

    def test_the_width_repeats_itself_in_any_segments(
        self, cells: Cells, vectors: Vectors, tuning: Tuning
    ) -> None:
        again = tune_cells(cells, cut(vectors, [1, 11_000]), 0.95)
        assert again.width == tuning.width
        assert again.recall_at_10 == tuning.recall_at_10

    def test_queries_that_are_given_are_tuned_for(
        self, cells: Cells, vectors: Vectors, tuning: Tuning
    ) -> None:
        # between all topics: their neighbours are in many cells
        queries = unit(np.random.default_rng(3).standard_normal((400, 24)))
        given = tune_cells(cells, [vectors], 0.95, queries)
        assert given.probes is not None
        assert tuning.probes is not None
        assert given.probes > tuning.probes
        assert given.recall_at_10 >= 0.95
        assert given.queries == 200
        assert (tuning.tuned_on, given.tuned_on) == ("rows", "queries")

    def test_memory_is_what_was_predicted(self, tuning: Tuning, vectors: Vectors) -> None:
        predicted = plan_index(len(vectors), 24, IndexSettings(kind="ivf")).memory_bytes
        assert tuning.memory_bytes == pytest.approx(predicted, rel=0.1)

    def test_equal_rows_count_as_found_whichever_they_are(self) -> None:
        vectors = np.repeat(clustered(40, 8, clusters=40, seed=2), 60, axis=0)
        cells = Cells.build([vectors], 16, dims_per_code=1)
        tuned = tune_cells(cells, [vectors], 0.95)
        assert tuned.recall_at_10 == 1.0
        assert tuned.candidates is not None
        assert tuned.candidates <= 60

    def test_few_rows_are_tuned_as_well(self) -> None:
        vectors = clustered(16, 4, clusters=4, seed=1)
        tuned = tune_cells(Cells.build([vectors], 4, dims_per_code=1), [vectors], 0.95)
        assert (tuned.recall_at_10, tuned.queries) == (1.0, 1)

    def test_a_flat_index_misses_nothing(self, vectors: Vectors) -> None:
        flat = measure_flat(cut(vectors, [77]))
        assert (flat.recall_at_10, flat.recall_low, flat.probes) == (1.0, 1.0, None)
        assert flat.memory_bytes == 12_000 * 24 * 4
        with pytest.raises(ValueError, match="no width"):
            _ = flat.width

    def test_targets_that_are_missed_are_named(self, tuning: Tuning) -> None:
        measured = dataclasses.replace(tuning, recall_at_10=0.94, latency_ms=3.24)
        assert measured.missed(IndexSettings(recall_target=0.94, latency_target=3.25)) == []
        assert measured.missed(IndexSettings(latency_target=3)) == [
            "recall@10 is 0.940, below index.recall_target 0.95",
            "one query takes 3.2 ms, more than index.latency_target 3; a lower recall_target is "
            "faster",
        ]

    def test_a_tuning_is_json(self, tuning: Tuning) -> None:
        assert Tuning(**json.loads(json.dumps(dataclasses.asdict(tuning)))) == tuning

    def test_deleted_rows_keep_the_recall(
        self, cells: Cells, vectors: Vectors, tuning: Tuning
    ) -> None:
        live = Allowed.all_but(np.arange(0, 12_000, 7), 12_000)
        found = CellIndex(cells, [vectors], tuning.width).search(vectors[:200], 10, live)
        expected = FlatIndex([vectors]).search(vectors[:200], 10, live)
        assert recall([rows for rows, _ in found], [rows for rows, _ in expected]) >= 0.95


class TestSettings:
    def test_the_section_is_read_and_checked(self, tmp_path: Path) -> None:
        path = tmp_path / "config.yaml"
        path.write_text("index: {kind: ivf, memory_budget: 64, recall_target: 0.9}\n")
        assert load_settings(path, {}).index == IndexSettings(
            kind="ivf", memory_budget=64, recall_target=0.9
        )
        assert Settings().index == AUTO

    @pytest.mark.parametrize(
        ("written", "message"),
        [
            ("kind: hnsw", "index.kind is 'hnsw'"),
            ("recall_target: 1.0", "index.recall_target is 1.0"),
            ("recall_target: 0", "index.recall_target is 0"),
            ("memory_budget: -1", "index.memory_budget is -1"),
            ("latency_target: 0", "index.latency_target is 0"),
            ("memory: 3", "did you mean 'memory_budget'"),
        ],
    )
    def test_values_that_make_no_sense_are_refused(
        self, tmp_path: Path, written: str, message: str
    ) -> None:
        path = tmp_path / "config.yaml"
        path.write_text(f"index: {{{written}}}\n")
        with pytest.raises(SettingsError, match=message):
            load_settings(path, {})
