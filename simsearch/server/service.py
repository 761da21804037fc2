"""What the server does, apart from HTTP: search, encode and change one index."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from simsearch import pipeline
from simsearch.config import Mode, Rerank
from simsearch.encoder import Encoder, Prompt, Vectors, canonical_json
from simsearch.pipeline import AddReport, Comparison, DeleteReport, Explanation
from simsearch.records import Hit, Span
from simsearch.search import Searcher
from simsearch.server.limits import Limits
from simsearch.server.worker import BusyError, Observer, Worker, rows

Report = TypeVar("Report")


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """How to search: see ``Searcher.search``."""

    k: int = 10
    threshold: float | None = None
    filter: Mapping[str, Any] | None = None
    mode: Mode = "dense"
    rerank: Rerank | None = None


class Service:
    """An index, its encoder, and the thread that computes with them; ``close`` ends it.

    ``report`` is a folder that `simsearch benchmark --out` wrote.
    """

    def __init__(
        self,
        folder: Path,
        searcher: Searcher,
        limits: Limits,
        observer: Observer,
        report: Path | None = None,
    ) -> None:
        self.folder, self.searcher, self.limits = folder, searcher, limits
        self._report = report
        self.worker = Worker(
            searcher.encoder,
            batch_tokens=limits.batch_tokens,
            most_waiting=limits.waiting_tokens,
            window=limits.window,
            observer=observer,
        )
        self._writing = asyncio.Lock()
        self._writers = 0

    @property
    def encoder(self) -> Encoder:
        """The encoder of the index."""
        return self.searcher.encoder

    async def search(self, texts: Sequence[str], options: SearchOptions) -> list[list[Hit]]:
        """The hits of each text. Raises BusyError, TooLargeError and what ``search`` raises."""
        how = (options.k, options.threshold, options.filter, options.mode, options.rerank)
        self.searcher.search([], *how)  # what cannot be is refused before it takes a place

        def found(some: Sequence[str], vectors: Vectors | None) -> list[list[Hit]]:
            return self.searcher.search(some, *how, vectors=vectors)

        prompt: Prompt | None = None if options.mode == "lexical" else "query"
        asked = [i for i, text in enumerate(texts) if text.strip()]
        answers: list[list[Hit]] = [[] for _ in texts]
        hits = await self.worker.compute(
            [texts[i] for i in asked], prompt, ("search", canonical_json(how)), found
        )
        for i, answer in zip(asked, hits, strict=True):
            answers[i] = answer
        return answers

    async def encode(self, texts: Sequence[str], prompt: Prompt) -> list[Vectors]:
        """The unit vector of each text, float32 (dim,)."""
        return await self.worker.compute(texts, prompt, ("encode", prompt), rows)

    async def similarity(self, a: str, b: str) -> float:
        """The cosine of two texts, as queries."""
        first, second = await self.encode([a, b], "query")
        return max(-1.0, min(1.0, float(first.astype("float64") @ second)))

    async def explain(self, query: str, id_: str) -> Explanation:
        """Which token of a query matched which of a document; see ``pipeline.explain``."""
        return await self.worker.call(lambda: pipeline.explain(self.searcher, query, id_))

    async def compare(self, a: str, b: str) -> Comparison:
        """Two texts under every pooling; see ``pipeline.compare``."""
        return await self.worker.call(lambda: pipeline.compare(self.searcher, a, b))

    async def report(self) -> list[dict[str, Any]]:
        """The results of the benchmark in the folder that the server was told of."""
        if self._report is None:
            return []
        return await asyncio.to_thread(pipeline.read_report, self._report)

    async def info(self) -> dict[str, Any]:
        """The facts about the index."""
        return await asyncio.to_thread(self.searcher.info)

    async def add(self, documents: Sequence[Mapping[str, Any]]) -> AddReport:
        """Put documents in; see ``pipeline.add_documents``. Queries go on meanwhile."""
        encoder = _Sharing(self.worker, self.encoder)
        return await self._write(
            lambda: pipeline.add_documents(self.folder, documents, encoder=encoder)
        )

    async def delete(
        self, ids: Sequence[str], filter: Mapping[str, Any] | None = None
    ) -> DeleteReport:
        """Take documents out; see ``pipeline.delete``."""
        return await self._write(lambda: pipeline.delete(self.folder, ids, filter=filter))

    async def _write(self, change: Callable[[], Report]) -> Report:
        """One change at a time, to its end even if nobody waits for it any more."""
        if self._writers >= self.limits.writes_waiting:
            raise BusyError(5)
        self._writers += 1
        try:
            async with self._writing:
                return await asyncio.shield(asyncio.to_thread(change))
        finally:
            self._writers -= 1

    def close(self) -> None:
        """Finish what is waiting, and close the index."""
        self.worker.close()
        self.searcher.close()


class _Sharing:
    """The encoder for whoever writes: it computes in the worker's turn."""

    def __init__(self, worker: Worker, encoder: Encoder) -> None:
        self._worker, self._encoder = worker, encoder
        self.dim, self.max_length = encoder.dim, encoder.max_length
        self.identity, self.fingerprint = encoder.identity, encoder.fingerprint

    @property
    def truncated(self) -> int:
        """See ``Encoder``."""
        return self._encoder.truncated

    def encode(self, texts: Sequence[str], prompt: Prompt = "document") -> Vectors:
        """See ``Encoder``."""
        return self._worker.encode(texts, prompt)

    def token_ids(self, texts: Sequence[str], prompt: Prompt = "document") -> list[list[int]]:
        """See ``Encoder``."""
        return self._encoder.token_ids(texts, prompt)

    def token_counts(self, texts: Sequence[str], prompt: Prompt = "document") -> list[int]:
        """See ``Encoder``."""
        return self._encoder.token_counts(texts, prompt)

    def spans(self, texts: Sequence[str], tokens: int, overlap: int) -> list[list[Span]]:
        """See ``Encoder``."""
        return self._encoder.spans(texts, tokens, overlap)
