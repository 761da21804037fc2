"""A model whose variables change, and which is a checkpoint again at any time."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from simsearch.bert.backend import tf
from simsearch.bert.checkpoint_files import Array, Variables, with_padding_first
from simsearch.bert.dropout import dropout as dropping
from simsearch.bert.dropout import next_seed, training
from simsearch.bert.model import build_model, heads_of
from simsearch.checkpoint import Checkpoint

_IDS = tf.TensorSpec([None, None], tf.int32)
_SEED = tf.TensorSpec([2], tf.int32)
_DWINDLING, _WHOLE = 0.7, 4096
_LAYER = re.compile(r"Transformer-(\d+)-")


class TrainableModel:
    """The bert4keras model of a checkpoint, with ``variables`` (see ``read_variables``) to train.

    It gives ``heads`` (outputs, see pooling.py) and, with ``mlm``, the scores of the
    masked-language-model head. To be made in the scope of the strategy that will train it.
    ``dropout`` acts in blocks of ``dropout.dropout`` only; with ``bfloat16`` the large products are
    computed in it, while the variables stay float32. ``head`` are the first values of further
    variables, which are trained with it: see ``head`` and ``dropout``. Texts go through the model
    in so many ``passes``, each with texts of like length.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        variables: Variables,
        heads: Sequence[str],
        *,
        mlm: bool = False,
        dropout: float = 0.0,
        bfloat16: bool = False,
        head: Mapping[str, Array] | None = None,
        passes: int = 1,
    ) -> None:
        self.checkpoint, self._heads, self._passes = checkpoint, tuple(heads), passes
        pooler = "pooler" in heads
        a = checkpoint.architecture
        self._transformer = build_model(
            a, variables, pooler=pooler, mlm=mlm, bfloat16=bfloat16, dropout=dropout
        )
        self._model, encode = heads_of(self._transformer, heads)
        seeded = functools.partial(_seeded, encode)
        # functions, so that they are traced once for all passes
        self._evaluate = tf.function(encode, [_IDS], autograph=False)
        self._train = tf.function(seeded, [_IDS, _SEED], autograph=False)
        named = list(self._named())
        self.variables: list[Any] = [variable for _, _, variable in named]
        self.depths: list[int] = [self._depth(layer) for layer, _, _ in named]
        self.dropout = dropout
        self.head: dict[str, Any] = {
            name: tf.Variable(value, name=name) for name, value in (head or {}).items()
        }
        self.variables += self.head.values()

    def heads(self, ids: Any) -> list[Any]:
        """The heads of ids (rows, tokens), 0 being padding; float32.

        A pass is as wide as its longest row: of a batch in one, two of three places are padding.
        """
        if self._passes == 1:
            found = self._pass(ids)
            return [found[head] for head in self._heads]
        lengths = tf.reduce_sum(tf.cast(ids != 0, tf.int32), axis=1)
        order = tf.argsort(lengths, stable=True)
        parts: list[dict[str, Any]] = []
        for rows in self._split(order):
            width = tf.maximum(tf.reduce_max(tf.gather(lengths, rows)), 1)
            parts.append(self._pass(tf.gather(ids, rows)[:, :width]))
        places, width = tf.argsort(order), tf.shape(ids)[1]
        return [
            tf.gather(tf.concat([_wide(part[head], width) for part in parts], 0), places)
            for head in self._heads
        ]

    def _split(self, order: Any) -> Iterator[Any]:
        """``order``, the shortest first, in as many parts as there are passes."""
        start: Any = 0
        for stop in pass_ends(tf.size(order), self._passes):
            yield order[start:stop]
            start = stop

    def _pass(self, ids: Any) -> dict[str, Any]:
        found: dict[str, Any]
        found = self._train(ids, next_seed()) if training() else self._evaluate(ids)
        return found

    def pooled(self, ids: Any) -> Any:
        """The mean of the heads, float32 (rows, hidden): what a pooling makes of its heads."""
        heads = self.heads(ids)
        return heads[0] if len(heads) == 1 else tf.add_n(heads) / len(heads)

    def mask_scores(self, states: Any) -> Any:
        """Logits over the vocabulary, (n, vocab), for last hidden states, (n, hidden)."""
        layers = self._transformer.layers
        x = layers["MLM-Norm"](layers["MLM-Dense"](states))
        return layers["MLM-Bias"](layers["Embedding-Token"](x, mode="dense"))

    def values(self) -> Variables:
        """Its variables as they are now, by their canonical names, rows in the vocabulary's order.

        Float32 arrays: what ``write_checkpoint`` takes, and those of ``head`` by their own names.
        """
        values = {name: np.asarray(variable.numpy()) for _, name, variable in self._named()}
        values |= {name: np.asarray(variable.numpy()) for name, variable in self.head.items()}
        return with_padding_first(self.checkpoint, values)

    def _named(self) -> Iterator[tuple[str, str, Any]]:
        """Layer, canonical name and variable, in bert4keras' order, for all that is trained."""
        layers = self._transformer.layers
        for layer, names in self._transformer.variable_mapping().items():
            if layer in layers:
                for variable, name in zip(layers[layer].trainable_weights, names, strict=False):
                    yield layer, name, variable

    def _depth(self, layer: str) -> int:
        """How many layers lie above: 0 for the last one and for heads, most for embeddings."""
        count = self.checkpoint.architecture.num_hidden_layers
        if layer.startswith("Embedding-"):
            return count
        found = _LAYER.match(layer)  # ALBERT's layers are one, without a number
        return count - 1 - int(found[1]) if found else 0


def pass_ends(rows: Any, passes: int) -> list[Any]:
    """Where each pass ends of so many rows in order of their length, a number or a scalar tensor.

    Each has seven tenths of the rows of the one before: most texts are short, and the longer they
    are, the more their lengths differ.
    """
    shares = np.cumsum(_DWINDLING ** np.arange(passes))
    return [rows * round(share * _WHOLE) // _WHOLE for share in (shares / shares[-1]).tolist()]


def _seeded(encode: Callable[[Any], dict[str, Any]], ids: Any, seed: Any) -> dict[str, Any]:
    with dropping(seed):
        return encode(ids)


def _wide(head: Any, width: Any) -> Any:
    """Padded to so many tokens, if it has a row for each token."""
    if head.shape.rank == 2:
        return head
    return tf.pad(head, [[0, 0], [0, width - tf.shape(head)[1]], [0, 0]])
