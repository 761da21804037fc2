"""The HTTP application: its routes, and what becomes of errors."""

from __future__ import annotations

import dataclasses
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException

from simsearch import __version__
from simsearch.errors import CorpusError, IndexBusyError, SettingsError, StoreError
from simsearch.records import Hit, hits_as_json
from simsearch.sentence_encoder import SentenceEncoder
from simsearch.server import schemas
from simsearch.server.embeddings import embeddings_router
from simsearch.server.guard import Guard, Places, failure
from simsearch.server.limits import Tokens
from simsearch.server.metrics import Metrics
from simsearch.server.page import page_router
from simsearch.server.routing import StrictRoute, in_time, json_response
from simsearch.server.service import SearchOptions, Service
from simsearch.server.worker import BusyError, TooLargeError

_FAILURES: dict[int | str, dict[str, Any]] = {
    status: {"model": schemas.Failure, "description": text}
    for status, text in (
        (400, "It cannot be done with these values."),
        (401, "A token is needed."),
        (403, "Not allowed, or not from there."),
        (408, "The body took too long."),
        (413, "More than may be asked for at once."),
        (422, "The body is not as it should be."),
        (429, "Too much is waiting; ask again after Retry-After seconds."),
        (500, "A mistake of the server."),
        (503, "It took too long, or another process is writing the index."),
    )
}
_DOCUMENTS, _DELETION = "/v1/documents", "/v1/documents/delete"


def create_app(service: Service, metrics: Metrics, *, tokens: Tokens, places: Places) -> Guard:
    """The application with its guard around it."""
    app = FastAPI(
        title="simsearch",
        version=__version__,
        summary="Semantic search in one index, and its encoder.",
        docs_url=None,  # these two load their scripts from elsewhere
        redoc_url=None,
        responses=_FAILURES,
    )
    # the guard checks tokens before a body is read; this tells of it in the OpenAPI document
    told = [Depends(HTTPBearer(auto_error=False))]
    to_read = told if tokens.read else []
    app.include_router(_index_router(service), dependencies=to_read)
    app.include_router(embeddings_router(service), dependencies=to_read)
    app.include_router(_metrics_router(service, metrics), dependencies=to_read)
    app.include_router(_documents_router(service), dependencies=told)
    app.include_router(page_router(), include_in_schema=False)
    _handle_errors(app)
    guard = Guard(
        app,
        limits=service.limits,
        tokens=tokens,
        places=places,
        writes=[("POST", _DOCUMENTS), ("POST", _DELETION)],
        metrics=metrics,
    )
    app.include_router(_health_router(guard))
    return guard


def _index_router(service: Service) -> APIRouter:
    router = APIRouter(route_class=StrictRoute, tags=["index"])
    seconds = service.limits.timeout

    @router.post("/v1/search", operation_id="search", response_model_exclude_unset=True)
    async def search(body: schemas.OneSearch) -> schemas.Answer:
        """The documents that are nearest to a query."""
        (hits,) = await in_time(service.search([body.query], _options(body)), seconds)
        return _answer(body.query, hits)

    @router.post("/v1/search/batch", operation_id="search_batch", response_model_exclude_unset=True)
    async def search_batch(body: schemas.ManySearches) -> schemas.Answers:
        """The same of many queries at once."""
        found = await in_time(service.search(body.queries, _options(body)), seconds)
        answers = map(_answer, body.queries, found)
        return schemas.Answers(answers=list(answers))

    @router.post("/v1/similarity", operation_id="similarity")
    async def similarity(body: schemas.Pair) -> schemas.Similarity:
        """The cosine of two texts."""
        score = await in_time(service.similarity(body.a, body.b), seconds)
        encoder = service.encoder
        pooling = encoder.pooling.name if isinstance(encoder, SentenceEncoder) else ""
        return schemas.Similarity(a=body.a, b=body.b, pooling=pooling, score=score)

    @router.post("/v1/encode", operation_id="encode", response_model=schemas.Encoded)
    async def encode(body: schemas.Texts) -> Response:
        """Unit vectors of texts."""
        vectors = await in_time(service.encode(body.texts, body.prompt), seconds)
        dim = service.encoder.dim
        return await json_response(
            lambda: schemas.Encoded(dim=dim, vectors=[vector.tolist() for vector in vectors])
        )

    @router.post("/v1/explain", operation_id="explain")
    async def explain(body: schemas.Asked) -> schemas.Explanation:
        """Which token of a query matched which of a document."""
        found = await in_time(service.explain(body.query, body.id), seconds)
        return schemas.Explanation(
            query=found.query,
            id=found.hit.id,
            score=found.hit.score,
            document_tokens=list(found.alignment.second),
            matches=[
                schemas.TokenMatch(**dataclasses.asdict(match)) for match in found.alignment.matches
            ],
        )

    @router.post("/v1/compare", operation_id="compare")
    async def compare(body: schemas.Pair) -> schemas.Comparison:
        """Two texts under every pooling side by side, and token by token."""
        found = await in_time(service.compare(body.a, body.b), seconds)
        return schemas.Comparison(
            a=found.a,
            b=found.b,
            poolings=[
                schemas.PoolingScore(pooling=name, score=score)
                for name, score in found.cosines.items()
            ],
            order_score=found.order_score,
            tokens_a=list(found.alignment.first),
            tokens_b=list(found.alignment.second),
            cosines=found.alignment.cosines.tolist(),
        )

    @router.get("/v1/benchmark", operation_id="benchmark")
    async def benchmark() -> schemas.Report:
        """The results of the benchmark that `--report` names."""
        results = await service.report()
        return schemas.Report(results=[schemas.Measured.model_validate(r) for r in results])

    @router.get("/v1/info", operation_id="info")
    async def info() -> dict[str, Any]:
        """What the index holds, which encoder made it, how well it is searched."""
        return await service.info()

    return router


def _documents_router(service: Service) -> APIRouter:
    router = APIRouter(route_class=StrictRoute, tags=["documents"])

    @router.post(_DOCUMENTS, operation_id="add")
    async def add(body: schemas.NewDocuments) -> schemas.Added:
        """Put documents in, or in the place of those with their ids."""
        documents = [
            document.model_dump(exclude={"id"} if document.id is None else None)
            for document in body.documents
        ]
        report = dataclasses.asdict(await service.add(documents))
        return schemas.Added(**{name: report[name] for name in schemas.Added.model_fields})

    @router.post(_DELETION, operation_id="delete")
    async def delete(body: schemas.Deletion) -> schemas.Deleted:
        """Take documents out, by id or by their metadata."""
        report = await service.delete(body.ids, body.filter)
        return schemas.Deleted(
            deleted=report.deleted, missing=list(report.missing), documents=report.documents
        )

    return router


def _options(body: schemas.Search) -> SearchOptions:
    return SearchOptions(body.k, body.threshold, body.filter, body.mode, body.rerank)


def _answer(query: str, hits: list[Hit]) -> schemas.Answer:
    return schemas.Answer.model_validate(hits_as_json(query, hits))


def _metrics_router(service: Service, metrics: Metrics) -> APIRouter:
    router = APIRouter(tags=["operation"])

    @router.get("/metrics", operation_id="metrics", response_class=Response)
    async def read_metrics() -> Response:
        """Counters for Prometheus."""
        facts = await service.info()
        metrics.index(facts["count"], facts["generation"])
        return Response(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return router


def _health_router(guard: Guard) -> APIRouter:
    router = APIRouter(tags=["operation"])

    @router.get("/healthz", operation_id="health")
    async def health() -> schemas.Status:
        """The server is alive."""
        return schemas.Status(status="ok")

    @router.get("/readyz", operation_id="readiness", responses={503: {"model": schemas.Status}})
    async def readiness(response: Response) -> schemas.Status:
        """The server takes requests; 503 once it is stopping."""
        if guard.draining:
            response.status_code = 503
            return schemas.Status(status="stopping")
        return schemas.Status(status="ok")

    return router


def _handle_errors(app: FastAPI) -> None:
    @app.exception_handler(HTTPException)
    async def _(_request: Request, error: HTTPException) -> JSONResponse:
        return failure(error.status_code, str(error.detail), headers=error.headers)

    @app.exception_handler(RequestValidationError)
    async def _(_request: Request, error: RequestValidationError) -> JSONResponse:
        # what was given is not repeated: it may be long, or nobody else's business
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"] if part != "body")
        return failure(422, f"{place or 'body'}: {first['msg']}", param=place or None)

    @app.exception_handler(SettingsError)
    @app.exception_handler(CorpusError)
    async def _(_request: Request, error: Exception) -> JSONResponse:
        return failure(400, str(error))

    @app.exception_handler(TooLargeError)
    async def _(_request: Request, error: TooLargeError) -> JSONResponse:
        return failure(413, str(error))

    @app.exception_handler(BusyError)
    async def _(_request: Request, error: BusyError) -> JSONResponse:
        return failure(429, str(error), headers={"Retry-After": str(error.retry_after)})

    @app.exception_handler(IndexBusyError)
    async def _(_request: Request, error: IndexBusyError) -> JSONResponse:
        message = "another process is writing the index; ask again later"
        return failure(503, message, headers={"Retry-After": "5"})

    @app.exception_handler(StoreError)
    async def _(_request: Request, error: StoreError) -> JSONResponse:
        return failure(500, "the index cannot be read; its operator finds why in the log")

    @app.exception_handler(Exception)
    async def _(_request: Request, _error: Exception) -> JSONResponse:
        return failure(500, "our mistake; the server's log says more")
