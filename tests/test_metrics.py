"""The metrics against hand-computed values, independent implementations and their properties."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats  # type: ignore[import-untyped]

from simsearch.evaluation.metrics import (
    Indices,
    auc,
    average_precision,
    bootstrap_interval,
    ndcg_at,
    recall_at,
    reciprocal_rank_at,
    spearman,
    swap_auc,
    triplet_accuracy,
)

Metric = Callable[[Any, Any], float]

# Few distinct values, so that ties are common.
items = st.lists(
    st.tuples(st.integers(0, 4), st.integers(-6, 6).map(lambda x: x / 4)), min_size=2, max_size=30
)
labelled = st.lists(
    st.tuples(st.integers(0, 1), st.integers(-6, 6).map(lambda x: x / 4)), min_size=2, max_size=30
).filter(lambda rows: len({label for label, _ in rows}) == 2)
score_lists = st.lists(st.integers(-6, 6).map(lambda x: x / 4), min_size=1, max_size=15)


def columns(rows: Sequence[tuple[int, float]]) -> tuple[list[int], list[float]]:
    return [label for label, _ in rows], [score for _, score in rows]


def auc_by_counting(labels: Sequence[int], scores: Sequence[float]) -> float:
    """P(score of a 1 > score of a 0), one cross pair at a time."""
    ones = [s for label, s in zip(labels, scores, strict=True) if label]
    zeros = [s for label, s in zip(labels, scores, strict=True) if not label]
    wins = [1.0 if a > b else 0.5 if a == b else 0.0 for a in ones for b in zeros]
    return sum(wins) / len(wins)


def average_precision_by_thresholds(labels: Sequence[int], scores: Sequence[float]) -> float:
    """The sum over thresholds of (R_n - R_{n-1}) * P_n, from the definition."""
    total, recall_before = 0.0, 0.0
    for threshold in sorted(set(scores), reverse=True):
        kept = [label for label, s in zip(labels, scores, strict=True) if s >= threshold]
        recall, precision = sum(kept) / sum(labels), sum(kept) / len(kept)
        total += (recall - recall_before) * precision
        recall_before = recall
    return total


def test_spearman_of_two_swapped_neighbours() -> None:
    # 1 - 6 * (0 + 1 + 1 + 0) / (4 * 15)
    assert spearman([1, 2, 3, 4], [0.1, 0.3, 0.2, 0.9]) == pytest.approx(0.8)


def test_spearman_gives_ties_their_mean_rank() -> None:
    # ranks 1.5, 1.5, 3 and 1, 2, 3: covariance 1.5, variances 1.5 and 2
    assert spearman([0, 0, 1], [5, 6, 7]) == pytest.approx(1.5 / math.sqrt(1.5 * 2))


@given(items)
def test_spearman_agrees_with_scipy(rows: list[tuple[int, float]]) -> None:
    labels, scores = columns(rows)
    if len(set(labels)) == 1 or len(set(scores)) == 1:
        assert math.isnan(spearman(labels, scores))
    else:
        assert spearman(labels, scores) == pytest.approx(
            stats.spearmanr(labels, scores).statistic, abs=1e-12
        )


@pytest.mark.parametrize("labels", [[], [3], [2, 2, 2]])
def test_spearman_with_a_constant_is_undefined(labels: list[float]) -> None:
    assert math.isnan(spearman(labels, np.arange(len(labels))))


def test_auc_counts_a_tie_as_half() -> None:
    # 1s at 0.9 and 0.5, 0s at 0.5 and 0.1: three wins and one tie of four
    assert auc([1, 0, 1, 0], [0.9, 0.5, 0.5, 0.1]) == 3.5 / 4


@given(labelled)
def test_auc_agrees_with_counting_every_pair(rows: list[tuple[int, float]]) -> None:
    labels, scores = columns(rows)
    assert auc(labels, scores) == pytest.approx(auc_by_counting(labels, scores))


@given(labelled)
def test_auc_of_the_negated_scores_is_the_complement(rows: list[tuple[int, float]]) -> None:
    labels, scores = columns(rows)
    assert auc(labels, scores) + auc(labels, [-s for s in scores]) == pytest.approx(1)


def test_auc_with_one_class_is_undefined() -> None:
    assert math.isnan(auc([1, 1], [0.1, 0.2]))
    assert math.isnan(auc([0, 0], [0.1, 0.2]))


def test_average_precision_of_a_known_ranking() -> None:
    # the example of scikit-learn's documentation: 1/2 * 1 + 1/2 * 2/3
    assert average_precision([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]) == pytest.approx(0.5 + 1 / 3)


def test_average_precision_takes_ties_together() -> None:
    # one threshold holds everything: precision 1/4 at recall 1, wherever the 1 stands
    assert average_precision([1, 0, 0, 0], [0.5] * 4) == 0.25
    assert average_precision([0, 0, 0, 1], [0.5] * 4) == 0.25


@given(labelled)
def test_average_precision_agrees_with_its_definition(rows: list[tuple[int, float]]) -> None:
    labels, scores = columns(rows)
    assert average_precision(labels, scores) == pytest.approx(
        average_precision_by_thresholds(labels, scores)
    )


def test_average_precision_without_a_one_is_undefined_and_with_ones_only_it_is_one() -> None:
    assert math.isnan(average_precision([0, 0], [0.1, 0.2]))
    assert average_precision([1, 1], [0.1, 0.2]) == 1


@given(labelled, st.randoms(use_true_random=False))
def test_the_order_of_the_items_plays_no_part(
    rows: list[tuple[int, float]], chance: random.Random
) -> None:
    shuffled = list(rows)
    chance.shuffle(shuffled)
    for metric in (spearman, auc, average_precision):
        before, after = metric(*columns(rows)), metric(*columns(shuffled))
        assert after == pytest.approx(before, nan_ok=True)


@given(labelled)
def test_only_the_order_of_the_scores_matters(rows: list[tuple[int, float]]) -> None:
    labels, scores = columns(rows)
    stretched = [math.exp(3 * s) - 7 for s in scores]
    for metric in (spearman, auc, average_precision):
        assert metric(labels, stretched) == pytest.approx(metric(labels, scores), nan_ok=True)


def test_ndcg_of_a_known_ranking() -> None:
    # found 3, 0, 2 of judged 3, 2, 1: discounts log2(2) = 1, log2(3), log2(4) = 2
    gained, best = 3 + 0 + 2 / 2, 3 + 2 / math.log2(3) + 1 / 2
    assert ndcg_at(10, [3, 0, 2], [1, 2, 3]) == pytest.approx(gained / best)


def test_ndcg_cuts_the_ideal_ranking_too() -> None:
    # the first of ten equally relevant documents is all that one place can hold
    assert ndcg_at(1, [1, 0, 0], [1] * 10) == 1
    assert ndcg_at(2, [1, 0, 1], [1] * 10) == pytest.approx(1 / (1 + 1 / math.log2(3)))


def test_ndcg_counts_a_negative_judgement_as_no_gain() -> None:
    assert ndcg_at(10, [-2, 1], [1, -2]) == pytest.approx(1 / math.log2(3))


@given(st.lists(st.integers(0, 3), min_size=1, max_size=15), st.integers(1, 15))
def test_ndcg_is_one_exactly_for_the_ideal_order(relevances: list[int], k: int) -> None:
    best_first = sorted(relevances, reverse=True)
    if best_first[0] == 0:
        assert math.isnan(ndcg_at(k, relevances, relevances))
    else:
        assert ndcg_at(k, best_first, relevances) == 1
        assert (ndcg_at(k, relevances, relevances) == pytest.approx(1)) == (
            relevances[:k] == best_first[:k]
        )


def test_recall_counts_relevant_documents_within_the_cutoff() -> None:
    assert recall_at(2, [0, 3, 1], [3, 1, 1, 0]) == 1 / 3
    assert recall_at(3, [0, 3, 1], [3, 1, 1, 0]) == 2 / 3
    assert math.isnan(recall_at(3, [0, 0], [0, 0]))


def test_reciprocal_rank_is_that_of_the_first_relevant_document() -> None:
    assert reciprocal_rank_at(10, [0, 0, 2, 1]) == 1 / 3
    assert reciprocal_rank_at(2, [0, 0, 2, 1]) == 0
    assert reciprocal_rank_at(10, []) == 0


def test_swap_auc_compares_across_sentences_and_triplet_accuracy_within() -> None:
    paraphrases, swaps = [0.9, 0.5], [0.8, 0.4]
    assert triplet_accuracy(paraphrases, swaps) == 1
    assert swap_auc(paraphrases, swaps) == 3 / 4  # 0.5 < 0.8 is the pair across


@given(score_lists, score_lists)
def test_swap_auc_agrees_with_counting_every_pair(ones: list[float], zeros: list[float]) -> None:
    expected = auc_by_counting([1] * len(ones) + [0] * len(zeros), ones + zeros)
    assert swap_auc(ones, zeros) == pytest.approx(expected)


def test_a_tied_triplet_is_wrong() -> None:
    assert triplet_accuracy([0.5, 0.75, 0.25, 1], [0.5, 0.5, 0.5, 0.5]) == 2 / 4


def test_a_difference_within_the_tolerance_is_a_tie() -> None:
    assert triplet_accuracy([0.75, 1.0], [0.5, 0.5], tolerance=0.25) == 1 / 2


def test_no_sentences_have_no_accuracy() -> None:
    assert math.isnan(triplet_accuracy([], []))
    assert math.isnan(swap_auc([], []))


@pytest.mark.parametrize("metric", [spearman, auc, average_precision, triplet_accuracy])
def test_arrays_that_do_not_pair_up_are_refused(metric: Metric) -> None:
    with pytest.raises(ValueError, match="lengths 3 and 2"):
        metric([0, 1, 1], [0.5, 0.5])
    with pytest.raises(ValueError, match="no nan"):
        metric([0, 1], [0.5, math.nan])
    with pytest.raises(ValueError, match=r"shape \(1, 2\)"):
        metric([[0, 1]], [[0.5, 0.5]])


@pytest.mark.parametrize("metric", [auc, average_precision])
def test_a_label_that_is_not_0_or_1_is_refused(metric: Metric) -> None:
    with pytest.raises(ValueError, match=r"label 0.5: expected 0 or 1"):
        metric([0, 1, 0.5], [1, 2, 3])


def test_bootstrap_of_a_mean_is_the_interval_of_the_normal_distribution() -> None:
    values = np.random.default_rng(7).normal(10, 2, size=400)
    low, high = bootstrap_interval(lambda rows: float(values[rows].mean()), 400, resamples=10_000)
    margin = 1.96 * values.std() / math.sqrt(len(values))
    assert low == pytest.approx(values.mean() - margin, abs=0.01)
    assert high == pytest.approx(values.mean() + margin, abs=0.01)
    assert low < values.mean() < high


def test_bootstrap_repeats_itself_and_another_seed_draws_anew() -> None:
    values = np.random.default_rng(7).normal(size=50)

    def mean(rows: Indices) -> float:
        return float(values[rows].mean())

    assert bootstrap_interval(mean, 50) == bootstrap_interval(mean, 50)
    assert bootstrap_interval(mean, 50) != bootstrap_interval(mean, 50, seed=1)


def test_a_lower_level_gives_an_interval_within() -> None:
    values = np.random.default_rng(7).normal(size=50)

    def mean(rows: Indices) -> float:
        return float(values[rows].mean())

    (low, high), (inner_low, inner_high) = (
        bootstrap_interval(mean, 50, level=level) for level in (0.95, 0.5)
    )
    assert low < inner_low < inner_high < high


def test_bootstrap_hands_over_n_indices_below_n() -> None:
    drawn: list[Indices] = []

    def keep(rows: Indices) -> float:
        drawn.append(rows)
        return 0.0

    bootstrap_interval(keep, 5, resamples=200)
    assert {rows.shape for rows in drawn} == {(5,)}
    assert len(drawn) == 200
    assert set(np.concatenate(drawn).tolist()) == {0, 1, 2, 3, 4}
    assert any(len(set(rows.tolist())) < 5 for rows in drawn)  # with replacement


def test_resamples_of_one_class_are_dropped() -> None:
    labels, scores = np.array([1, 0]), np.array([0.9, 0.1])  # half of the resamples have one class
    assert bootstrap_interval(lambda rows: auc(labels[rows], scores[rows]), 2) == (1, 1)


def test_an_interval_of_nothing_defined_is_undefined() -> None:
    assert np.isnan(bootstrap_interval(lambda rows: math.nan, 3)).tolist() == [True, True]


@pytest.mark.parametrize(
    "bad", [{"n": 0}, {"n": 3, "resamples": 0}, {"n": 3, "level": 1.0}, {"n": 3, "level": 0.0}]
)
def test_a_bootstrap_that_cannot_be_drawn_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"n = \d"):
        bootstrap_interval(lambda rows: 0.0, **bad)


@pytest.mark.parametrize("metric", [spearman, auc])
def test_intervals_of_8000_pairs_take_seconds(metric: Metric) -> None:
    rng = np.random.default_rng(3)
    labels, scores = rng.integers(0, 2, 8000), rng.normal(size=8000)
    start = time.process_time()  # the machine may be shared
    bootstrap_interval(lambda rows: metric(labels[rows], scores[rows]), 8000, resamples=100)
    assert time.process_time() - start < 1.0  # a tenth of the resamples; about 0.1 s where measured
