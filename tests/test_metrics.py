"""The metrics against hand-computed values, independent implementations and their properties."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from typing import Any

import ir_measures
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats  # type: ignore[import-untyped]
from sklearn import metrics as sklearn_metrics

from simsearch.evaluation.metrics import (
    Statistic,
    auc,
    auc_of,
    average_precision,
    average_precision_of,
    is_nearer,
    macro_f1_of,
    mean_of,
    ndcg_at,
    recall_at,
    reciprocal_rank_at,
    spearman,
    spearman_of,
    swap_auc,
    swap_auc_of,
    vote,
)

Metric = Callable[[Any, Any], float]

# Few distinct values, so that ties are common.
items = st.lists(
    st.tuples(st.integers(0, 4), st.integers(-6, 6).map(lambda x: x / 4)), min_size=2, max_size=30
)
labelled = st.lists(
    st.tuples(st.integers(0, 1), st.integers(-6, 6).map(lambda x: x / 4)), min_size=2, max_size=30
).filter(lambda rows: len({label for label, _ in rows}) == 2)
quarters = st.integers(-6, 6).map(lambda x: x / 4)


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
    assert is_nearer(paraphrases, swaps).tolist() == [1, 1]
    assert swap_auc(paraphrases, swaps) == 3 / 4  # 0.5 < 0.8 is the pair across


@given(st.lists(st.tuples(quarters, quarters), min_size=1, max_size=15))
def test_swap_auc_agrees_with_counting_every_pair(rows: list[tuple[float, float]]) -> None:
    ones, zeros = [a for a, _ in rows], [b for _, b in rows]
    expected = auc_by_counting([1] * len(ones) + [0] * len(zeros), ones + zeros)
    assert swap_auc(ones, zeros) == pytest.approx(expected)


def test_a_tied_triplet_is_wrong() -> None:
    assert is_nearer([0.5, 0.75, 0.25, 1], [0.5, 0.5, 0.5, 0.5]).tolist() == [0, 1, 0, 1]


def test_a_difference_within_the_tolerance_is_a_tie() -> None:
    assert is_nearer([0.75, 1.0], [0.5, 0.5], tolerance=0.25).tolist() == [0, 1]


def test_no_sentences_have_no_accuracy() -> None:
    assert is_nearer([], []).tolist() == []
    assert math.isnan(swap_auc([], []))


@pytest.mark.parametrize("metric", [spearman, auc, average_precision, is_nearer])
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


# Independent scorers


@given(labelled)
def test_auc_and_average_precision_agree_with_scikit_learn(rows: list[tuple[int, float]]) -> None:
    labels, scores = columns(rows)
    assert auc(labels, scores) == pytest.approx(
        sklearn_metrics.roc_auc_score(labels, scores), abs=1e-12
    )
    assert average_precision(labels, scores) == pytest.approx(
        sklearn_metrics.average_precision_score(labels, scores), abs=1e-12
    )


@given(st.lists(st.integers(-1, 3), min_size=1, max_size=15), st.integers(0, 5), st.integers(1, 15))
def test_ranking_metrics_agree_with_ir_measures(found: list[int], missed: int, k: int) -> None:
    judged = [*found, *([1] * missed)]
    if max(judged) <= 0:
        assert math.isnan(ndcg_at(k, found, judged))
        return
    qrels = [ir_measures.Qrel("q", str(i), relevance) for i, relevance in enumerate(judged)]
    run = [ir_measures.ScoredDoc("q", str(i), 100.0 - i) for i in range(len(found))]
    measures = [ir_measures.nDCG @ k, ir_measures.R @ k, ir_measures.RR @ k]
    expected = ir_measures.calc_aggregate(measures, qrels, run)
    ours = (ndcg_at(k, found, judged), recall_at(k, found, judged), reciprocal_rank_at(k, found))
    # its library counts in single precision here and there
    assert ours == pytest.approx([expected[measure] for measure in measures], abs=1e-6)


class_names = st.lists(
    st.tuples(st.sampled_from("abcd"), st.sampled_from("abcd")), min_size=1, max_size=30
)


@given(class_names)
def test_macro_f1_agrees_with_scikit_learn(rows: list[tuple[str, str]]) -> None:
    labels, predicted = [a for a, _ in rows], [b for _, b in rows]
    (ours,) = macro_f1_of(labels, predicted)(np.ones((1, len(rows))))
    assert ours == pytest.approx(
        sklearn_metrics.f1_score(labels, predicted, average="macro", zero_division=0)
    )


# Votes of neighbours


def test_a_vote_goes_to_the_most_frequent_label_and_a_tie_to_the_nearest() -> None:
    assert vote(["a", "b", "b"]) == "b"
    assert vote(["b", "a", "a", "b", "c"]) == "b"
    assert vote(["a"]) == "a"


# Statistics of samples


def repeated(values: Sequence[Any], weights: Sequence[int]) -> list[Any]:
    return [value for value, times in zip(values, weights, strict=True) for _ in range(times)]


@given(labelled, st.data())
def test_a_weight_is_a_number_of_copies(rows: list[tuple[int, float]], data: Any) -> None:
    labels, scores = columns(rows)
    times = st.lists(st.integers(0, 3), min_size=len(rows), max_size=len(rows)).filter(any)
    weights = [data.draw(times), data.draw(times)]
    statistics: list[tuple[Statistic, Metric]] = [
        (spearman_of(labels, scores), spearman),
        (auc_of(labels, scores), auc),
        (average_precision_of(labels, scores), average_precision),
        (mean_of(scores), lambda _, values: float(np.mean(values))),
        (swap_auc_of(labels, scores), swap_auc),
    ]
    for statistic, metric in statistics:
        together = statistic(np.array(weights, np.float64))
        for value, row in zip(together, weights, strict=True):
            expected = metric(repeated(labels, row), repeated(scores, row))
            assert value == pytest.approx(expected, nan_ok=True, abs=1e-12)


@given(class_names, st.data())
def test_a_weight_is_a_number_of_copies_to_macro_f1(rows: list[tuple[str, str]], data: Any) -> None:
    times = st.lists(st.integers(0, 3), min_size=len(rows), max_size=len(rows)).filter(any)
    weights = data.draw(times)
    labels, predicted = [a for a, _ in rows], [b for _, b in rows]
    (value,) = macro_f1_of(labels, predicted)(np.array([weights], np.float64))
    copies = repeated(labels, weights), repeated(predicted, weights)
    assert value == pytest.approx(macro_f1_of(*copies)(np.ones((1, sum(weights))))[0])
