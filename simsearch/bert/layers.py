"""bert4keras' costly layers, their mathematics written in the form that engines fuse.

The results are bert4keras' own, to the last bits of float32. Its ``LayerNormalization`` guards a
division that cannot be by zero and clips under a root that cannot be negative; its attention spells
products as ``einsum`` and the mask as a selection; Keras' ``Dense`` goes by way of matrices whose
shapes are computed anew each time. OpenVINO recognises none of that, and runs a dozen passes over
memory in place of one, and hundreds of small steps for a single sentence.

Where products are computed in bfloat16, the softmax between them is still float32. In training
TensorFlow computes gradients too, for which one large matrix is better than one for each text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from simsearch.bert.backend import (
    FeedForward,
    LayerNormalization,
    MultiHeadAttention,
    rotated,
    tf,
)
from simsearch.bert.dropout import dropped, training

# not infinity: bfloat16 arithmetic with infinities gives NaN, and the exponential is 0 all the same
_FAR = 1e9


class FusedNormalization(LayerNormalization):  # type: ignore[misc]
    """Layer normalization (Ba, Kiros and Hinton 2016, arXiv:1607.06450) as two means."""

    def call(self, inputs: Any) -> Any:
        """float32 (batch, tokens, hidden) to the same."""
        if training():
            return _normalized(self.epsilon)(inputs, self.gamma, self.beta)
        centred = inputs - tf.reduce_mean(inputs, [-1], keepdims=True)
        variance = tf.reduce_mean(centred * centred, [-1], keepdims=True)
        return centred / tf.sqrt(variance + self.epsilon) * self.gamma + self.beta


def _normalized(epsilon: float) -> Callable[[Any, Any, Any], Any]:
    """The same with a gradient in half the passes over memory that a derived one takes.

    With n for the normalized input and s for its standard deviation, d(loss)/d(input) is
    (d - mean(d) - n * mean(d * n)) / s, where d is d(loss)/d(n).
    """

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def normalized(inputs: Any, gamma: Any, beta: Any) -> Any:
        centred = inputs - tf.reduce_mean(inputs, [-1], keepdims=True)
        scale = tf.math.rsqrt(tf.reduce_mean(centred * centred, [-1], keepdims=True) + epsilon)
        n = centred * scale

        def gradients(upstream: Any) -> tuple[Any, Any, Any]:
            d = upstream * gamma
            mean, slope = (tf.reduce_mean(x, [-1], keepdims=True) for x in (d, d * n))
            # a product with ones adds up the rows sooner than a sum does
            rows = [tf.reshape(x, [-1, n.shape[-1]]) for x in (upstream * n, upstream)]
            ones = tf.ones([1, tf.shape(rows[0])[0]], n.dtype)
            of_gamma, of_beta = (tf.matmul(ones, x)[0] for x in rows)
            return scale * (d - mean - n * slope), of_gamma, of_beta

        return n * gamma + beta, gradients

    found: Callable[[Any, Any, Any], Any] = normalized
    return found


class FusedAttention(MultiHeadAttention):  # type: ignore[misc]
    """Scaled dot-product attention (Vaswani et al. 2017, arXiv:1706.03762) as plain products."""

    def build(self, input_shape: Any) -> None:
        """Make the weights, of the dense layers too, which are not called."""
        super().build(input_shape)
        for shape, dense in zip(input_shape, (self.q_dense, self.k_dense, self.v_dense)):  # noqa: B905
            dense.build(shape)
        self.o_dense.build([None, None, self.heads * self.head_size])

    def call(self, inputs: Sequence[Any], mask: Any = None, **kwargs: Any) -> Any:
        """(batch, tokens, hidden) of queries, keys and values to the same."""
        sizes = (self.key_size, self.key_size, self.head_size)
        dense = (self.q_dense, self.k_dense, self.v_dense)
        each = [
            _reshaped(_product(x, layer), [self.heads, size])
            for x, layer, size in zip(inputs[:3], dense, sizes, strict=True)
        ]
        masks = [None, None] if mask is None else [mask[0], mask[2]]
        output, _ = self.pay_attention_to([*each, *inputs[3:]], masks, **kwargs)
        return _product(_reshaped(output, [self.heads * self.head_size]), self.o_dense)

    def pay_attention_to(self, inputs: Sequence[Any], mask: Any = None, **kwargs: Any) -> Any:
        """(batch, tokens, heads, size) of queries, keys and values to the same, and the scores."""
        if kwargs["a_bias"] or kwargs.get("p_bias") not in (None, "rotary"):
            # NEZHA's relative positions: bert4keras' own, whose softmax is of its inputs' type
            inputs = [tf.cast(x, tf.float32) for x in inputs]
            output, weights = super().pay_attention_to(inputs, mask, **kwargs)
            return tf.cast(output, self.compute_dtype), weights
        queries, keys, values = inputs[:3]
        if kwargs.get("p_bias") == "rotary":
            queries, keys = rotated(inputs[3], queries, keys)
        queries, keys, values = (tf.transpose(x, [0, 2, 1, 3]) for x in (queries, keys, values))
        scores = tf.cast(tf.matmul(queries, keys, transpose_b=True), tf.float32)
        scores = scores * self.key_size**-0.5
        # in this order: OpenVINO takes one minus a cast for a dequantization, operands exchanged
        padding = tf.cast(mask[1], scores.dtype) - 1.0
        weights = tf.nn.softmax(scores + padding[:, None, None, :] * _FAR)
        weights = dropped(weights, self.attention_dropout)
        output = tf.matmul(tf.cast(weights, values.dtype), values)
        return tf.transpose(output, [0, 2, 1, 3]), weights


class FusedFeedForward(FeedForward):  # type: ignore[misc]
    """Two dense layers, one after the other."""

    def build(self, input_shape: Any) -> None:
        """Make the weights, of the dense layers too, which are not called."""
        super().build(input_shape)
        self.i0_dense.build(input_shape)
        self.o_dense.build([None, None, self.units])

    def call(self, inputs: Any) -> Any:
        """(batch, tokens, hidden) to the same."""
        return _product(_product(inputs, self.i0_dense), self.o_dense)


def _product(inputs: Any, dense: Any) -> Any:
    """What the dense layer gives for (batch, tokens, inputs)."""
    if not training():
        return dense.activation(tf.matmul(inputs, dense.kernel) + dense.bias)
    # as one matrix: the gradient of a product for each text is a matrix for each, to be summed
    rows = tf.reshape(inputs, [-1, inputs.shape[2]])
    outputs = dense.activation(tf.nn.bias_add(tf.matmul(rows, dense.kernel), dense.bias))
    return tf.reshape(outputs, tf.concat([tf.shape(inputs)[:2], [dense.units]], 0))


def _reshaped(x: Any, last: Sequence[int]) -> Any:
    """``x`` with all after its first two dimensions in this shape."""
    return tf.reshape(x, tf.concat([tf.gather(tf.shape(x), [0, 1]), last], 0))
