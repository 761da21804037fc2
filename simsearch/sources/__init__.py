"""From the name of a checkpoint to a folder on this machine; the network is asked here only."""

from simsearch.sources.find import Source, find_source, printable_name, state_of
from simsearch.sources.registry import DEFAULT_MODEL, DEFAULT_RERANKER, MODELS, Model

__all__ = [
    "DEFAULT_MODEL",
    "DEFAULT_RERANKER",
    "MODELS",
    "Model",
    "Source",
    "find_source",
    "printable_name",
    "state_of",
]
