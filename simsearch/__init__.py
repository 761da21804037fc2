"""Semantic search over sentences with BERT: an index, queries, and a benchmark of its own pooling.

::

    import simsearch

    simsearch.build("faq.csv", "indexes/faq")
    with simsearch.open_index("indexes/faq") as searcher:
        for hit in searcher.query("怎么退款？", k=3):
            print(hit.rank, f"{hit.score:.3f}", hit.text)

Importing the package is cheap: TensorFlow, OpenVINO, FAISS and SQLite are imported when they are
first needed.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simsearch.calibration import Calibration
    from simsearch.config import EncoderSettings, TrainSettings
    from simsearch.encoder import Encoder
    from simsearch.errors import SimsearchError
    from simsearch.pipeline import (
        AddReport,
        BuildReport,
        DeleteReport,
        Sweep,
        TrainReport,
        add,
        add_documents,
        benchmark,
        build,
        build_documents,
        delete,
        open_index,
        open_milvus,
        optimize,
        read_tasks,
        repair,
        train,
    )
    from simsearch.prediction import Predictor
    from simsearch.records import Document, Hit
    from simsearch.search import Searcher
    from simsearch.sentence_encoder import SentenceEncoder
    from simsearch.whitening import Whitening

__version__ = "0.1.0"

_HOMES = {
    "AddReport": "pipeline",
    "BuildReport": "pipeline",
    "Calibration": "calibration",
    "DeleteReport": "pipeline",
    "Document": "records",
    "Encoder": "encoder",
    "EncoderSettings": "config",
    "Hit": "records",
    "Predictor": "prediction",
    "Searcher": "search",
    "SentenceEncoder": "sentence_encoder",
    "SimsearchError": "errors",
    "Sweep": "pipeline",
    "TrainReport": "pipeline",
    "TrainSettings": "config",
    "Whitening": "whitening",
    "add": "pipeline",
    "add_documents": "pipeline",
    "benchmark": "pipeline",
    "build": "pipeline",
    "build_documents": "pipeline",
    "delete": "pipeline",
    "open_index": "pipeline",
    "open_milvus": "pipeline",
    "optimize": "pipeline",
    "read_tasks": "pipeline",
    "repair": "pipeline",
    "train": "pipeline",
}

__all__ = [
    "AddReport",
    "BuildReport",
    "Calibration",
    "DeleteReport",
    "Document",
    "Encoder",
    "EncoderSettings",
    "Hit",
    "Predictor",
    "Searcher",
    "SentenceEncoder",
    "SimsearchError",
    "Sweep",
    "TrainReport",
    "TrainSettings",
    "Whitening",
    "add",
    "add_documents",
    "benchmark",
    "build",
    "build_documents",
    "delete",
    "open_index",
    "open_milvus",
    "optimize",
    "read_tasks",
    "repair",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'simsearch' has no attribute {name!r}")
    return getattr(importlib.import_module(f"simsearch.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
