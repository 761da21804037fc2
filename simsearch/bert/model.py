"""The bert4keras model of a checkpoint: its hidden states, pooled heads and MLM head."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from simsearch.bert.backend import (
    ALBERT,
    BERT,
    ELECTRA,
    NEZHA,
    Dropout,
    FeedForward,
    LayerNormalization,
    MultiHeadAttention,
    RoFormer,
    build_transformer_model,
    tf,
    tnp,
)
from simsearch.bert.checkpoint_files import (
    Array,
    Variables,
    has_variables,
    read_variables,
    writing,
)
from simsearch.bert.devices import Devices
from simsearch.bert.dropout import SeededDropout
from simsearch.bert.layers import FusedAttention, FusedFeedForward, FusedNormalization
from simsearch.checkpoint import Checkpoint
from simsearch.checkpoint.architecture import Architecture
from simsearch.checkpoint.variables import backbone_shapes, mlm_shapes, pooler_shapes
from simsearch.config import Family
from simsearch.errors import CheckpointError
from simsearch.pooling import STRATEGIES

_FUSED = {
    FeedForward: FusedFeedForward,
    LayerNormalization: FusedNormalization,
    MultiHeadAttention: FusedAttention,
}
# the layers with a model's large products; all that is between them is float32 in any precision
_LARGE = (MultiHeadAttention, FeedForward)
_POLICY = threading.Lock()


class _Recording:
    """Mixed into a bert4keras model class: fused layers, and every hidden state kept."""

    hidden_states: list[Any]
    dropout_rate: float

    def apply(self, inputs: Any = None, layer: Any = None, *args: Any, **kwargs: Any) -> Any:
        if layer not in _LARGE:
            kwargs["dtype"] = "float32"
        if layer is Dropout and self.dropout_rate:
            layer = SeededDropout
        return super().apply(inputs, _FUSED.get(layer, layer), *args, **kwargs)  # type: ignore[misc]

    def apply_embeddings(self, inputs: Any) -> Any:
        outputs = super().apply_embeddings(inputs)  # type: ignore[misc]
        self.hidden_states = [outputs]
        return outputs

    def apply_main_layers(self, inputs: Any, index: int) -> Any:
        outputs = super().apply_main_layers(inputs, index)  # type: ignore[misc]
        self.hidden_states.append(outputs)
        return outputs

    @property
    def initializer(self) -> Any:
        # every variable is overwritten by the checkpoint's: don't draw random numbers for it
        return tf.keras.initializers.Zeros()


class _RecordingBERT(_Recording, BERT):  # type: ignore[misc]
    pass


class _RecordingALBERT(_Recording, ALBERT):  # type: ignore[misc]
    pass


class _RecordingNEZHA(_Recording, NEZHA):  # type: ignore[misc]
    pass


class _RecordingELECTRA(_Recording, ELECTRA):  # type: ignore[misc]
    pass


class _RecordingRoFormer(_Recording, RoFormer):  # type: ignore[misc]
    pass


_MODELS: dict[Family, type[Any]] = {
    "bert": _RecordingBERT,
    "albert": _RecordingALBERT,
    "nezha": _RecordingNEZHA,
    "electra": _RecordingELECTRA,
    "roformer": _RecordingRoFormer,
}


def build_model(
    a: Architecture,
    variables: Variables,
    *,
    pooler: bool,
    mlm: bool,
    bfloat16: bool = False,
    dropout: float = 0.0,
) -> Any:
    """A bert4keras transformer (its ``.model`` is a Keras model) with these variables.

    Its ``hidden_states`` are the symbolic outputs 0 (embeddings) to L (last layer), float32. With
    ``bfloat16`` attention and feed-forward layers compute in it. ``dropout`` is the share of units
    that are dropped where ``dropout.dropout`` says so.
    """
    with _policy("mixed_bfloat16" if bfloat16 else "float32"):
        transformer = _untrained(a, pooler=pooler, mlm=mlm, dropout=dropout)
    for layer in transformer.layers.values():
        if isinstance(layer, LayerNormalization):
            # bert4keras fixes it to 1e-12 (1e-7 in ALBERT's layers), whatever the config says
            layer.epsilon = a.layer_norm_eps
    transformer.load_weights_from_checkpoint(variables)
    return transformer


@contextlib.contextmanager
def _policy(name: str) -> Iterator[None]:
    """Make it Keras' policy, which is one for all threads, for the layers built in the block.

    A layer takes a policy as an argument, but the layers inside bert4keras' take this one.
    """
    with _POLICY:
        before = tf.keras.mixed_precision.global_policy()
        tf.keras.mixed_precision.set_global_policy(name)
        try:
            yield
        finally:
            tf.keras.mixed_precision.set_global_policy(before)


def _untrained(a: Architecture, *, pooler: bool, mlm: bool, dropout: float) -> Any:
    return build_transformer_model(
        model=_MODELS[a.family],
        return_keras_model=False,
        vocab_size=a.vocab_size,
        hidden_size=a.hidden_size,
        num_hidden_layers=a.num_hidden_layers,
        num_attention_heads=a.num_attention_heads,
        intermediate_size=a.intermediate_size,
        embedding_size=a.embedding_size,
        attention_key_size=a.attention_key_size,
        hidden_act=a.hidden_act,
        max_position=a.max_position_embeddings,
        segment_vocab_size=a.type_vocab_size,
        dropout_rate=dropout,
        # NEZHA's attention is bert4keras' own, whose dropout follows no seed
        attention_dropout_rate=0 if a.family == "nezha" else dropout,
        **(
            {} if a.family == "electra" else {"with_pool": pooler and a.pooler_act, "with_mlm": mlm}
        ),
    )


def encoder_graph(checkpoint: Checkpoint, heads: Sequence[str]) -> Any:
    """A ``tf.Module`` whose ``encode`` takes ids to a dict of these heads; a ``tf.function``.

    Ids are int32 (batch, tokens), 0 being padding. Heads, all float32: ``<strategy>@<state>``
    (batch, hidden) for every strategy of pooling.py and every hidden state; ``tokens@<state>``
    (batch, tokens, hidden), the state itself; ``static_mean`` (batch, embedding), the mean of the
    word vectors alone; and ``pooler`` (batch, hidden).
    """
    model, encode = _encoder(checkpoint, heads, bfloat16=False)
    signature = [tf.TensorSpec([None, None], tf.int32, "ids")]
    graph = tf.Module()
    graph.weights = model.weights  # a saved graph holds the variables that its module owns
    graph.encode = tf.function(encode, input_signature=signature, autograph=False)
    return graph


class DeviceEncoder:
    """What ``encoder_graph`` computes, on several devices at once."""

    def __init__(
        self, checkpoint: Checkpoint, heads: Sequence[str], devices: Devices, *, bfloat16: bool
    ) -> None:
        self._heads, self._devices = tuple(heads), devices
        with devices.strategy.scope():
            _, encode = _encoder(checkpoint, heads, bfloat16=bfloat16)

        def on_each(ids: Any) -> Any:
            def share() -> dict[str, Any]:
                return encode(ids[tf.distribute.get_replica_context().replica_id_in_sync_group])

            return devices.strategy.run(share)

        # A TPU's compiler wants to know shapes, at the price of a graph for each. For the others
        # that price, some MiB and a second, would be higher than the gain.
        shape = tf.TensorSpec([devices.count, None, None], tf.int32, "ids")
        signature = None if devices.kind == "TPU" else [shape]
        self._step = tf.function(on_each, input_signature=signature, autograph=False)

    def encode(self, ids: npt.NDArray[np.int32]) -> list[Array]:
        """The heads of ids (rows, tokens), 0 being padding; each device takes as many rows."""
        shared = tf.constant(ids.reshape(self._devices.count, -1, ids.shape[1]))
        outputs = self._step(shared)
        return [self._rows(outputs[head]) for head in self._heads]

    def _rows(self, output: Any) -> Array:
        shares = self._devices.strategy.experimental_local_results(output)
        return np.concatenate([share.numpy() for share in shares])


def _encoder(
    checkpoint: Checkpoint, heads: Sequence[str], *, bfloat16: bool
) -> tuple[Any, Callable[[Any], dict[str, Any]]]:
    """The Keras model, and the function from ids to heads that ``encoder_graph`` describes."""
    a, pooler = checkpoint.architecture, "pooler" in heads
    shapes = backbone_shapes(a) | (pooler_shapes(a) if pooler else {})
    variables = read_variables(checkpoint, shapes)
    transformer = build_model(a, variables, pooler=pooler, mlm=False, bfloat16=bfloat16)
    return heads_of(transformer, heads)


def heads_of(transformer: Any, heads: Sequence[str]) -> tuple[Any, Callable[[Any], dict[str, Any]]]:
    """The Keras model of what ``build_model`` made, and the function from ids to these heads."""
    outputs = [*transformer.hidden_states, *(transformer.outputs if "pooler" in heads else [])]
    model = tf.keras.Model(transformer.inputs, outputs)
    word_vectors = transformer.layers["Embedding-Token"]

    def encode(ids: Any) -> dict[str, Any]:
        states = model([ids, tf.zeros_like(ids)], training=False)
        mask = tf.cast(tf.not_equal(ids, 0), tf.float32)
        return {head: _head(head, states, ids, mask) for head in heads}

    def _head(head: str, states: Any, ids: Any, mask: Any) -> Any:
        if head == "pooler":
            return states[-1]
        if head == "static_mean":
            return STRATEGIES["mean"](tnp, word_vectors(ids), mask)
        name, _, state = head.partition("@")
        if name == "tokens":
            return states[int(state)]
        return STRATEGIES[name](tnp, states[int(state)], mask)

    return model, encode


def save_encoder_graph(checkpoint: Checkpoint, heads: Sequence[str], folder: Path) -> None:
    """Write ``encoder_graph`` as a TensorFlow SavedModel. Raises OSError if the system refuses."""
    graph = encoder_graph(checkpoint, heads)
    with writing():
        tf.saved_model.save(graph, str(folder), signatures=graph.encode)


def mask_filler(checkpoint: Checkpoint) -> Callable[[Sequence[int], int], Array]:
    """A function from ids and a position to the distribution over the vocabulary, float32 (vocab,).

    It is the masked language model that BERT was pretrained as. Raises CheckpointError if the
    checkpoint has no such head.
    """
    a = checkpoint.architecture
    if not has_variables(checkpoint, mlm_shapes(a)):
        raise CheckpointError(
            f"{checkpoint.name}: has no masked-language-model head (cls/predictions/*), so it "
            "cannot fill a [MASK]; use a checkpoint as it was pretrained"
        )
    variables = read_variables(checkpoint, backbone_shapes(a) | mlm_shapes(a))
    transformer = build_model(a, variables, pooler=False, mlm=True)

    def probabilities(ids: Sequence[int], position: int) -> Array:
        tokens = tf.constant([list(ids)], tf.int32)
        outputs = transformer.model([tokens, tf.zeros_like(tokens)], training=False)
        return np.asarray(outputs[0, position], np.float32)

    return probabilities
