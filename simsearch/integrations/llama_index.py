"""LlamaIndex: ``SimsearchEmbedding`` and ``SimsearchVectorStore``.

::

    from llama_index.core import StorageContext, VectorStoreIndex
    from simsearch.integrations.llama_index import SimsearchEmbedding, SimsearchVectorStore

    store = SimsearchVectorStore("indexes/notes")
    context = StorageContext.from_defaults(vector_store=store)
    index = VectorStoreIndex.from_documents(
        documents, storage_context=context, embed_model=SimsearchEmbedding(store.encoder)
    )
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.core.schema import BaseNode, MetadataMode
from llama_index.core.vector_stores.types import (
    BasePydanticVectorStore,
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
    VectorStoreQueryResult,
)
from llama_index.core.vector_stores.utils import metadata_dict_to_node, node_to_metadata_dict

from simsearch.config import Mode
from simsearch.errors import SettingsError
from simsearch.integrations.folder import Folder
from simsearch.records import Document, Hit
from simsearch.sentence_encoder import SentenceEncoder

_OPERATORS = {
    FilterOperator.EQ: "$eq",
    FilterOperator.NE: "$ne",
    FilterOperator.GT: "$gt",
    FilterOperator.GTE: "$gte",
    FilterOperator.LT: "$lt",
    FilterOperator.LTE: "$lte",
    FilterOperator.IN: "$in",
    FilterOperator.NIN: "$nin",
    FilterOperator.CONTAINS: "$contains",
}
_CONDITIONS = {FilterCondition.AND: "$and", FilterCondition.OR: "$or"}
_MODES: dict[VectorStoreQueryMode, Mode] = {
    VectorStoreQueryMode.DEFAULT: "dense",
    VectorStoreQueryMode.HYBRID: "hybrid",
    VectorStoreQueryMode.TEXT_SEARCH: "lexical",
    VectorStoreQueryMode.SPARSE: "lexical",
}


class SimsearchEmbedding(BaseEmbedding):
    """An encoder as LlamaIndex's embedding; by default the embedded model."""

    _encoder: SentenceEncoder = PrivateAttr()

    def __init__(self, encoder: SentenceEncoder | None = None) -> None:
        encoder = SentenceEncoder.load() if encoder is None else encoder
        super().__init__(model_name=encoder.checkpoint.name, embed_batch_size=256)
        self._encoder = encoder

    def _get_query_embedding(self, query: str) -> list[float]:
        vector: list[float] = self._encoder.encode([query], prompt="query")[0].tolist()
        return vector

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_query_embedding(query)

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._get_text_embeddings([text])[0]

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        vectors: list[list[float]] = self._encoder.encode(texts).tolist()
        return vectors


class SimsearchVectorStore(BasePydanticVectorStore):
    """An index folder as a vector store; it begins with the first node that is put in.

    It encodes the texts of nodes and queries by itself, so that its vectors are always those of
    the index's encoder; embeddings that nodes bring are not looked at.
    """

    stores_text: bool = True
    is_embedding_query: bool = False
    _folder: Folder = PrivateAttr()

    def __init__(self, index: str | Path, encoder: SentenceEncoder | None = None) -> None:
        super().__init__(stores_text=True, is_embedding_query=False)
        self._folder = Folder(index, encoder)

    @property
    def client(self) -> Folder:
        """The folder."""
        return self._folder

    @property
    def encoder(self) -> SentenceEncoder:
        """The encoder of the index."""
        return self._folder.encoder

    def add(self, nodes: Sequence[BaseNode], **options: Any) -> list[str]:
        """Put nodes in, or in the place of those with their ids; returns their ids."""
        _no_options(options)
        self._folder.add(
            [
                Document(
                    node.node_id,
                    node.get_content(MetadataMode.NONE),
                    {**node_to_metadata_dict(node, remove_text=True), "node_id": node.node_id},
                )
                for node in nodes
            ]
        )
        return [node.node_id for node in nodes]

    def delete(self, ref_doc_id: str, **options: Any) -> None:
        """Take the nodes of a document out."""
        _no_options(options)
        self._folder.delete(filter={"ref_doc_id": ref_doc_id})

    def delete_nodes(
        self,
        node_ids: list[str] | None = None,
        filters: MetadataFilters | None = None,
        **options: Any,
    ) -> None:
        """Take nodes out, by id or by their metadata."""
        _no_options(options)
        self._folder.delete(node_ids or (), None if filters is None else filter_of(filters))

    def get_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None
    ) -> list[BaseNode]:
        """The nodes with these ids, and those that the filters match."""
        wanted = None if filters is None else filter_of(filters)
        return [_node(found) for found in self._folder.documents(node_ids or (), wanted)]

    def query(self, query: VectorStoreQuery, **options: Any) -> VectorStoreQueryResult:
        """The nearest nodes. Raises SettingsError for modes and operators that are not known."""
        _no_options(options)
        searcher = self._folder.searcher()
        hits: list[Hit] = []
        if searcher is not None:
            parts = [] if query.filters is None else [filter_of(query.filters)]
            for key, values in (("ref_doc_id", query.doc_ids), ("node_id", query.node_ids)):
                if values:  # LlamaIndex means all by an empty list too
                    parts.append({key: {"$in": list(values)}})
            hits = searcher.search(
                [query.query_str or "?"],
                query.similarity_top_k,
                filter={"$and": parts} if parts else None,
                mode=_mode(query.mode),
                vectors=_vectors(query),
            )[0]
        return VectorStoreQueryResult(
            nodes=[_node(hit) for hit in hits],
            similarities=[hit.score for hit in hits],
            ids=[hit.id for hit in hits],
        )


def filter_of(filters: MetadataFilters) -> dict[str, Any]:
    """LlamaIndex's filters as simsearch's. Raises SettingsError for what has no counterpart."""
    parts = [filter_of(f) if isinstance(f, MetadataFilters) else _part(f) for f in filters.filters]
    condition = filters.condition or FilterCondition.AND
    if condition not in _CONDITIONS:
        raise SettingsError(f"the condition {condition.value!r} is not known; use and, or")
    return parts[0] if len(parts) == 1 else {_CONDITIONS[condition]: parts}


def _part(filter: MetadataFilter) -> dict[str, Any]:
    if filter.operator not in _OPERATORS:
        known = ", ".join(operator.value for operator in _OPERATORS)
        raise SettingsError(f"the operator {filter.operator.value!r} is not known; use {known}")
    return {filter.key: {_OPERATORS[filter.operator]: filter.value}}


def _mode(mode: VectorStoreQueryMode) -> Mode:
    if mode not in _MODES:
        known = ", ".join(known.value for known in _MODES)
        raise SettingsError(f"the query mode {mode.value!r} is not known; use {known}")
    return _MODES[mode]


def _vectors(query: VectorStoreQuery) -> Any:
    """The vector of a query without a text."""
    if query.query_str is not None or query.query_embedding is None:
        return None
    return np.array([query.query_embedding], np.float32)


def _node(found: Document | Hit) -> BaseNode:
    return metadata_dict_to_node(dict(found.metadata), text=found.text)


def _no_options(options: dict[str, Any]) -> None:
    if options:
        raise TypeError(f"unknown options: {', '.join(options)}")
