"""What stands before every request: who asks, from where, and how much of it.

Everything is decided before a byte of the body is parsed, and the body has a size and a time.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import anyio
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse

from simsearch.server.limits import Limits, Tokens
from simsearch.server.metrics import Metrics

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_OPEN = {"/", "/healthz", "/readyz"}
"""Read without a token: the page asks for one, and who watches over a service has none."""
_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'self'; frame-ancestors 'self'; base-uri 'none'"),
]


@dataclass(frozen=True, slots=True)
class Places:
    """From where the server may be asked.

    ``hosts`` are names that a request's Host may have beside loopback's, so that a page of another
    site, whose name was made to point here (DNS rebinding), gets nothing. With ``any_address``,
    for a server that listens on all interfaces, it may also be any IP address. ``origins`` are
    sites whose pages may ask, beside the server's own.
    """

    hosts: frozenset[str] = frozenset()
    any_address: bool = False
    origins: frozenset[str] = frozenset()

    def host_allowed(self, host: str) -> bool:
        """Whether a request may name this host, with or without a port."""
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        if name == "localhost" or name in self.hosts:
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return address.is_loopback or self.any_address

    def origin_allowed(self, origin: str, host: str) -> bool:
        """Whether a page of this origin may ask a server that it calls ``host``."""
        return origin in self.origins or urlsplit(origin).netloc == host


class RefusedError(Exception):
    """The request is not let through."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.headers = status, dict(headers or {})


def failure(
    status: int, message: str, *, param: str | None = None, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """An answer that is no success: see ``schemas.Failure``."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    if status == 429:
        kind = "rate_limit_error"
    if status in (401, 403):
        kind = "authentication_error"
    problem = {"message": message, "type": kind, "param": param, "code": None}
    return JSONResponse({"error": problem}, status, dict(headers or {}))


class Guard:
    """The ASGI application around the application. ``writes`` are (method, path) that change."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        limits: Limits,
        tokens: Tokens,
        places: Places,
        writes: Iterable[tuple[str, str]],
        metrics: Metrics,
    ) -> None:
        self._app, self.limits, self._tokens, self._places = app, limits, tokens, places
        self._writes, self._metrics = frozenset(writes), metrics
        self.draining = False
        self._entry: ASGIApp = self._guarded
        if places.origins:  # else no page but the server's own may read an answer
            self._entry = CORSMiddleware(
                self._guarded,
                allow_origins=sorted(places.origins),
                allow_methods=["GET", "POST"],
                allow_headers=["Authorization", "Content-Type"],
            )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it."""
        await self._entry(scope, receive, send)

    async def _guarded(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        status, began = 500, time.perf_counter()

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", []), *_HEADERS]
                if self.draining:  # so that the next request goes to another server
                    message["headers"].append((b"connection", b"close"))
            await send(message)

        try:
            try:
                self._check(scope)
                body = await self._body(scope, receive)
            except RefusedError as refused:
                response = failure(refused.status, str(refused), headers=refused.headers)
                await response(scope, receive, answer)
            else:
                began = time.perf_counter()
                await self._app(scope, _replayed(body, receive), answer)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            self._metrics.request(route, status, time.perf_counter() - began)

    def _check(self, scope: Scope) -> None:
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        host = headers.get(b"host", "")
        if not self._places.host_allowed(host):
            raise RefusedError(
                403, f"this server is not called {host!r}; allow it with --allow-host, if it is"
            )
        origin = headers.get(b"origin")
        if origin is not None and not self._places.origin_allowed(origin, host):
            raise RefusedError(
                403, f"pages of {origin!r} may not ask this server; see --allow-origin"
            )
        path, method = scope["path"], scope["method"]
        if path in _OPEN or path.startswith("/assets/"):
            return
        scheme, _, token = headers.get(b"authorization", "").partition(" ")
        given = token.strip() if scheme.lower() == "bearer" else None
        if (method, path) in self._writes:
            if not self._tokens.write:
                raise RefusedError(
                    403, "this server was started without a token for writing, so nobody may write"
                )
            allowed = self._tokens.may_write(given)
        else:
            allowed = self._tokens.may_read(given)
        if not allowed:
            raise RefusedError(
                401,
                "a bearer token is needed, and this is none of them"
                if given
                else "a bearer token is needed: Authorization: Bearer TOKEN",
                {"WWW-Authenticate": "Bearer"},
            )

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        most = self.limits.body
        too_large = RefusedError(413, f"the body may have {most:,} bytes; send it in parts")
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if declared.isdigit() and int(declared[:20]) > most:  # 20 digits are more than enough
            raise too_large
        parts, size = list[bytes](), 0
        try:
            with anyio.fail_after(self.limits.body_time):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise RefusedError(400, "the body ended early")
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
                    if size > most:
                        raise too_large
                    if not message.get("more_body"):
                        return b"".join(parts)
        except TimeoutError:
            raise RefusedError(
                408, f"the body took longer than {self.limits.body_time:g} s"
            ) from None


def _replayed(body: bytes, receive: Receive) -> Receive:
    """As ``receive``, with the body that was read already first."""
    first: list[dict[str, Any]] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return first.pop() if first else await receive()

    return replay
