"""Checkpoints: a folder of weights, and what an encoder needs to know of it, without TensorFlow."""

from simsearch.checkpoint.read import MANIFEST, Checkpoint, load_checkpoint

__all__ = ["MANIFEST", "Checkpoint", "load_checkpoint"]
