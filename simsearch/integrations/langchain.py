"""LangChain: ``SimsearchEmbeddings`` and the vector store ``SimsearchStore``.

::

    from simsearch.integrations.langchain import SimsearchStore

    store = SimsearchStore("indexes/faq")
    store.add_texts(["怎么退款？"], [{"language": "zh"}])
    retriever = store.as_retriever(search_kwargs={"k": 3, "filter": {"language": "zh"}})
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from langchain_core.documents import Document as LangChainDocument
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import VectorStore
from langchain_core.vectorstores.utils import maximal_marginal_relevance

from simsearch.config import Mode, Rerank
from simsearch.errors import SettingsError
from simsearch.integrations.folder import Folder
from simsearch.records import Document, Hit, passage_of
from simsearch.sentence_encoder import SentenceEncoder


class SimsearchEmbeddings(Embeddings):
    """An encoder as LangChain's embeddings; by default the embedded model."""

    def __init__(self, encoder: SentenceEncoder | None = None) -> None:
        self.encoder = SentenceEncoder.load() if encoder is None else encoder

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Unit vectors of texts."""
        vectors: list[list[float]] = self.encoder.encode(texts).tolist()
        return vectors

    def embed_query(self, text: str) -> list[float]:
        """The unit vector of a text as a query."""
        vector: list[float] = self.encoder.encode([text], prompt="query")[0].tolist()
        return vector


class SimsearchStore(VectorStore):
    """An index folder as a vector store; it begins with the first text that is put in.

    ``embeddings`` is by default the encoder of the index, or the embedded model. A ``filter`` is
    simsearch's: ``{"language": "zh", "year": {"$gte": 2020}}``.
    """

    def __init__(self, index: str | Path, embeddings: SimsearchEmbeddings | None = None) -> None:
        self.folder = Folder(index, None if embeddings is None else embeddings.encoder)

    @property
    def embeddings(self) -> SimsearchEmbeddings:
        """The encoder of the index."""
        return SimsearchEmbeddings(self.folder.encoder)

    @classmethod
    def from_texts(  # type: ignore[override]  # the index is needed
        cls,
        texts: list[str],
        embedding: Embeddings,
        metadatas: list[dict[str, Any]] | None = None,
        *,
        index: str | Path,
        ids: list[str] | None = None,
    ) -> SimsearchStore:
        """A store in the folder ``index`` with these texts. ``embedding`` is SimsearchEmbeddings.

        Raises SettingsError for other embeddings: an index encodes its texts by itself.
        """
        if not isinstance(embedding, SimsearchEmbeddings):
            raise SettingsError(
                f"embedding is {type(embedding).__name__}; give SimsearchEmbeddings, with any "
                "model that simsearch loads"
            )
        store = cls(index, embedding)
        store.add_texts(texts, metadatas, ids=ids)
        return store

    def add_texts(  # type: ignore[override]  # and swallows nothing
        self,
        texts: Iterable[str],
        metadatas: Sequence[Mapping[str, Any]] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
    ) -> list[str]:
        """Put texts in; returns their ids, which are made up where none is given."""
        texts = list(texts)
        some = [{}] * len(texts) if metadatas is None else metadatas
        names = [id_ or uuid.uuid4().hex for id_ in ([None] * len(texts) if ids is None else ids)]
        self.folder.add([Document(*fields) for fields in zip(names, texts, some, strict=True)])
        return names

    def add_documents(self, documents: list[LangChainDocument], **options: Any) -> list[str]:
        """The same of LangChain's documents."""
        ids = options.pop("ids", None) or [document.id for document in documents]
        texts = [document.page_content for document in documents]
        return self.add_texts(texts, [d.metadata for d in documents], ids=ids, **options)

    def delete(  # type: ignore[override]
        self, ids: list[str] | None = None, *, filter: Mapping[str, Any] | None = None
    ) -> bool:
        """Take texts out; whether all ids were there."""
        return not self.folder.delete(ids or (), filter)

    def get_by_ids(self, ids: Sequence[str], /) -> list[LangChainDocument]:
        """The documents with these ids, without those that are not there."""
        return [_document(found) for found in self.folder.documents(ids)]

    def similarity_search_with_score(
        self,
        query: str,
        k: int = 4,
        *,
        filter: Mapping[str, Any] | None = None,
        mode: Mode = "dense",
        rerank: Rerank | None = None,
    ) -> list[tuple[LangChainDocument, float]]:
        """The nearest documents and their scores, cosines unless ``mode`` says otherwise."""
        searcher = self.folder.searcher()
        if searcher is None:
            return []
        hits = searcher.query(query, k, filter=filter, mode=mode, rerank=rerank)
        return [(_document(hit), hit.score) for hit in hits]

    def similarity_search(self, query: str, k: int = 4, **options: Any) -> list[LangChainDocument]:
        """The nearest documents; ``options`` are those of ``similarity_search_with_score``."""
        return [found for found, _ in self.similarity_search_with_score(query, k, **options)]

    def similarity_search_by_vector(  # type: ignore[override]
        self, embedding: list[float], k: int = 4, *, filter: Mapping[str, Any] | None = None
    ) -> list[LangChainDocument]:
        """The nearest documents of a vector, such as ``embeddings`` makes."""
        return [_document(hit) for hit in self._nearest(embedding, k, filter)]

    def max_marginal_relevance_search(  # type: ignore[override]
        self,
        query: str,
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        *,
        filter: Mapping[str, Any] | None = None,
    ) -> list[LangChainDocument]:
        """Of the ``fetch_k`` nearest ``k`` that differ from each other."""
        vector = self.embeddings.embed_query(query)
        return self.max_marginal_relevance_search_by_vector(
            vector, k, fetch_k, lambda_mult, filter=filter
        )

    def max_marginal_relevance_search_by_vector(  # type: ignore[override]
        self,
        embedding: list[float],
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        *,
        filter: Mapping[str, Any] | None = None,
    ) -> list[LangChainDocument]:
        """The same for a vector. Source: Carbonell and Goldstein (1998), as LangChain has it."""
        hits = self._nearest(embedding, fetch_k, filter)
        vectors = self.folder.encoder.encode([passage_of(hit) for hit in hits])
        chosen = maximal_marginal_relevance(np.array(embedding), list(vectors), lambda_mult, k)
        return [_document(hits[i]) for i in chosen]

    def _nearest(
        self, embedding: Sequence[float], k: int, filter: Mapping[str, Any] | None
    ) -> list[Hit]:
        searcher = self.folder.searcher()
        if searcher is None:
            return []
        vectors = np.array([embedding], np.float32)
        # a text that is not empty, or nothing would be asked
        return searcher.search(["?"], k, filter=filter, vectors=vectors)[0]

    def _select_relevance_score_fn(self) -> Callable[[float], float]:
        return lambda cosine: min(1.0, max(0.0, cosine))


def _document(found: Document | Hit) -> LangChainDocument:
    return LangChainDocument(found.text, id=found.id, metadata=dict(found.metadata))
