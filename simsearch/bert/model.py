"""The bert4keras model of a checkpoint: its hidden states, pooled heads and MLM head."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from simsearch.bert.backend import (
    ALBERT,
    BERT,
    ELECTRA,
    NEZHA,
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
from simsearch.bert.layers import FusedAttention, FusedNormalization
from simsearch.checkpoint import Checkpoint
from simsearch.checkpoint.architecture import Architecture
from simsearch.checkpoint.variables import backbone_shapes, mlm_shapes, pooler_shapes
from simsearch.config import Family
from simsearch.errors import CheckpointError
from simsearch.pooling import STRATEGIES

_FUSED = {MultiHeadAttention: FusedAttention, LayerNormalization: FusedNormalization}


class _Recording:
    """Mixed into a bert4keras model class: fused layers, and every hidden state kept."""

    hidden_states: list[Any]

    def apply(self, inputs: Any = None, layer: Any = None, *args: Any, **kwargs: Any) -> Any:
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


def build_model(a: Architecture, variables: Variables, *, pooler: bool, mlm: bool) -> Any:
    """A bert4keras transformer (its ``.model`` is a Keras model) with these variables.

    Its ``hidden_states`` are the symbolic outputs 0 (embeddings) to L (last layer). Dropout is left
    out.
    """
    transformer = build_transformer_model(
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
        dropout_rate=0,
        attention_dropout_rate=0,
        **(
            {} if a.family == "electra" else {"with_pool": pooler and a.pooler_act, "with_mlm": mlm}
        ),
    )
    for layer in transformer.layers.values():
        if isinstance(layer, LayerNormalization):
            # bert4keras fixes it to 1e-12 (1e-7 in ALBERT's layers), whatever the config says
            layer.epsilon = a.layer_norm_eps
    transformer.load_weights_from_checkpoint(variables)
    return transformer


def encoder_graph(checkpoint: Checkpoint, heads: Sequence[str]) -> Any:
    """A ``tf.Module`` whose ``encode`` takes ids to a dict of these heads; a ``tf.function``.

    Ids are int32 (batch, tokens), 0 being padding. Heads, all float32: ``<strategy>@<state>``
    (batch, hidden) for every strategy of pooling.py and every hidden state; ``tokens@<state>``
    (batch, tokens, hidden), the state itself; ``static_mean`` (batch, embedding), the mean of the
    word vectors alone; and ``pooler`` (batch, hidden).
    """
    a, pooler = checkpoint.architecture, "pooler" in heads
    shapes = backbone_shapes(a) | (pooler_shapes(a) if pooler else {})
    transformer = build_model(a, read_variables(checkpoint, shapes), pooler=pooler, mlm=False)
    outputs = [*transformer.hidden_states, *(transformer.outputs if pooler else [])]
    model = tf.keras.Model(transformer.inputs, outputs)
    word_vectors = transformer.layers["Embedding-Token"]

    signature = [tf.TensorSpec([None, None], tf.int32, "ids")]

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

    graph = tf.Module()
    graph.weights = model.weights  # a saved graph holds the variables that its module owns
    graph.encode = tf.function(encode, input_signature=signature, autograph=False)
    return graph


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
