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


def imitation(students: Any, teachers: Any) -> Any:
    """The sum of the squared distances of n unit vectors from a teacher's, (n, dim) both.

    The caller divides by their number. Source: Reimers and Gurevych (2020), arXiv:2004.09813,
    equation (1), with one language, and vectors of length 1.
    """
    return tf.reduce_sum((students - teachers) ** 2)


def similarity_distribution(students: Any, teachers: Any, temperature: float) -> Any:
    """How far the similarities within a batch are from a teacher's, of any dimension.

    For each of n texts its cosines with the others become a distribution (a softmax at
    ``temperature``); the mean over the texts of the divergence KL(teacher, student). Unit vectors,
    (n, dim) and (n, teacher's dim); a scalar. Source: Fang et al. (2021), arXiv:2101.04731 (SEED),
    equations (2) to (4), with the batch in place of a queue.
    """
    own = tf.eye(tf.shape(students)[0], dtype=tf.bool)

    def logarithms(vectors: Any) -> Any:
        scores = tf.matmul(vectors, vectors, transpose_b=True) / temperature
        return tf.nn.log_softmax(tf.where(own, tf.constant(-1e9, scores.dtype), scores))

    wanted, given = logarithms(teachers), logarithms(students)
    each = tf.reduce_sum(tf.where(own, 0.0, tf.exp(wanted) * (wanted - given)), axis=1)
    return tf.reduce_mean(each)


def cross_entropy(scores: Any, targets: Any) -> Any:
    """The sum of -log p(target), for masked tokens or classes; the caller divides by their number.

    ``scores`` (n, classes) are logits, ``targets`` int32 (n,). Source: Devlin et al. (2019),
    arXiv:1810.04805, sections 3.1 and 4.1.
    """
    return tf.reduce_sum(tf.nn.sparse_softmax_cross_entropy_with_logits(targets, scores))


def yes_or_no(scores: Any, targets: Any) -> Any:
    """The sum of -log p(target) over yes and no; the caller divides by their number.

    ``scores`` (n,) are log odds of yes, ``targets`` float32 (n,) from 0 to 1, how much of a yes it
    is. Source: Nogueira and Cho (2019), arXiv:1901.04085, equation (1).
    """
    return tf.reduce_sum(tf.nn.sigmoid_cross_entropy_with_logits(targets, scores))


def random_field(scores: Any, tags: Any, mask: Any, transitions: Any) -> Any:
    """The sum of -log p(tags) of n texts under a linear-chain conditional random field.

    ``scores`` (n, units, names) and ``transitions`` (names, names), of the second after the first,
    add up to a path's score; p is a softmax over all paths. ``tags`` int32 (n, units) is anything
    where ``mask``, bool (n, units), is false, which is so from some unit of each text on. Source:
    Lafferty, McCallum and Pereira (2001), with the forward algorithm for the sum over the paths.
    """
    inside = tf.cast(mask, scores.dtype)
    tags = tf.where(mask, tags, 0)
    own = tf.gather(scores, tags, batch_dims=2) * inside
    steps = tf.gather_nd(transitions, tf.stack([tags[:, :-1], tags[:, 1:]], axis=2))
    path = tf.reduce_sum(own, 1) + tf.reduce_sum(steps * inside[:, 1:], 1)

    def forward(before: Any, unit: Any) -> Any:
        score, here = unit
        after = tf.reduce_logsumexp(before[:, :, None] + transitions[None], axis=1) + score
        return tf.where(here[:, None], after, before)

    by_unit = tf.transpose(scores, [1, 0, 2]), tf.transpose(mask)
    ends = tf.foldl(forward, (by_unit[0][1:], by_unit[1][1:]), initializer=scores[:, 0])
    # a text without a unit has one path, the empty one
    everything = tf.where(mask[:, 0], tf.reduce_logsumexp(ends, axis=1), 0.0)
    return tf.reduce_sum(everything - path)
