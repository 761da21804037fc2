"""What requests and answers hold, as OpenAPI tells it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pydantic

from simsearch.config import Mode, Rerank
from simsearch.encoder import Prompt
from simsearch.server.limits import Limits

_MOST = Limits()
Filter = Annotated[dict[str, Any], pydantic.Field(min_length=1)]
Text = Annotated[
    str,
    pydantic.Field(
        max_length=_MOST.characters, description="What is longer than the model reads is cut."
    ),
]


class _Body(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class Search(_Body):
    """How to search: as `simsearch query` does."""

    k: int = pydantic.Field(default=10, ge=1, le=_MOST.hits, description="Hits of a query.")
    threshold: float | None = pydantic.Field(
        default=None, ge=-1, le=1, description="Only hits of this cosine or more; mode dense only."
    )
    filter: Filter | None = pydantic.Field(
        default=None, description="Only documents of such metadata.", examples=[{"language": "en"}]
    )
    mode: Mode = "dense"
    rerank: Rerank | None = pydantic.Field(
        default=None, description="order: look again at hits that have the query's words."
    )


class OneSearch(Search):
    """A query."""

    query: Text


class ManySearches(Search):
    """Queries that are searched alike."""

    queries: list[Text] = pydantic.Field(max_length=_MOST.queries)


class Pair(_Body):
    """Two texts."""

    a: Text
    b: Text


class Asked(_Body):
    """A query, and the id of a document."""

    query: Text
    id: str


class Texts(_Body):
    """Texts to encode."""

    texts: list[Text] = pydantic.Field(max_length=_MOST.texts)
    prompt: Prompt = "document"


class NewDocument(pydantic.BaseModel):
    """A document. What it has beside text and id is metadata."""

    model_config = pydantic.ConfigDict(extra="allow", strict=True)

    text: Annotated[str, pydantic.Field(min_length=1)]
    id: str | int | None = pydantic.Field(
        default=None, description="Without one it is a hash of the text."
    )


class NewDocuments(_Body):
    """Documents to put in, or in the place of those with their ids."""

    documents: list[NewDocument] = pydantic.Field(min_length=1, max_length=_MOST.documents)


class Deletion(_Body):
    """Which documents to take out: those with these ids, and those that match the filter."""

    ids: list[str] = pydantic.Field(default=[], max_length=_MOST.documents)
    filter: Filter | None = None


class FoundHit(pydantic.BaseModel):
    """A hit: see `simsearch query --json`."""

    rank: int
    id: str
    score: float
    percentile: float | None
    text: str
    metadata: dict[str, Any]
    span: tuple[int, int] | None = None
    truncated: bool | None = None
    same_words: bool | None = None
    order_score: float | None = None


class Answer(pydantic.BaseModel):
    """A query and its hits, best first."""

    query: str
    hits: list[FoundHit]


class Answers(pydantic.BaseModel):
    """An answer a query, in their order."""

    answers: list[Answer]


class Similarity(pydantic.BaseModel):
    """The cosine of two texts."""

    a: str
    b: str
    pooling: str
    score: float


class TokenMatch(pydantic.BaseModel):
    """A token of the query at its place, and the nearest of the document's."""

    token: str
    place: int
    nearest: str
    nearest_place: int
    cosine: float


class Explanation(pydantic.BaseModel):
    """Which token of a query matched which of a document: see `simsearch explain`."""

    query: str
    id: str
    score: float
    document_tokens: list[str]
    matches: list[TokenMatch]


class PoolingScore(pydantic.BaseModel):
    """The cosine under one pooling, without whitening."""

    pooling: str
    score: float


class Comparison(pydantic.BaseModel):
    """Two texts under every pooling, and the cosine of each token of one with each of the other."""

    a: str
    b: str
    poolings: list[PoolingScore]
    order_score: float | None
    tokens_a: list[str]
    tokens_b: list[str]
    cosines: list[list[float]]


class Measured(pydantic.BaseModel):
    """One line of a benchmark: see `simsearch benchmark --json`."""

    task: str
    model: str
    pooling: str
    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]]


class Report(pydantic.BaseModel):
    """The latest benchmark; no result where the server was not told of one."""

    results: list[Measured]


class Encoded(pydantic.BaseModel):
    """A unit vector a text, in their order."""

    dim: int
    vectors: list[list[float]]


class Added(pydantic.BaseModel):
    """What became of the documents: see `simsearch add --json`."""

    added: int
    replaced: int
    relabelled: int
    unchanged: int
    truncated: int
    documents: int


class Deleted(pydantic.BaseModel):
    """How many documents were taken out, the ids that weren't there, and how many are left."""

    deleted: int
    missing: list[str]
    documents: int


class Status(pydantic.BaseModel):
    """Whether the server is well."""

    status: Literal["ok", "stopping"]


class Problem(pydantic.BaseModel):
    """What was wrong, as OpenAI's API tells it."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class Failure(pydantic.BaseModel):
    """The body of every answer that is no success."""

    error: Problem
