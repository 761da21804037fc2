"""The BERT itself: a checkpoint's variables, the bert4keras model, its hidden states and heads.

The only importer of TensorFlow and bert4keras. Importing it costs seconds, so nothing imports it
before it must.
"""

from simsearch.bert.checkpoint_files import (
    checkpoint_variables,
    has_variables,
    hash_variables,
    read_variables,
    save_checkpoint,
    write_google_checkpoint,
)
from simsearch.bert.devices import devices
from simsearch.bert.model import DeviceEncoder, encoder_graph, mask_filler, save_encoder_graph

__all__ = [
    "DeviceEncoder",
    "checkpoint_variables",
    "devices",
    "encoder_graph",
    "has_variables",
    "hash_variables",
    "mask_filler",
    "read_variables",
    "save_checkpoint",
    "save_encoder_graph",
    "write_google_checkpoint",
]
