"""What a training computes between its products, each a pass over memory, gradients included.

TensorFlow runs each addition and multiplication by itself, and each reads and writes all of a
batch: on a CPU they took longer than the products between which they stand. Here XLA makes one
loop of each function. Gradients are written as functions too, so that they are compiled as well.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from simsearch.bert.backend import tf

Function = Callable[..., Any]
# A GPU is quick at this, and XLA for one asks for a compiler that TensorFlow doesn't bring.
_COMPILE = not tf.config.list_physical_devices("GPU")


def _loop(function: Function) -> Function:
    compiled: Function = tf.function(function, jit_compile=_COMPILE, autograph=False)
    return compiled


@_loop
def _normalize(inputs: Any, gamma: Any, beta: Any, epsilon: Any) -> tuple[Any, Any, Any]:
    centred = inputs - tf.reduce_mean(inputs, [-1], keepdims=True)
    scale = tf.math.rsqrt(tf.reduce_mean(centred * centred, [-1], keepdims=True) + epsilon)
    n = centred * scale
    return n * gamma + beta, n, scale


@_loop
def _normalize_gradients(upstream: Any, n: Any, scale: Any, gamma: Any) -> tuple[Any, Any, Any]:
    d = upstream * gamma
    mean, slope = (tf.reduce_mean(x, [-1], keepdims=True) for x in (d, d * n))
    columns = list(range(upstream.shape.rank - 1))
    of_gamma, of_beta = (tf.reduce_sum(x, columns) for x in (upstream * n, upstream))
    return scale * (d - mean - n * slope), of_gamma, of_beta


def normalized(inputs: Any, gamma: Any, beta: Any, epsilon: float) -> Any:
    """Layer normalization (Ba, Kiros and Hinton 2016, arXiv:1607.06450) of float32 (…, hidden).

    With n for the normalized input and s for its standard deviation, d(loss)/d(input) is
    (d - mean(d) - n * mean(d * n)) / s, where d is d(loss)/d(n).
    """

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def function(inputs: Any, gamma: Any, beta: Any) -> tuple[Any, Function]:
        outputs, n, scale = _normalize(inputs, gamma, beta, tf.constant(epsilon, inputs.dtype))
        return outputs, lambda upstream: _normalize_gradients(upstream, n, scale, gamma)

    return function(inputs, gamma, beta)


class Biased:
    """An activation with the bias before it, in float32 whatever its inputs are.

    Takes products (rows, units) and biases (units,) to what a dense layer gives, of the products'
    type. ``biased`` makes one, so that layers with one activation share what is compiled.
    """

    def __init__(self, activation: Function) -> None:
        self._activation = activation
        self._forward = _loop(self._activated)
        self._backward = _loop(self._gradients)

    def __call__(self, products: Any, bias: Any) -> Any:
        """``activation(products + bias)``."""

        @tf.custom_gradient  # type: ignore[untyped-decorator]
        def function(products: Any, bias: Any) -> tuple[Any, Function]:
            outputs = self._forward(products, bias)
            return outputs, lambda upstream: self._backward(upstream, products, bias)

        return function(products, bias)

    def _activated(self, products: Any, bias: Any) -> Any:
        sums = tf.cast(products, tf.float32) + tf.cast(bias, tf.float32)
        return tf.cast(self._activation(sums), products.dtype)

    def _gradients(self, upstream: Any, products: Any, bias: Any) -> tuple[Any, Any]:
        sums = tf.cast(products, tf.float32) + tf.cast(bias, tf.float32)
        with tf.GradientTape() as tape:
            tape.watch(sums)
            outputs = self._activation(sums)
        slopes = tape.gradient(outputs, sums, tf.cast(upstream, tf.float32))
        return tf.cast(slopes, products.dtype), tf.cast(tf.reduce_sum(slopes, 0), bias.dtype)


biased = functools.cache(Biased)


@_loop
def _softmax(scores: Any, padding: Any, scale: Any) -> Any:
    return tf.cast(tf.nn.softmax(tf.cast(scores, tf.float32) * scale + padding), scores.dtype)


@_loop
def _softmax_gradient(upstream: Any, weights: Any, scale: Any) -> Any:
    d, w = (tf.cast(x, tf.float32) for x in (upstream, weights))
    slopes = w * (d - tf.reduce_sum(d * w, [-1], keepdims=True)) * scale
    return tf.cast(slopes, weights.dtype)


def softmax(scores: Any, padding: Any, scale: float) -> Any:
    """The softmax over the last dimension of ``scores * scale + padding``, in float32.

    ``scores`` is (batch, heads, tokens, tokens), ``padding`` float32 (batch, 1, 1, tokens); of the
    scores' type.
    """

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def function(scores: Any) -> tuple[Any, Function]:
        factor = tf.constant(scale, tf.float32)
        weights = _softmax(scores, padding, factor)
        return weights, lambda upstream: _softmax_gradient(upstream, weights, factor)

    return function(scores)
