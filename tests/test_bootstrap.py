"""Intervals, differences and adjusted p-values, against scipy and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats  # type: ignore[import-untyped]

from simsearch.evaluation import bootstrap as module
from simsearch.evaluation.bootstrap import bootstrap, difference, holm, interval
from simsearch.evaluation.metrics import Floats, auc_of, mean_of, spearman_of

RNG = np.random.default_rng(7)
VALUES = RNG.normal(10, 2, size=400)


def draws_of(values: Floats, **options: int) -> Floats:
    (drawn,) = bootstrap([mean_of(values)], len(values), **options)
    return drawn


def test_the_interval_of_a_mean_is_that_of_the_normal_distribution() -> None:
    low, high = interval(draws_of(VALUES, resamples=10_000))
    margin = 1.96 * VALUES.std() / math.sqrt(len(VALUES))
    assert (low, high) == pytest.approx((VALUES.mean() - margin, VALUES.mean() + margin), abs=0.01)


def test_the_interval_of_a_correlation_agrees_with_scipy() -> None:
    labels = RNG.normal(size=300)
    scores = labels + RNG.normal(size=300)
    (drawn,) = bootstrap([spearman_of(labels, scores)], 300, resamples=4000)
    theirs = stats.bootstrap(
        (labels, scores),
        lambda x, y: stats.spearmanr(x, y).statistic,
        paired=True,
        vectorized=False,
        method="percentile",
        n_resamples=4000,
        rng=np.random.default_rng(1),
    ).confidence_interval
    assert interval(drawn) == pytest.approx((theirs.low, theirs.high), abs=0.01)


def test_equal_seeds_draw_equal_samples_and_others_do_not() -> None:
    np.testing.assert_array_equal(draws_of(VALUES), draws_of(VALUES))
    assert not np.array_equal(draws_of(VALUES), draws_of(VALUES, seed=1))


def test_the_size_of_the_blocks_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = RNG.integers(0, 2, 50)
    statistics = [auc_of(labels, VALUES[:50]), spearman_of(labels, VALUES[:50])]
    whole = bootstrap(statistics, 50)
    monkeypatch.setattr(module, "_AT_ONCE", 1)  # one sample a block
    for before, after in zip(whole, bootstrap(statistics, 50), strict=True):
        np.testing.assert_array_equal(before, after)


def test_a_sample_has_n_items_drawn_with_replacement() -> None:
    seen: list[Floats] = []

    def keep(weights: Floats) -> Floats:
        seen.append(weights)
        return np.zeros(len(weights))

    bootstrap([keep], 5, resamples=200)
    weights = np.concatenate(seen)
    assert weights.shape == (200, 5)
    assert (weights.sum(axis=1) == 5).all()
    assert (weights > 1).any(axis=1).mean() == pytest.approx(1 - math.factorial(5) / 5**5, abs=0.05)


def test_a_lower_level_gives_an_interval_within() -> None:
    (low, high), (inner_low, inner_high) = (interval(draws_of(VALUES), p) for p in (0.95, 0.5))
    assert low < inner_low < inner_high < high


def test_samples_of_one_class_are_left_out() -> None:
    (drawn,) = bootstrap([auc_of([1, 0], [0.9, 0.1])], 2)  # half of the samples have one class
    assert 0.4 < np.isnan(drawn).mean() < 0.6
    assert interval(drawn) == (1, 1)


def test_an_interval_of_nothing_defined_is_undefined() -> None:
    assert np.isnan(interval(np.full(3, math.nan))).all()


@pytest.mark.parametrize("bad", [{"n": 0}, {"n": 3, "resamples": 0}])
def test_a_bootstrap_that_cannot_be_drawn_is_refused(bad: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"n = \d"):
        bootstrap([lambda weights: weights[:, 0]], **bad)


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_a_level_that_is_none_is_refused(level: float) -> None:
    with pytest.raises(ValueError, match="level = "):
        interval(np.ones(3), level)


# Differences


def test_a_difference_of_means_agrees_with_the_paired_t_test() -> None:
    first = VALUES + 0.1 + RNG.normal(0, 1, 400)
    found = difference(first.mean(), draws_of(first), VALUES.mean(), draws_of(VALUES))
    theirs = stats.ttest_rel(first, VALUES)
    assert found.value == pytest.approx((first - VALUES).mean())
    assert found.p == pytest.approx(theirs.pvalue, abs=0.02)
    expected = theirs.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.02)


def test_pairing_sees_what_two_intervals_do_not() -> None:
    better = VALUES + 0.01  # on each item, whatever it is
    found = difference(better.mean(), draws_of(better), VALUES.mean(), draws_of(VALUES))
    low, high = interval(draws_of(VALUES))
    assert found.p < 1e-6
    assert low < better.mean() < high


def test_no_difference_at_all_is_no_evidence() -> None:
    same = draws_of(VALUES)
    assert difference(1.0, same, 1.0, same).p == 1
    assert difference(0.5, np.zeros(9), 0.0, np.zeros(9)).p == 0
    assert math.isnan(difference(math.nan, np.full(9, math.nan), 1.0, np.ones(9)).p)


def test_holm_multiplies_the_smallest_by_their_number_and_never_falls() -> None:
    # 4 * .01, 3 * .02, then 2 * .02 lifted to what came before, then 1 * .5
    assert holm([0.02, 0.5, 0.01, 0.02]) == pytest.approx([0.06, 0.5, 0.04, 0.06])
    assert holm([0.9, 0.8]) == [1, 1]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_adjusted_p_values_keep_their_order_and_lie_between_p_and_bonferroni(
    values: list[float],
) -> None:
    adjusted = holm(values)
    for p, q in zip(values, adjusted, strict=True):
        assert p <= q <= min(1, len(values) * p) + 1e-12
    ranked = [q for _, q in sorted(zip(values, adjusted, strict=True))]
    assert ranked == sorted(ranked)


def test_an_undefined_p_value_stays_and_does_not_count() -> None:
    first, second = holm([math.nan, 0.04])
    assert math.isnan(first)
    assert second == 0.04
