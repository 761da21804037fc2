"""The BERT itself: a checkpoint's variables, the bert4keras model, its hidden states and heads.

The only importer of TensorFlow and bert4keras beside the TensorFlow runtime. Importing it costs
seconds, so nothing imports it before it must.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from simsearch.checkpoint import Checkpoint
from simsearch.errors import CheckpointError, MissingPackageError
from simsearch.pooling import STRATEGIES
from simsearch.variables import (
    Architecture,
    Shapes,
    backbone_shapes,
    canonical_name,
    mlm_shapes,
    pooler_shapes,
    unknown_names,
)

Array = npt.NDArray[np.float32]
Variables = dict[str, Array]


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Keep TensorFlow's chatter at import off the terminal, unless the import fails."""
    with tempfile.TemporaryFile() as log, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sys.stderr.flush()
        terminal = os.dup(2)
        os.dup2(log.fileno(), 2)
        try:
            yield
        except BaseException:
            log.seek(0)
            os.write(terminal, log.read())
            raise
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)


# Both must be set before TensorFlow is imported: bert4keras speaks Keras 2, today's tf_keras.
os.environ["TF_KERAS"] = "1"
os.environ["TF_USE_LEGACY_KERAS"] = "1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
try:
    with _quietly():
        import tensorflow as tf
        import tensorflow.experimental.numpy as tnp
        from bert4keras.backend import gelu_tanh
        from bert4keras.layers import LayerNormalization
        from bert4keras.models import ALBERT, BERT, build_transformer_model
except ModuleNotFoundError as _error:
    if _error.name not in ("bert4keras", "tf_keras", "tensorflow", "distutils"):
        raise
    raise MissingPackageError(
        f"{_error.name} is not installed, but encoding with a new checkpoint needs it. bert4keras "
        "pins a Keras that TensorFlow no longer takes, so install it by itself:\n"
        "    pip install --no-deps bert4keras==0.11.5"
    ) from None

tf.keras.utils.get_custom_objects()["gelu_new"] = gelu_tanh


def read_variables(checkpoint: Checkpoint, shapes: Shapes) -> Variables:
    """The checkpoint's variables of these names and shapes, as float32.

    Raises CheckpointError naming the file and the variable if one is missing, has another shape, or
    if the file is damaged.
    """
    read = _read_google if checkpoint.layout == "google" else _read_safetensors
    variables = read(checkpoint, shapes)
    for name, shape in shapes.items():
        if variables[name].shape != shape:
            raise CheckpointError(
                f"{checkpoint.weight_files[0]}: {name} has shape {variables[name].shape}; the "
                f"config asks for {shape}. Config and weights belong to different models"
            )
        if not np.isfinite(variables[name]).all():
            raise CheckpointError(
                f"{checkpoint.weight_files[0]}: {name} holds values that are not finite"
            )
    return variables


def variable_names(checkpoint: Checkpoint) -> set[str]:
    """Canonical names of what the checkpoint holds; names that we cannot map stay as they are."""
    if checkpoint.layout == "google":
        with _damage_reported(checkpoint):
            return set(_google_reader(checkpoint).get_variable_to_shape_map())
    with _damage_reported(checkpoint), safe_open(checkpoint.weight_files[0], "numpy") as file:
        family = checkpoint.architecture.family
        return {canonical_name(key, family) or key for key in file.keys()}  # noqa: SIM118


def _read_google(checkpoint: Checkpoint, shapes: Shapes) -> Variables:
    _check_present(checkpoint, shapes, variable_names(checkpoint))
    with _damage_reported(checkpoint):
        reader = _google_reader(checkpoint)
        return {name: reader.get_tensor(name).astype(np.float32) for name in shapes}


def _google_reader(checkpoint: Checkpoint) -> Any:
    return tf.train.load_checkpoint(str(checkpoint.weight_files[0].with_suffix("")))


def _read_safetensors(checkpoint: Checkpoint, shapes: Shapes) -> Variables:
    _check_present(checkpoint, shapes, variable_names(checkpoint))
    variables: Variables = {}
    with _damage_reported(checkpoint), safe_open(checkpoint.weight_files[0], "numpy") as file:
        for key in file.keys():  # noqa: SIM118
            name = canonical_name(key, checkpoint.architecture.family)
            if name in shapes:
                value = file.get_tensor(key).astype(np.float32)
                variables[name] = value.T if name.endswith("/kernel") else value
    return variables


@contextlib.contextmanager
def _damage_reported(checkpoint: Checkpoint) -> Iterator[None]:
    try:
        yield
    except (
        tf.errors.OpError,
        SafetensorError,
        OSError,
        LookupError,
        ValueError,
        RuntimeError,
    ) as error:
        reason = str(error).split("\n")[0]
        files = ", ".join(file.name for file in checkpoint.weight_files)
        raise CheckpointError(
            f"{checkpoint.folder}: {files} cannot be read, as if cut short or damaged ({reason}); "
            "copy the files anew"
        ) from None


def _check_present(checkpoint: Checkpoint, shapes: Shapes, names: set[str]) -> None:
    missing = sorted(shapes.keys() - names)
    if not missing:
        return
    strangers = unknown_names(names, _all_shapes(checkpoint.architecture))
    found = f" It holds names that we don't know, such as {strangers[0]}." if strangers else ""
    more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
    raise CheckpointError(
        f"{checkpoint.weight_files[0]}: {', '.join(missing[:3])}{more} missing for a "
        f"{checkpoint.architecture.family} of {checkpoint.architecture.num_hidden_layers} layers."
        f"{found} Is the config the one of these weights?"
    )


def _all_shapes(architecture: Architecture) -> Shapes:
    return backbone_shapes(architecture) | pooler_shapes(architecture) | mlm_shapes(architecture)


def has_variables(checkpoint: Checkpoint, shapes: Shapes) -> bool:
    """Whether all variables of ``shapes`` are in the checkpoint."""
    return shapes.keys() <= variable_names(checkpoint)


def hash_variables(variables: Mapping[str, Array]) -> str:
    """SHA-256 over names, shapes and float32 values: equal for the same weights in any layout."""
    digest = hashlib.sha256()
    for name in sorted(variables):
        value = np.ascontiguousarray(variables[name], "<f4")
        digest.update(f"{name} {value.shape}\n".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()


class _Recording:
    """Mixed into a bert4keras model class: keeps every hidden state while the model is built."""

    hidden_states: list[Any]

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


_MODELS = {"bert": _RecordingBERT, "albert": _RecordingALBERT}


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
        hidden_act=a.hidden_act,
        max_position=a.max_position_embeddings,
        segment_vocab_size=a.type_vocab_size,
        dropout_rate=0,
        attention_dropout_rate=0,
        with_pool=pooler,
        with_mlm=mlm,
    )
    for layer in transformer.layers.values():
        if isinstance(layer, LayerNormalization):
            # bert4keras fixes it to 1e-12 (1e-7 in ALBERT's layers), whatever the config says
            layer.epsilon = a.layer_norm_eps
    transformer.load_weights_from_checkpoint(variables)
    return transformer


def encoder_function(checkpoint: Checkpoint, heads: Sequence[str]) -> Any:
    """A ``tf.function`` from ids, int32 (batch, tokens), 0 being padding, to a dict of these heads.

    Heads, all float32: ``<strategy>@<state>`` (batch, hidden) for every strategy of pooling.py and
    every hidden state; ``tokens@<state>`` (batch, tokens, hidden), the state itself;
    ``static_mean`` (batch, embedding), the mean of the word vectors alone; and ``pooler``
    (batch, hidden).
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

    return tf.function(encode, input_signature=signature, autograph=False)


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


def save_checkpoint(checkpoint: Checkpoint, folder: Path) -> None:
    """Write the checkpoint's config, vocabulary and variables in Google layout, heads included."""
    a = checkpoint.architecture
    shapes = backbone_shapes(a)
    for head in (pooler_shapes(a), mlm_shapes(a)):
        if has_variables(checkpoint, head):
            shapes |= head
    write_google_checkpoint(read_variables(checkpoint, shapes), folder / "bert_model.ckpt")
    config = asdict(a)
    config["model_type"] = config.pop("family")
    (folder / "bert_config.json").write_text(json.dumps(config, indent=2), "utf-8")
    shutil.copyfile(checkpoint.vocabulary.path, folder / "vocab.txt")


def write_google_checkpoint(variables: Mapping[str, Array], prefix: Path) -> None:
    """Write ``<prefix>.index`` and ``<prefix>.data-00000-of-00001`` with exactly these names."""
    names = sorted(variables)
    tf.raw_ops.SaveV2(
        prefix=str(prefix),
        tensor_names=names,
        shape_and_slices=[""] * len(names),
        tensors=[tf.constant(variables[name]) for name in names],
    )
