from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simsearch.fusion import reciprocal_rank_fusion

rankings = st.lists(st.lists(st.integers(0, 12), unique=True, max_size=8), max_size=4)


def fused(*lists: list[int]) -> tuple[list[int], list[float]]:
    numbers, scores = reciprocal_rank_fusion([np.array(one, np.int64) for one in lists])
    assert (numbers.dtype, scores.dtype) == (np.int64, np.float64)
    return numbers.tolist(), scores.tolist()


def test_by_hand() -> None:
    # 7 is first and second, 8 second and first: a tie, in order of their numbers; 9 is in one only
    both = 1 / 61 + 1 / 62
    assert fused([8, 7], [7, 8, 9]) == ([7, 8, 9], [both, both, pytest.approx(1 / 63)])


def test_second_in_both_comes_before_first_in_one() -> None:
    assert fused([1, 5], [2, 5])[0] == [5, 1, 2]


def test_of_one_ranking_is_that_ranking() -> None:
    assert fused([4, 2, 9])[0] == [4, 2, 9]


def test_of_nothing() -> None:
    assert fused() == ([], [])
    assert fused([], []) == ([], [])


@given(rankings)
def test_equals_the_sum_over_rankings(lists: list[list[int]]) -> None:
    scores = {
        number: sum(1 / (60 + one.index(number) + 1) for one in lists if number in one)
        for number in {number for one in lists for number in one}
    }
    expected = sorted(scores, key=lambda number: (-scores[number], number))
    assert fused(*lists) == (expected, [scores[number] for number in expected])
