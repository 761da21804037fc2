"""The part of OpenAI's API that gives vectors, so that its clients need nothing else.

See https://platform.openai.com/docs/api-reference/embeddings for what it holds.
"""

from __future__ import annotations

import base64
from typing import Annotated, Any, Literal

import numpy as np
import pydantic
from fastapi import APIRouter, Response

from simsearch.encoder import Encoder, Vectors
from simsearch.errors import SettingsError
from simsearch.sentence_encoder import SentenceEncoder
from simsearch.server.limits import Limits
from simsearch.server.routing import StrictRoute, in_time, json_response
from simsearch.server.schemas import Text
from simsearch.server.service import Service

_MOST = Limits().texts
_Ids = Annotated[list[int], pydantic.Field(min_length=1, max_length=8192)]


class EmbeddingsBody(pydantic.BaseModel):
    """What is asked. The model's name is only given back: there is one model."""

    model_config = pydantic.ConfigDict(strict=True)

    input: (
        Text
        | Annotated[list[Text], pydantic.Field(min_length=1, max_length=_MOST)]
        | _Ids
        | Annotated[list[_Ids], pydantic.Field(min_length=1, max_length=_MOST)]
    )
    model: str
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = pydantic.Field(default=None, ge=1)
    user: str | None = None


class Embedding(pydantic.BaseModel):
    """A vector: a list of numbers, or little-endian float32 in base64."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class Usage(pydantic.BaseModel):
    """Tokens that the model read."""

    prompt_tokens: int
    total_tokens: int


class Embeddings(pydantic.BaseModel):
    """The vectors, in the order of the texts."""

    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    usage: Usage


class Model(pydantic.BaseModel):
    """The encoder, as one of OpenAI's models."""

    id: str
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: str = "simsearch"


class Models(pydantic.BaseModel):
    """The one there is."""

    object: Literal["list"] = "list"
    data: list[Model]


def embeddings_router(service: Service) -> APIRouter:
    """``/v1/embeddings`` and ``/v1/models``."""
    router = APIRouter(route_class=StrictRoute, tags=["OpenAI"])

    @router.post("/v1/embeddings", operation_id="embeddings", response_model=Embeddings)
    async def embeddings(body: EmbeddingsBody) -> Response:
        """Vectors of texts, as `simsearch encode` gives them."""
        texts = _texts(body)
        _check_dimensions(body.dimensions, service.encoder)
        encoder = service.encoder

        def with_counts(some: Any, vectors: Vectors | None) -> list[tuple[Vectors, int]]:
            assert vectors is not None
            counts = [len(ids) for ids in encoder.token_ids(some)]
            return list(zip(vectors, counts, strict=True))

        found = await in_time(
            service.worker.compute(texts, "document", "embeddings", with_counts),
            service.limits.timeout,
        )
        tokens = sum(count for _, count in found)
        return await json_response(
            lambda: Embeddings(
                data=[
                    Embedding(index=i, embedding=_written(_cut(vector, body.dimensions), body))
                    for i, (vector, _) in enumerate(found)
                ],
                model=body.model,
                usage=Usage(prompt_tokens=tokens, total_tokens=tokens),
            )
        )

    @router.get("/v1/models", operation_id="models")
    async def models() -> Models:
        """The encoder of the index."""
        encoder = service.encoder
        name = encoder.checkpoint.name if isinstance(encoder, SentenceEncoder) else "encoder"
        return Models(data=[Model(id=name)])

    return router


def _texts(body: EmbeddingsBody) -> list[str]:
    given = [body.input] if isinstance(body.input, str) else body.input
    texts = [text for text in given if isinstance(text, str)]
    if len(texts) < len(given):
        raise SettingsError(
            "input has token ids, which are another model's; send texts "
            "(of LangChain's OpenAIEmbeddings: check_embedding_ctx_length=False)"
        )
    return texts


def _check_dimensions(wanted: int | None, encoder: Encoder) -> None:
    if wanted is None or wanted == encoder.dim:
        return
    if wanted > encoder.dim:
        raise SettingsError(f"dimensions is {wanted}; vectors have {encoder.dim}")
    if not isinstance(encoder, SentenceEncoder) or encoder.whitening is None:
        raise SettingsError(
            f"dimensions is {wanted}; this encoder's vectors have {encoder.dim}, whose order means "
            "nothing, so that cutting them loses meaning. An index built with a whitening can cut"
        )


def _cut(vector: Vectors, dimensions: int | None) -> Vectors:
    if dimensions is None or dimensions == len(vector):
        return vector
    kept = vector[:dimensions].astype(np.float64)
    return np.asarray(kept / max(float(np.linalg.norm(kept)), 1e-30), np.float32)


def _written(vector: Vectors, body: EmbeddingsBody) -> list[float] | str:
    if body.encoding_format == "float":
        values: list[float] = vector.tolist()
        return values
    return base64.b64encode(vector.astype("<f4").tobytes()).decode("ascii")
