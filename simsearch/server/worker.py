"""One thread that computes for all requests, each time what has come in the meantime.

A model is quickest with many texts at once, and uses all cores for one batch already; so requests
are not computed side by side but put together. What is too much to wait for is refused at once.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import numpy as np

from simsearch.encoder import Encoder, Prompt, Vectors

Result = TypeVar("Result")

Finish = Callable[[Sequence[str], "Vectors | None"], Sequence[Any]]
"""From texts and their vectors, float32 (texts, dim), to a result for each."""


class BusyError(Exception):
    """More is waiting than can be computed soon; ``retry_after`` is when to ask again, seconds."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"too many requests are waiting; ask again in {retry_after} s")
        self.retry_after = retry_after


class TooLargeError(Exception):
    """One request asks for more than may ever wait."""


class Observer(Protocol):
    """What is told about the work."""

    def batch(self, texts: int, seconds: float) -> None:
        """A batch was computed."""

    def waiting(self, tokens: int) -> None:
        """So many tokens, about, are waiting now."""


@dataclass(eq=False)
class _Job:
    """Texts to compute on, in slices if there are many.

    Jobs of one ``group`` are computed together: they have the same ``prompt``, or no vectors, and
    the same ``finish``.
    """

    texts: Sequence[str]
    costs: list[int]
    prompt: Prompt | None
    group: Hashable
    finish: Finish
    future: Future[list[Any]]
    at: int = 0
    results: list[Any] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Slice:
    job: _Job
    start: int
    stop: int

    @property
    def texts(self) -> Sequence[str]:
        return self.job.texts[self.start : self.stop]


class Worker:
    """The thread, from the constructor to ``close``.

    Tokens are estimated from the bytes of a text. ``batch_tokens`` are computed at once,
    ``most_waiting`` may wait, and while there are several who ask, up to ``window`` seconds are
    spent waiting for one more.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        batch_tokens: int,
        most_waiting: int,
        window: float,
        observer: Observer,
    ) -> None:
        self._encoder, self._observer = encoder, observer
        self._batch_tokens, self._most_waiting, self._window = batch_tokens, most_waiting, window
        self._waiting: deque[_Job] = deque()
        self._tokens = 0  # of what is waiting
        self._speed = 1000.0  # tokens per second, as measured last
        self._crowded = False
        self._closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="simsearch-worker", daemon=True)
        self._thread.start()

    async def compute(
        self, texts: Sequence[str], prompt: Prompt | None, group: Hashable, finish: Finish
    ) -> list[Any]:
        """What ``finish`` makes of the texts, which are encoded as ``prompt``, if it isn't None.

        Raises BusyError, TooLargeError, and what ``finish`` raises. Cancelled, it isn't computed.
        """
        job = self._put(texts, prompt, group, finish, limited=True)
        try:
            return await asyncio.wrap_future(job.future)
        except asyncio.CancelledError:
            self._drop(job)
            raise

    async def call(self, function: Callable[[], Result]) -> Result:
        """What ``function`` returns, run in the thread, where nothing else uses the models."""
        (result,) = await self.compute([""], None, object(), lambda _texts, _none: [function()])
        return result  # type: ignore[no-any-return]

    def encode(self, texts: Sequence[str], prompt: Prompt) -> Vectors:
        """Unit vectors of the texts, for another thread that waits, however many they are.

        Between their slices it is the others' turn.
        """
        if not texts:
            return np.empty((0, self._encoder.dim), np.float32)
        job = self._put(texts, prompt, ("encode", prompt), rows, limited=False)
        return np.stack(job.future.result())

    def _put(
        self,
        texts: Sequence[str],
        prompt: Prompt | None,
        group: Hashable,
        finish: Finish,
        *,
        limited: bool,
    ) -> _Job:
        most = self._encoder.max_length
        costs = [min(most, 3 + len(text.encode()) // 3) for text in texts]
        job = _Job(texts, costs, prompt, group, finish, Future())
        if not texts:
            job.future.set_result([])
            return job
        with self._changed:
            if self._closed:
                raise BusyError(1)
            tokens = sum(costs)
            if limited and tokens > self._most_waiting:
                raise TooLargeError(
                    f"about {tokens:,} tokens at once, and {self._most_waiting:,} may wait; "
                    "ask in parts"
                )
            if limited and self._tokens + tokens > self._most_waiting:
                raise BusyError(min(60, math.ceil(self._tokens / self._speed)) or 1)
            self._waiting.append(job)
            self._tokens += tokens
            self._changed.notify()
        return job

    def _drop(self, job: _Job) -> None:
        """Compute nothing more of a job: nobody waits for it any more, or it failed."""
        with self._changed:
            if job in self._waiting:
                self._waiting.remove(job)
                self._tokens -= sum(job.costs[job.at :])

    def _work(self) -> None:
        while slices := self._taken():
            began = time.perf_counter()
            for group in _grouped(slices):
                self._compute(group)
            seconds = time.perf_counter() - began
            tokens = sum(sum(part.job.costs[part.start : part.stop]) for part in slices)
            self._speed += 0.2 * (tokens / max(seconds, 1e-6) - self._speed)
            self._observer.batch(sum(len(part.texts) for part in slices), seconds)

    def _taken(self) -> list[_Slice]:
        """What is computed next; nothing once all is done and the worker is closed."""
        with self._changed:
            slices: list[_Slice] = []
            while not slices:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if not self._waiting:
                    return []
                if self._crowded and not self._closed:
                    self._changed.wait_for(
                        lambda: self._tokens >= self._batch_tokens or self._closed, self._window
                    )
                slices = self._cut()
            self._crowded = len(slices) > 1
            self._observer.waiting(self._tokens)
            return slices

    def _cut(self) -> list[_Slice]:
        """A batch, in the order of coming; of whom it is not enough, the rest queues up again."""
        slices, rest, room = [], [], self._batch_tokens
        while self._waiting and room > 0:
            job = self._waiting.popleft()
            start = job.at
            while job.at < len(job.texts) and room > 0:
                room -= job.costs[job.at]
                self._tokens -= job.costs[job.at]
                job.at += 1
            slices.append(_Slice(job, start, job.at))
            if job.at < len(job.texts):
                rest.append(job)
        self._waiting.extend(rest)
        return slices

    def _compute(self, slices: Sequence[_Slice]) -> None:
        """Compute on slices of one group, and give every job that is done its results."""
        texts = [text for part in slices for text in part.texts]
        job = slices[0].job
        try:
            vectors = None if job.prompt is None else self._encoder.encode(texts, job.prompt)
            results = job.finish(texts, vectors)
        except Exception as error:  # it is theirs who wait
            for part in slices:
                self._drop(part.job)
                if part.job.future.set_running_or_notify_cancel():
                    part.job.future.set_exception(error)
            return
        done = 0
        for part in slices:
            count = part.stop - part.start
            part.job.results += results[done : done + count]
            done += count
            complete = len(part.job.results) == len(part.job.texts)
            if complete and part.job.future.set_running_or_notify_cancel():
                part.job.future.set_result(part.job.results)

    def close(self) -> None:
        """Compute what is waiting, and end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()


def rows(texts: Sequence[str], vectors: Vectors | None) -> Sequence[Any]:
    """The vectors, one a text."""
    assert vectors is not None
    return list(vectors)


def _grouped(slices: Sequence[_Slice]) -> list[list[_Slice]]:
    groups: dict[Hashable, list[_Slice]] = {}
    for part in slices:
        groups.setdefault(part.job.group, []).append(part)
    return list(groups.values())
