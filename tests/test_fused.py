"""Compiled steps of training, beside what TensorFlow makes of the plain formula."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from simsearch.bert import fused
from simsearch.bert.backend import tf

Numbers = np.ndarray
RNG = np.random.default_rng(3)


def numbers(*shape: int) -> Any:
    return tf.constant(RNG.standard_normal(shape), tf.float32)


def gradients(function: Callable[..., Any], *inputs: Any) -> list[Numbers]:
    """What the function gives, and the gradient of a weighted sum of it, by each input."""
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = function(*inputs)
        weights = tf.reshape(tf.linspace(-1.0, 2.0, tf.size(outputs)), outputs.shape)
        loss = tf.reduce_sum(tf.cast(outputs, tf.float32) * weights)
    return [np.asarray(x) for x in (tf.cast(outputs, tf.float32), *tape.gradient(loss, inputs))]


def agree(found: list[Numbers], expected: list[Numbers], tolerance: float) -> None:
    assert len(found) == len(expected)
    for ours, plain in zip(found, expected, strict=True):
        assert ours.shape == plain.shape
        np.testing.assert_allclose(ours, plain, rtol=tolerance, atol=tolerance)


def test_normalization() -> None:
    def plain(x: Any, gamma: Any, beta: Any) -> Any:
        mean, variance = tf.nn.moments(x, [-1], keepdims=True)
        return (x - mean) / tf.sqrt(variance + 1e-3) * gamma + beta

    inputs = numbers(3, 5, 8), numbers(8), numbers(8)
    found = gradients(lambda *x: fused.normalized(*x, 1e-3), *inputs)
    agree(found, gradients(plain, *inputs), 2e-5)


def test_normalization_by_hand() -> None:
    x = tf.constant([[1.0, 3.0]])  # mean 2, deviation 1
    found = fused.normalized(x, tf.constant([2.0, 10.0]), tf.constant([0.0, 0.5]), 0.0)
    np.testing.assert_allclose(found, [[-2.0, 10.5]], rtol=1e-6)


@pytest.mark.parametrize(
    "activation",
    [lambda x: tf.nn.gelu(x, approximate=False), tf.nn.relu, tf.tanh],
    ids=["gelu", "relu", "tanh"],
)
def test_activations(activation: Callable[[Any], Any]) -> None:
    inputs = numbers(7, 6), numbers(6)
    found = gradients(fused.biased(activation), *inputs)
    agree(found, gradients(lambda x, bias: activation(x + bias), *inputs), 1e-5)


def test_an_activation_is_of_its_inputs_type() -> None:
    products, bias = (tf.cast(x, tf.bfloat16) for x in (numbers(7, 6), numbers(6)))
    outputs = fused.biased(tf.tanh)(products, bias)
    assert outputs.dtype == tf.bfloat16
    plain = np.tanh(tf.cast(products, tf.float32) + tf.cast(bias, tf.float32))
    np.testing.assert_allclose(tf.cast(outputs, tf.float32), plain, atol=2**-8)


def test_softmax() -> None:
    padding = tf.constant([[0.0, 0.0, 0.0], [0.0, 0.0, -1e9]])[:, None, None, :]
    inputs = (numbers(2, 2, 3, 3),)
    found = gradients(lambda x: fused.softmax(x, padding, 0.25), *inputs)
    agree(found, gradients(lambda x: tf.nn.softmax(x * 0.25 + padding), *inputs), 1e-5)
    assert (found[0][1, :, :, 2] == 0).all()  # padding has no weight
