"""Open what was built: an encoder by its settings, an index with its encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from simsearch.config import EncoderSettings, encoder_settings
from simsearch.errors import CheckpointError, SettingsError
from simsearch.milvus import MilvusCollection, MilvusSearcher, parse_address
from simsearch.prediction import Predictor
from simsearch.reranking import OrderReranker
from simsearch.search import Searcher
from simsearch.sentence_encoder import SentenceEncoder
from simsearch.sources import DEFAULT_RERANKER
from simsearch.store import StoredIndex
from simsearch.tokenizer import TextPair


def load_encoder(settings: EncoderSettings, *, offline: bool = False) -> SentenceEncoder:
    """The encoder that the settings describe; with ``offline`` nothing is downloaded."""
    return SentenceEncoder.load(
        settings.model,
        family=settings.family,
        lower_case=settings.lower_case,
        strip_accents=settings.strip_accents,
        max_length=settings.max_length,
        offline=offline,
        pooling=settings.pooling,
        layers=settings.layers,
        whitening=settings.whitening,
        dim=settings.dim,
        precision=settings.precision,
        calibration=settings.calibration,
        runtime=settings.runtime,
        threads=settings.threads,
    )


def open_index(
    folder: str | Path,
    *,
    encoder: SentenceEncoder | None = None,
    overrides: Mapping[str, Any] | None = None,
    reranker: str | Path = DEFAULT_RERANKER,
) -> Searcher:
    """Open a finished index for queries, with the encoder that it was built with.

    ``overrides`` are encoder settings to use instead of the stored ones (a checkpoint that has
    moved, another runtime). ``reranker`` is a model such as `simsearch train rerank` makes; the
    first search with ``rerank`` loads it. Raises the StoreErrors of the folder, and
    EncoderMismatchError if the encoder is not the one of the index, CheckpointError for a model
    that cannot be had.
    """
    stored = StoredIndex.open(Path(folder))
    try:
        if encoder is None:
            encoder = index_encoder(stored.folder, stored.settings, overrides or {})
        return Searcher(encoder, stored, OrderReranker(_Comparer(reranker)))
    except BaseException:
        stored.close()
        raise


def open_milvus(
    address: str,
    *,
    encoder: SentenceEncoder | None = None,
    overrides: Mapping[str, Any] | None = None,
    reranker: str | Path = DEFAULT_RERANKER,
) -> MilvusSearcher:
    """Open an index in Milvus for queries: ``open_index``, for "milvus+URI" or "milvus+URI#NAME".

    Raises SettingsError if Milvus cannot be reached, IndexNotFoundError, EncoderMismatchError and
    CheckpointError.
    """
    collection = MilvusCollection(parse_address(address))
    try:
        if encoder is None:
            facts = collection.facts
            encoder = index_encoder(facts.folder, facts.settings, overrides or {})
        return MilvusSearcher(encoder, collection, OrderReranker(_Comparer(reranker)))
    except BaseException:
        collection.close()
        raise


class _Comparer:
    """A model that is loaded when it is first asked: most searches need none."""

    def __init__(self, model: str | Path) -> None:
        self._model = model

    @cached_property
    def _predictor(self) -> Predictor:
        return Predictor.load(self._model)

    def words(self, texts: Sequence[str]) -> list[list[str]]:
        """See ``Comparer``."""
        return self._predictor.words(texts)

    def same_meaning(self, pairs: Sequence[TextPair]) -> npt.NDArray[np.float64]:
        """See ``Comparer``."""
        return self._predictor.same_meaning(pairs)


def index_encoder(
    folder: Path | str, settings: Mapping[str, Any], overrides: Mapping[str, Any]
) -> SentenceEncoder:
    """The encoder of an index, by the settings that it keeps and, instead, the ``overrides``."""
    given = {key: value for key, value in overrides.items() if value is not None}
    kept = dict(settings)
    if "pooling" in given:
        kept["layers"] = None  # they belong to the stored pooling
    wanted = encoder_settings({**kept, **given}, str(folder))
    try:
        # who opens an index has not asked for a download
        return load_encoder(wanted, offline="model" not in given)
    except SettingsError as error:
        if "whitening" in given or not wanted.whitening or Path(wanted.whitening).is_file():
            raise
        raise SettingsError(
            f"{error}\n{folder} was built with it; if it has moved, name its place with --whitening"
        ) from None
    except CheckpointError as error:
        if "model" in given:
            raise
        raise CheckpointError(
            f"{error}\n{folder} was built with that checkpoint; if it has moved, name its "
            "place with --model"
        ) from None
