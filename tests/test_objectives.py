"""What training makes small, and how its steps are taken, against computations by hand."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest

from simsearch.bert.backend import tf
from simsearch.bert.dropout import dropout, dropped
from simsearch.training import objectives
from simsearch.training.optimization import Optimizer, WarmUpThenDecay

Floats = np.ndarray


def floats(values: object) -> tf.Tensor:
    return tf.constant(values, tf.float32)


class TestCosent:
    def test_by_hand(self) -> None:
        # label 2 > 1 > 0: the pairs (0, 1), (0, 2), (1, 2) are ordered, by cosines 0.5, 0.75, 0.25
        loss = objectives.cosent(floats([0.5, 0.75, 0.25]), floats([2, 1, 0]), 0.5)
        expected = math.log(1 + math.exp(0.5) + math.exp(-0.5) + math.exp(-1))
        assert float(loss) == pytest.approx(expected, rel=1e-6)

    def test_equal_labels_are_not_ordered(self) -> None:
        assert float(objectives.cosent(floats([0.1, 0.9]), floats([1, 1]), 0.05)) == 0

    def test_the_gradient_parts_what_is_in_the_wrong_order(self) -> None:
        cosines = tf.Variable([0.2, 0.8])
        with tf.GradientTape() as tape:
            loss = objectives.cosent(cosines, floats([1, 0]), 0.5)
        # d/dx log(1 + exp(x)) is the logistic function, x = (0.8 - 0.2) / 0.5
        slope = 1 / (1 + math.exp(-1.2)) / 0.5
        assert tape.gradient(loss, cosines).numpy() == pytest.approx([-slope, slope], rel=1e-6)

    def test_great_differences_do_not_overflow(self) -> None:
        loss = objectives.cosent(floats([-1, 1]), floats([1, 0]), 0.001)
        assert float(loss) == pytest.approx(2000)


class TestContrastive:
    def test_by_hand(self) -> None:
        queries = floats([[1, 0], [0, 1]])
        documents = floats([[0.6, 0.8], [0, 1], [1, 0]])
        others = tf.ones([2, 3], tf.bool)
        loss = objectives.contrastive(queries, documents, others, 0.5)
        rows = [[1.2, 0, 2], [1.6, 2, 0]]
        each = [
            math.log(sum(math.exp(score) for score in row)) - row[i] for i, row in enumerate(rows)
        ]
        assert float(loss) == pytest.approx(sum(each) / 2, rel=1e-6)

    def test_what_is_no_negative_does_not_count_but_for_the_own_document(self) -> None:
        queries = floats([[1, 0], [0, 1]])
        documents = floats([[0.6, 0.8], [0, 1], [1, 0]])
        others = tf.constant([[False, True, False], [True, False, True]])
        loss = objectives.contrastive(queries, documents, others, 0.5)
        rows = [[1.2, 0], [2, 1.6, 0]]
        each = [math.log(sum(math.exp(score) for score in row)) - row[0] for row in rows]
        assert float(loss) == pytest.approx(sum(each) / 2, rel=1e-6)


def test_imitation_by_hand() -> None:
    students, teachers = floats([[1, 0], [0, 1]]), floats([[0.6, 0.8], [0, 1]])
    assert float(objectives.imitation(students, teachers)) == pytest.approx(0.16 + 0.64)


class TestSimilarityDistribution:
    def test_by_hand(self) -> None:
        # cosines with the two others: of the teacher's (1, 0), (1, 0), (0, 0), of the student's
        # (0, 0), (0, 0), (0, 0)
        teachers = floats([[1, 0], [1, 0], [0, 1]])
        students = floats([[1, 0, 0], [0, 1, 0], [0, 0, 1]])
        loss = objectives.similarity_distribution(students, teachers, 0.5)
        p = math.exp(2) / (math.exp(2) + 1)  # a cosine of 1 against one of 0
        divergence = p * math.log(p / 0.5) + (1 - p) * math.log((1 - p) / 0.5)
        assert float(loss) == pytest.approx(2 * divergence / 3, rel=1e-5)

    def test_the_same_cosines_in_another_dimension_are_no_loss(self) -> None:
        teachers = floats([[0.6, 0.8], [1, 0], [0, 1]])
        students = floats([[0, 0.6, 0.8, 0], [0, 1, 0, 0], [0, 0, 1, 0]])
        loss = objectives.similarity_distribution(students, teachers, 0.05)
        assert float(loss) == pytest.approx(0, abs=1e-6)


def test_cross_entropy_by_hand() -> None:
    scores = floats([[0, math.log(3)], [math.log(4), 0]])  # p = 1/4, 3/4 and 4/5, 1/5
    loss = objectives.cross_entropy(scores, tf.constant([1, 1]))
    assert float(loss) == pytest.approx(-math.log(3 / 4) - math.log(1 / 5), rel=1e-6)


def test_unit_vectors() -> None:
    assert objectives.unit(floats([[3, 4], [0, -2]])).numpy() == pytest.approx(
        np.array([[0.6, 0.8], [0, -1]])
    )


class TestSchedule:
    def test_up_then_down_in_straight_lines(self) -> None:
        rate = WarmUpThenDecay(8.0, warmup=4, total=8)
        assert [float(rate(step)) for step in range(8)] == [2, 4, 6, 8, 8, 6, 4, 2]

    def test_without_warm_up(self) -> None:
        rate = WarmUpThenDecay(1.0, warmup=0, total=4)
        assert [float(rate(step)) for step in range(4)] == [1, 0.75, 0.5, 0.25]

    def test_all_warm_up(self) -> None:
        rate = WarmUpThenDecay(1.0, warmup=4, total=4)
        assert [float(rate(step)) for step in range(4)] == [0.25, 0.5, 0.75, 1]


class TestOptimizer:
    def test_two_steps_are_adamw_of_the_paper(self) -> None:
        rates, gradients = (0.05, 0.025), ([0.5, -2.0], [1.0, 0.25])
        kernel = tf.Variable([1.0, -2.0], name="layer/kernel")
        bias = tf.Variable([1.0, -2.0], name="layer/bias")
        optimizer = Optimizer(
            [kernel, bias], [1, 1], rate=0.05, warmup=0, total=2, weight_decay=0.1
        )
        for gradient in gradients:
            optimizer.apply([floats(gradient), floats(gradient)])
        assert kernel.numpy() == pytest.approx(adamw([1, -2], gradients, rates, 0.1), rel=1e-5)
        assert bias.numpy() == pytest.approx(adamw([1, -2], gradients, rates, 0), rel=1e-5)

    def test_lower_layers_learn_at_a_fraction(self) -> None:
        variables = [tf.Variable([1.0], name=f"{i}/bias") for i in range(3)]
        optimizer = Optimizer(
            variables, [1, 0.25, 0.5], rate=0.1, warmup=0, total=10, weight_decay=0
        )
        optimizer.apply([floats([3.0])] * 3)
        moved = [1 - float(variable[0]) for variable in variables]
        assert moved == pytest.approx([0.1, 0.025, 0.05], rel=1e-4)


def adamw(start: object, gradients: object, rates: object, weight_decay: float) -> Floats:
    """Algorithm 2 of Loshchilov and Hutter (2019), as PyTorch and Keras scale its decay."""
    x = np.array(start, np.float64)
    m, v = np.zeros_like(x), np.zeros_like(x)
    for t, (g, rate) in enumerate(zip(gradients, rates, strict=True), start=1):
        g = np.array(g)
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        x = x - rate * weight_decay * x
        x = x - rate * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-6)
    return x


class TestDropout:
    def test_nothing_is_dropped_outside_of_a_block(self) -> None:
        assert dropped(tf.ones([100]), 0.5).numpy().tolist() == [1] * 100

    def test_the_share_is_as_asked_and_the_mean_stays(self) -> None:
        with dropout(tf.constant([1, 2])):
            x = dropped(tf.ones([100_000]), 0.2).numpy()
        assert set(np.unique(x)) == {0, np.float32(1.25)}
        # five standard deviations of a binomial share
        assert abs((x == 0).mean() - 0.2) < 5 * math.sqrt(0.2 * 0.8 / 100_000)

    def test_masks_follow_from_seed_and_place(self) -> None:
        def masks(seed: list[int]) -> list[list[float]]:
            with dropout(tf.constant(seed)):
                return [dropped(tf.ones([64]), 0.5).numpy().tolist() for _ in range(2)]

        first = masks([3, 4])
        assert masks([3, 4]) == first
        assert first[0] != first[1]
        assert masks([3, 5])[0] not in first
        assert masks([4, 4])[0] not in first


class TestRandomField:
    def test_by_all_paths(self) -> None:
        random = np.random.default_rng(1)
        scores = random.standard_normal((4, 3, 2)).astype(np.float32)
        transitions = random.standard_normal((2, 2)).astype(np.float32)
        tags = np.array([[0, 1, 1], [1, 1, 0], [1, 0, 0], [0, 0, 0]], np.int32)
        lengths = [3, 2, 1, 0]
        mask = np.arange(3) < np.array(lengths)[:, None]

        def total(text: int, path: Sequence[int]) -> float:
            own = sum(scores[text, i, tag] for i, tag in enumerate(path))
            return float(own + sum(transitions[a, b] for a, b in itertools.pairwise(path)))

        expected = 0.0
        for text, length in enumerate(lengths):
            paths = itertools.product(range(2), repeat=length)
            everything = math.log(sum(math.exp(total(text, path)) for path in paths))
            expected += everything - total(text, tags[text, :length])
        loss = objectives.random_field(
            floats(scores), tf.constant(np.where(mask, tags, -7)), mask, floats(transitions)
        )
        assert float(loss) == pytest.approx(expected, rel=1e-5)

    def test_the_gradient_is_finite_and_moves_the_tags_up(self) -> None:
        scores, transitions = tf.Variable(tf.zeros([1, 3, 2])), tf.Variable(tf.zeros([2, 2]))
        with tf.GradientTape() as tape:
            loss = objectives.random_field(
                scores, tf.constant([[0, 1, 0]]), tf.ones([1, 3], tf.bool), transitions
            )
        assert float(loss) == pytest.approx(3 * math.log(2), rel=1e-6)
        own, steps = tape.gradient(loss, [scores, transitions])
        # the expected count of each less the one seen
        assert own.numpy()[0] == pytest.approx(np.array([[-0.5, 0.5], [0.5, -0.5], [-0.5, 0.5]]))
        assert steps.numpy() == pytest.approx(np.array([[0.5, -0.5], [-0.5, 0.5]]))
