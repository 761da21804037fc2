from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from brute_force import Vectors, brute_force, cut, random_unit, unit
from hypothesis import given
from hypothesis import strategies as st

from simsearch.index.allowed import Allowed
from simsearch.index.background import percentile, sample_pair_scores
from simsearch.index.flat import FlatIndex

# Coordinates from a handful of values: nearly every query has ties.
small_rows = st.lists(st.integers(-1, 1), min_size=3, max_size=3).filter(any)


class TestFlatIndex:
    @given(
        rows=st.lists(small_rows, min_size=1, max_size=60),
        queries=st.lists(small_rows, min_size=1, max_size=30),
        places=st.lists(st.integers(0, 60), max_size=4),
        k=st.integers(1, 80),
    )
    def test_equals_brute_force_with_ties_in_any_segments(
        self, rows: list[list[int]], queries: list[list[int]], places: list[int], k: int
    ) -> None:
        vectors, asked = unit(rows), unit(queries)
        answers = FlatIndex(cut(vectors, places)).search(asked, k)
        assert len(answers) == len(asked)
        for query, (found, scores) in zip(asked, answers, strict=True):
            expected = brute_force(vectors, query, k)
            assert found.tolist() == [row for _, row in expected]
            assert scores.tolist() == [-score for score, _ in expected]

    @pytest.mark.parametrize("dim", [3, 100, 768])
    def test_equals_brute_force_where_scores_differ_in_the_last_bits_only(self, dim: int) -> None:
        base = random_unit(1, dim, seed=1)[0]
        noise = np.random.default_rng(2).standard_normal((300, dim)) * 3e-8
        vectors = (base + noise).astype(np.float32)
        ((found, scores),) = FlatIndex(cut(vectors, [100, 101])).search(base[None], 5)
        assert list(zip((-scores).tolist(), found.tolist(), strict=True)) == brute_force(
            vectors, base, 5
        )

    def test_one_query_equals_a_batch_of_thirty_to_the_last_bit(self) -> None:
        vectors, queries = random_unit(500, 96, seed=1), random_unit(30, 96, seed=2)
        index = FlatIndex(cut(vectors, [7, 300]))
        batch = index.search(queries, 20)
        for query, (rows, scores) in zip(queries, batch, strict=True):
            ((alone_rows, alone_scores),) = index.search(query[None], 20)
            assert alone_rows.tolist() == rows.tolist()
            assert alone_scores.tobytes() == scores.tobytes()

    def test_segments_do_not_matter_to_the_last_bit(self) -> None:
        vectors, queries = random_unit(400, 64, seed=3), random_unit(25, 64, seed=4)
        whole = FlatIndex([vectors]).search(queries, 15)
        parts = FlatIndex(cut(vectors, [1, 2, 77, 399])).search(queries, 15)
        for (rows, scores), (part_rows, part_scores) in zip(whole, parts, strict=True):
            assert rows.tolist() == part_rows.tolist()
            assert scores.tobytes() == part_scores.tobytes()

    def test_every_tie_with_the_last_is_returned_however_many(self) -> None:
        vectors = np.repeat(unit([[1, 0], [1, 1], [0, 1]]), [1, 1000, 5], axis=0)
        ((rows, scores),) = FlatIndex([vectors]).search(unit([[1, 0]]), 2)
        assert rows.tolist() == list(range(1001))
        assert scores[0] == 1.0
        assert scores[1:] == pytest.approx(0.5**0.5)

    def test_k_beyond_the_corpus_returns_every_row_once(self) -> None:
        vectors = random_unit(40, 8, seed=5)
        ((rows, _),) = FlatIndex(cut(vectors, [11, 30])).search(vectors[:1], 10**12)
        assert sorted(rows.tolist()) == list(range(40))
        assert rows[0] == 0

    def test_opposite_is_minus_one_and_itself_is_one(self) -> None:
        ((rows, scores),) = FlatIndex([unit([[3, 4], [-3, -4]])]).search(unit([[3, 4]]), 2)
        assert rows.tolist() == [0, 1]
        assert scores == pytest.approx([1, -1], abs=1e-7)
        assert scores.min() >= -1
        assert scores.max() <= 1

    def test_read_only_memory_map_is_searched(self, tmp_path: Path) -> None:
        vectors = random_unit(50, 4, seed=6)
        path = tmp_path / "向量 一.f32"
        path.write_bytes(vectors.tobytes())
        mapped = np.memmap(path, np.float32, "r", shape=(50, 4))
        ((rows, scores),) = FlatIndex([mapped]).search(vectors[17:18], 1)
        assert rows.tolist() == [17]
        assert scores == pytest.approx([1], abs=1e-6)

    @pytest.mark.parametrize("segments", [[], [np.empty((0, 2), np.float32)]])
    def test_index_without_rows_answers_with_nothing(self, segments: list[Vectors]) -> None:
        ((rows, scores),) = FlatIndex(segments).search(unit([[1, 0]]), 3)
        assert rows.tolist() == []
        assert scores.tolist() == []

    def test_no_queries_no_answers(self) -> None:
        assert FlatIndex([unit([[1, 0]])]).search(np.empty((0, 2), np.float32), 3) == []

    def test_other_dimension_is_refused_with_both_numbers(self) -> None:
        with pytest.raises(ValueError, match=r"\(1, 3\).*\(n, 2\)"):
            FlatIndex([unit([[1, 0]])]).search(unit([[1, 0, 0]]), 1)
        with pytest.raises(ValueError, match=r"\[2, 3\]"):
            FlatIndex([unit([[1, 0]]), unit([[1, 0, 0]])])

    def test_no_rows_wanted_and_values_not_finite_are_refused(self) -> None:
        index = FlatIndex([unit([[1, 0]])])
        with pytest.raises(ValueError, match="k is 0"):
            index.search(unit([[1, 0]]), 0)
        with pytest.raises(ValueError, match="not finite"):
            index.search(np.array([[np.nan, 0]], np.float32), 1)


class TestAllowedRows:
    @given(
        rows=st.lists(small_rows, min_size=1, max_size=60),
        queries=st.lists(small_rows, min_size=1, max_size=30),
        places=st.lists(st.integers(0, 60), max_size=4),
        k=st.integers(1, 80),
        data=st.data(),
    )
    def test_equals_brute_force_over_these_rows(
        self,
        rows: list[list[int]],
        queries: list[list[int]],
        places: list[int],
        k: int,
        data: st.DataObject,
    ) -> None:
        vectors, asked = unit(rows), unit(queries)
        some = sorted(data.draw(st.sets(st.integers(0, len(rows) - 1))))
        allowed = Allowed(np.array(some, np.int64), len(rows))
        answers = FlatIndex(cut(vectors, places)).search(asked, k, allowed)
        for query, (found, scores) in zip(asked, answers, strict=True):
            expected = brute_force(vectors, query, k, some) if some else []
            assert found.tolist() == [row for _, row in expected]
            assert scores.tolist() == [-score for score, _ in expected]

    # gathered; left out one by one, or by gathering the rest; found and dropped
    @pytest.mark.parametrize("queries", [1, 25])
    @pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
    def test_every_way_to_leave_out_rows_is_exact(self, share: float, queries: int) -> None:
        vectors, asked = random_unit(3000, 16, seed=1), random_unit(queries, 16, seed=2)
        mask = np.random.default_rng(3).random(3000) < share
        answers = FlatIndex(cut(vectors, [1000, 2900])).search(asked, 7, Allowed.of_mask(mask))
        for query, (found, scores) in zip(asked, answers, strict=True):
            expected = brute_force(vectors, query, 7, np.flatnonzero(mask).tolist())
            assert list(zip((-scores).tolist(), found.tolist(), strict=True)) == expected

    def test_the_nearest_may_all_be_forbidden(self) -> None:
        vectors = np.repeat(unit([[1, 0], [1, 1], [0, 1]]), [900, 90, 10], axis=0)
        allowed = Allowed.all_but(np.arange(900), 1000)
        for queries in (1, 30):
            found = FlatIndex([vectors]).search(unit([[1, 0]] * queries), 3, allowed)
            assert [rows.tolist() for rows, _ in found] == [list(range(900, 990))] * queries

    def test_forms_say_the_same(self) -> None:
        mask = np.array([True, False, True, True, False, False, False, False, True])
        for allowed in (
            Allowed.of_mask(mask),
            Allowed(np.array([0, 2, 3, 8]), 9),
            Allowed.all_but(np.array([7, 6, 5, 4, 1]), 9),
        ):
            assert (allowed.count, allowed.total) == (4, 9)
            assert allowed.rows.tolist() == [0, 2, 3, 8]
            assert allowed.mask.tolist() == mask.tolist()
            assert allowed.bits.tolist() == [0b1101, 1]
            assert allowed.part(2, 9).rows.tolist() == [0, 1, 6]
            assert allowed.part(4, 8).count == 0

    @pytest.mark.parametrize("rows", [[-1, 2], [2, 5], [1, 1], [2, 1]])
    def test_rows_that_are_no_set_of_rows_are_refused(self, rows: list[int]) -> None:
        with pytest.raises(ValueError, match="from 0 to 4, each once"):
            Allowed(np.array(rows), 5)


class TestBackground:
    def test_all_pairs_of_a_small_corpus(self) -> None:
        # (a, b) 0; (a, c) and (b, c) 1 / sqrt(2)
        vectors = unit([[1, 0], [0, 1], [1, 1]])
        sample = sample_pair_scores(vectors.__getitem__, np.arange(3))
        assert sample.dtype == np.float32
        assert sample == pytest.approx([0, 0.5**0.5, 0.5**0.5])

    @pytest.mark.parametrize("rows", [0, 1])
    def test_no_pairs_no_sample(self, rows: int) -> None:
        vectors = np.ones((rows, 1), np.float32)
        assert sample_pair_scores(vectors.__getitem__, np.arange(rows)).tolist() == []

    def test_pairs_are_never_a_row_with_itself(self) -> None:
        # 200 orthogonal rows: only a row with itself scores 1
        vectors = np.eye(200, dtype=np.float32)
        sample = sample_pair_scores(vectors.__getitem__, np.arange(200), pairs=5000)
        assert len(sample) == 5000
        assert sample.max() == 0

    def test_pairs_are_never_of_one_document(self) -> None:
        # rows of one document are equal, those of others orthogonal: 10 documents of 1 to 10 rows
        documents = np.repeat(np.arange(10), np.arange(1, 11))
        vectors = np.eye(10, dtype=np.float32)[documents]
        every = sample_pair_scores(vectors.__getitem__, documents)
        assert len(every) == (55 * 55 - sum(n * n for n in range(1, 11))) // 2
        drawn = sample_pair_scores(vectors.__getitem__, documents, pairs=1000)
        assert len(drawn) == 1000
        assert (every.max(), drawn.max()) == (0, 0)

    @pytest.mark.parametrize("pairs", [5, 100])
    def test_one_document_of_many_rows_has_no_pairs(self, pairs: int) -> None:
        vectors = np.ones((10, 1), np.float32)
        assert (
            len(sample_pair_scores(vectors.__getitem__, np.zeros(10, np.int64), pairs=pairs)) == 0
        )

    def test_same_seed_same_sample(self) -> None:
        vectors = random_unit(300, 5, seed=1)
        rows = np.arange(300)
        sample = sample_pair_scores(vectors.__getitem__, rows, pairs=2500, seed=3)
        other = sample_pair_scores(vectors.__getitem__, rows, pairs=2500, seed=4)
        again = sample_pair_scores(vectors.__getitem__, rows, pairs=2500, seed=3)
        assert sample.tobytes() == again.tobytes()
        assert sample.tobytes() != other.tobytes()
        assert (np.diff(sample) >= 0).all()

    def test_sample_has_the_mean_of_all_pairs(self) -> None:
        vectors = unit(np.random.default_rng(1).normal([1, 0, 0], 1, (400, 3)))
        gram = vectors.astype(np.float64) @ vectors.T.astype(np.float64)
        mean_of_pairs = (gram.sum() - np.trace(gram)) / (400 * 399)
        # the scores' deviation is below 1, so 10,000 of them have a mean within 0.04 (4 sigma)
        sample = sample_pair_scores(vectors.__getitem__, np.arange(400))
        assert sample.mean() == pytest.approx(mean_of_pairs, abs=0.04)

    @pytest.mark.parametrize(
        ("score", "expected"),
        [(-1.0, 0), (0.1, 12.5), (0.15, 25), (0.2, 50), (0.3, 75), (0.4, 87.5), (1.0, 100)],
    )
    def test_percentile_by_hand(self, score: float, expected: float) -> None:
        assert percentile(score, np.array([0.1, 0.2, 0.2, 0.4], np.float32)) == expected

    def test_percentile_of_nothing_is_none(self) -> None:
        assert percentile(0.5, np.empty(0, np.float32)) is None
