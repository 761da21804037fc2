"""What training makes small: losses on TensorFlow tensors, each with the paper that it is from."""

from __future__ import annotations

from typing import Any

from simsearch.bert.backend import tf


def unit(vectors: Any) -> Any:
    """Rows of length 1, so that their inner products are cosines; (n, dim) to the same."""
    return tf.math.l2_normalize(vectors, axis=-1)


def cosent(cosines: Any, labels: Any, temperature: float) -> Any:
    """CoSENT: log(1 + sum of exp((cosine_j - cosine_i) / temperature)) over all label_i > label_j.

    ``cosines`` and ``labels`` of n pairs, both (n,): any pair that people find more similar than
    another shall have the greater cosine; by how much the labels differ plays no part. It is a
    scalar. Source: Su Jianlin, "CoSENT (1)" (2022), kexue.fm/archives/8847, equation (6); its
    lambda of 20 is a temperature of 0.05.
    """
    differences = (cosines[None, :] - cosines[:, None]) / temperature  # [i, j]: j less i
    ordered = labels[:, None] > labels[None, :]
    exponents = tf.where(ordered, differences, tf.constant(-1e9, differences.dtype))
    return tf.reduce_logsumexp(tf.concat([[0.0], tf.reshape(exponents, [-1])], 0))


def contrastive(queries: Any, documents: Any, others: Any, temperature: float) -> Any:
    """The cross-entropy of choosing each query's own document among all of a batch.

    ``queries`` (n, dim) and ``documents`` (m, dim), m >= n, are unit vectors; document i is that
    of query i, the rest of them are negatives. ``others`` is bool (n, m): which documents are
    negatives of which query (one of the same text as its own document is none). The mean over the
    queries, a scalar. Source: Henderson et al. (2017), arXiv:1705.00652, section 4.4 ("multiple
    negatives"), with the temperature of InfoNCE, van den Oord et al. (2018), arXiv:1807.03748.
    """
    scores = tf.matmul(queries, documents, transpose_b=True) / temperature
    own = tf.eye(tf.shape(scores)[0], tf.shape(scores)[1], dtype=tf.bool)
    scores = tf.where(own | others, scores, tf.constant(-1e9, scores.dtype))
    labels = tf.range(tf.shape(scores)[0])
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, scores))


def masked_language_model(scores: Any, targets: Any) -> Any:
    """The sum of -log p(target) over masked tokens; the caller divides by their number.

    ``scores`` (n, vocab) are logits, ``targets`` int32 (n,). Source: Devlin et al. (2019),
    arXiv:1810.04805, section 3.1.
    """
    return tf.reduce_sum(tf.nn.sparse_softmax_cross_entropy_with_logits(targets, scores))
