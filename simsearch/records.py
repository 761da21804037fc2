"""The records that flow through the rooms: frozen, and free of behaviour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Span = tuple[int, int]
"""Characters [start, stop) of a text."""


@dataclass(frozen=True, slots=True)
class Document:
    """One text of a corpus. ``metadata`` holds JSON values only."""

    id: str
    text: str
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Hit:
    """One answer to a query.

    ``score`` is the cosine similarity, in [-1, 1], or what else the mode of the search orders by.
    ``percentile`` (0 to 100) is the share of random pairs of this corpus whose cosine is lower;
    ``None`` where the corpus has no two documents, and where the score is no cosine.

    In an index built with ``chunk`` the score is that of the document's best chunk, which is
    ``text[span[0]:span[1]]``; in another, or by words alone, ``span`` is ``None``. ``truncated``
    says that the document was longer than the encoder takes: its end was not compared.

    Reranked by word order, ``same_words`` says whether the hit has the words of the query, and then
    ``order_score`` how far that means the same, 0 to 1; else both are ``None``.
    """

    rank: int
    id: str
    score: float
    percentile: float | None
    text: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    span: Span | None = None
    truncated: bool = False
    same_words: bool | None = None
    order_score: float | None = None


def passage_of(hit: Hit) -> str:
    """What of a hit's text was compared: its best chunk, or all of it."""
    return hit.text if hit.span is None else hit.text[slice(*hit.span)]


def hit_as_json(hit: Hit) -> dict[str, Any]:
    """A hit as a JSON object; ``span`` and what follows only where it has it."""
    return {
        "rank": hit.rank,
        "id": hit.id,
        "score": hit.score,
        "percentile": hit.percentile,
        "text": hit.text,
        "metadata": dict(hit.metadata),
        **({} if hit.span is None else {"span": list(hit.span)}),
        **({"truncated": True} if hit.truncated else {}),
        **({} if hit.same_words is None else {"same_words": hit.same_words}),
        **({} if hit.order_score is None else {"order_score": hit.order_score}),
    }


def hits_as_json(query: str, hits: Sequence[Hit]) -> dict[str, Any]:
    """The JSON object of a query and its hits."""
    return {"query": query, "hits": [hit_as_json(hit) for hit in hits]}


@dataclass(frozen=True, slots=True)
class SentencePair:
    """Two sentences and how alike people find them (any scale; 0/1 for yes and no)."""

    score: float
    sentence1: str
    sentence2: str


@dataclass(frozen=True, slots=True)
class Example:
    """To train on: a text, one that belongs to it, and any that look as if they did but don't."""

    anchor: str
    positive: str
    negatives: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Query:
    """A query of a retrieval task."""

    id: str
    text: str


@dataclass(frozen=True, slots=True)
class Qrel:
    """A judgement: how relevant a document is to a query (0 is not at all)."""

    query_id: str
    doc_id: str
    relevance: int


@dataclass(frozen=True, slots=True)
class LabelledText:
    """A text and the class it belongs to."""

    text: str
    label: str


@dataclass(frozen=True, slots=True)
class TaggedText:
    """A text in units, which are characters or words, and a tag such as "B-NAME" for each."""

    units: tuple[str, ...]
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class WordOrderTriple:
    """A sentence, a paraphrase in other words, and a swap: the same words with another meaning."""

    id: str
    language: str
    phenomenon: str
    sentence: str
    paraphrase: str
    swap: str
