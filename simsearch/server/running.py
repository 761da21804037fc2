"""Start the server, and stop it without dropping a request."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any
from weakref import WeakKeyDictionary

import uvicorn

from simsearch.errors import SettingsError
from simsearch.search import Searcher
from simsearch.server.app import create_app
from simsearch.server.guard import Guard, Places
from simsearch.server.limits import Limits, Tokens
from simsearch.server.metrics import Metrics
from simsearch.server.service import Service

_log = logging.getLogger("simsearch.server")


def serve(
    folder: Path,
    searcher: Searcher,
    *,
    host: str,
    port: int,
    tokens: Tokens,
    places: Places,
    limits: Limits,
    drain: float,
    report: Path | None,
    on_ready: Callable[[str], None],
) -> None:
    """Answer requests until SIGTERM or SIGINT, then finish what has begun.

    ``on_ready`` is told the address once requests are taken; with ``port`` 0 a free one is. After
    the signal, requests are still taken for ``drain`` seconds, and each answer asks to open no
    other on its connection. ``report`` is a benchmark's folder to show. Raises SettingsError if the
    address cannot be listened on, CheckpointError if the reranker's model cannot be had.
    """
    if searcher.reranker is not None:
        searcher.reranker.order_scores([("a b", "b a")])  # loads its model before anybody waits
    listening = _listening(host, port)
    metrics = Metrics()
    service = Service(folder, searcher, limits, metrics, report)
    try:
        guard = create_app(service, metrics, tokens=tokens, places=places)
        config = uvicorn.Config(
            guard,
            log_level="warning",
            access_log=False,
            server_header=False,
            lifespan="off",
            limit_concurrency=limits.connections,
            timeout_graceful_shutdown=int(limits.timeout + limits.body_time),
            timeout_keep_alive=30,
        )
        name = f"[{host}]" if ":" in host else host
        address = f"http://{name}:{listening.getsockname()[1]}"
        _Server(config, guard, drain, lambda: on_ready(address)).run(sockets=[listening])
    finally:
        service.close()


class _Server(uvicorn.Server):
    """Goes on answering for a while after the first signal; the second ends it at once."""

    def __init__(
        self, config: uvicorn.Config, guard: Guard, drain: float, on_ready: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._guard, self._drain, self._on_ready = guard, drain, on_ready
        self._stop_at: float | None = None
        self._opened: WeakKeyDictionary[Any, float] = WeakKeyDictionary()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if not self.should_exit:
            self._on_ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._stop_at is not None:
            super().handle_exit(sig, frame)
            return
        self._guard.draining = True
        self._stop_at = time.monotonic() + self._drain

    async def on_tick(self, counter: int) -> bool:
        self._close_silent()
        if self._stop_at is not None and time.monotonic() >= self._stop_at:
            self.should_exit = True
        return await super().on_tick(counter)

    def _close_silent(self) -> None:
        """Close connections on which no request has begun in time: uvicorn waits for ever."""
        now = time.monotonic()
        for connection in list(self.server_state.connections):
            if getattr(connection, "cycle", None) is None:
                opened = self._opened.setdefault(connection, now)
                if now - opened > self._guard.limits.body_time:
                    connection.transport.close()


def _listening(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
        except BaseException:
            listening.close()
            raise
    except OSError as error:
        raise SettingsError(
            f"cannot listen on {host} port {port}: {error.strerror or error}; "
            "name others with --host and --port"
        ) from None
    listening.set_inheritable(False)
    return listening
