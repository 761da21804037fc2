"""The door to TensorFlow and bert4keras: set up, and imported without their chatter."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator

from simsearch.cache import cache_folder
from simsearch.errors import MissingPackageError


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
os.environ.setdefault("KERAS_HOME", str(cache_folder() / "keras"))  # not a folder in the home
try:
    with _quietly():
        import bert4keras  # noqa: F401  # first, and quick: the one that may be missing
        import tensorflow as tf
        import tensorflow.experimental.numpy as tnp
        from bert4keras.backend import apply_rotary_position_embeddings as rotated
        from bert4keras.backend import gelu_tanh
        from bert4keras.layers import Dropout, FeedForward, LayerNormalization, MultiHeadAttention
        from bert4keras.models import (
            ALBERT,
            BERT,
            ELECTRA,
            NEZHA,
            RoFormer,
            build_transformer_model,
        )
except ModuleNotFoundError as _error:
    if _error.name != "bert4keras":
        raise
    raise MissingPackageError(
        "bert4keras is not installed, and a checkpoint that is new on this machine needs it. It "
        "asks for a Keras that TensorFlow no longer takes, so install it by itself:\n"
        "    pip install --no-deps bert4keras==0.11.5"
    ) from None

tf.keras.utils.get_custom_objects()["gelu_new"] = gelu_tanh
# Keras makes a split and a concatenation of it, which OpenVINO takes for an enlarged picture and
# then refuses (RoFormer's rotation); tf.repeat has the same meaning.
tf.keras.backend.repeat_elements = tf.repeat

__all__ = [
    "ALBERT",
    "BERT",
    "ELECTRA",
    "NEZHA",
    "Dropout",
    "FeedForward",
    "LayerNormalization",
    "MultiHeadAttention",
    "RoFormer",
    "build_transformer_model",
    "rotated",
    "tf",
    "tnp",
]
