"""bert4keras' two costly layers, their mathematics written in the form that engines fuse.

The results are bert4keras' own, to the last bits of float32. Its ``LayerNormalization`` guards a
division that cannot be by zero and clips under a root that cannot be negative; its attention spells
products as ``einsum`` and the mask as a selection. Neither is recognised by OpenVINO, which then
runs a dozen passes over memory in place of one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from simsearch.bert.backend import LayerNormalization, MultiHeadAttention, rotated, tf

# not -inf: bfloat16 arithmetic with infinities gives NaN, and the exponential is 0 all the same
_MASKED = -1e9


class FusedNormalization(LayerNormalization):  # type: ignore[misc]
    """Layer normalization (Ba, Kiros and Hinton 2016, arXiv:1607.06450) as two means."""

    def call(self, inputs: Any) -> Any:
        """float32 (batch, tokens, hidden) to the same."""
        centred = inputs - tf.reduce_mean(inputs, [-1], keepdims=True)
        variance = tf.reduce_mean(centred * centred, [-1], keepdims=True)
        return centred / tf.sqrt(variance + self.epsilon) * self.gamma + self.beta


class FusedAttention(MultiHeadAttention):  # type: ignore[misc]
    """Scaled dot-product attention (Vaswani et al. 2017, arXiv:1706.03762) as plain products."""

    def pay_attention_to(self, inputs: Sequence[Any], mask: Any = None, **kwargs: Any) -> Any:
        """(batch, tokens, heads, size) of queries, keys and values to the same, and the scores."""
        if kwargs["a_bias"] or kwargs.get("p_bias") not in (None, "rotary"):
            return super().pay_attention_to(inputs, mask, **kwargs)  # NEZHA's relative positions
        queries, keys, values = inputs[:3]
        if kwargs.get("p_bias") == "rotary":
            queries, keys = rotated(inputs[3], queries, keys)
        queries, keys, values = (tf.transpose(x, [0, 2, 1, 3]) for x in (queries, keys, values))
        scores = tf.matmul(queries, keys, transpose_b=True) * self.key_size**-0.5
        padding = 1.0 - tf.cast(mask[1], scores.dtype)
        weights = tf.nn.softmax(scores + padding[:, None, None, :] * _MASKED)
        return tf.transpose(tf.matmul(weights, values), [0, 2, 1, 3]), weights
