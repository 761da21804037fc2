"""A web server on this machine that serves files, well or badly, and keeps what it was asked."""

from __future__ import annotations

import base64
import contextlib
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType


@dataclass(frozen=True)
class Served:
    """One answer. ``headers`` replace what the server would say; ``None`` leaves one out.

    After ``cut_after`` bytes of the body the connection ends; after ``stall_after`` it falls silent
    until the server's ``go_on`` is set.
    """

    content: bytes = b""
    status: int = 200
    etag: str | None = '"1"'
    headers: Mapping[str, str | None] = field(default_factory=dict)
    ranges: bool = True
    chunked: bool = False
    login: str | None = None
    cut_after: int | None = None
    stall_after: int | None = None


class FileServer:
    """``files`` says what each path answers, one request after the other; the last one stays."""

    def __init__(self) -> None:
        self.files: dict[str, list[Served]] = {}
        self.requests: list[Message] = []
        self.go_on = threading.Event()
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    def url(self, path: str, *, login: str = "", host: str = "127.0.0.1") -> str:
        return f"http://{login}{host}:{self._server.server_port}{path}"

    def serve(self, path: str, *answers: Served) -> str:
        self.files[path] = list(answers)
        return self.url(path)

    def ranges(self) -> list[str | None]:
        """The Range of each request so far."""
        return [request["Range"] for request in self.requests]

    def next_answer(self, path: str, request: Message) -> Served:
        with self._lock:
            self.requests.append(request)
            answers = self.files.get(path.partition("?")[0], [Served(status=404)])
            return answers.pop(0) if len(answers) > 1 else answers[0]

    def __enter__(self) -> FileServer:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.go_on.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _handler(files: FileServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            served = files.next_answer(self.path, self.headers)
            status, headers, body = _answer(served, self.headers)
            self.send_response(status)
            for name, value in (headers | dict(served.headers)).items():
                if value is not None:
                    self.send_header(name, value)
            self.end_headers()
            with contextlib.suppress(ConnectionError):  # the client may leave at any time
                self._send(served, body)

        def _send(self, served: Served, body: bytes) -> None:
            if served.stall_after is not None:
                self.wfile.write(body[: served.stall_after])
                self.wfile.flush()
                files.go_on.wait()
                body = body[served.stall_after :]
            if served.cut_after is not None:
                body = body[: served.cut_after]
            self.wfile.write(
                b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body) if served.chunked else body
            )
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    return Handler


def _answer(served: Served, asked: Message) -> tuple[int, dict[str, str | None], bytes]:
    """Status, headers and body, as RFC 9110 wants them."""
    headers: dict[str, str | None] = {"Connection": "close"}
    status, body = served.status, served.content
    if served.etag is not None:
        headers["ETag"] = served.etag
    if served.login is not None and asked["Authorization"] != _basic(served.login):
        status, body = 401, b""
    version = asked["If-Range"] in (None, served.etag, served.headers.get("Last-Modified"))
    start = re.fullmatch(r"bytes=(\d+)-", asked["Range"] or "")
    if start and version and served.ranges and status == 200:
        size, body = len(body), body[int(start[1]) :]
        status = 206 if body else 416
        span = f"{start[1]}-{size - 1}" if body else "*"
        headers["Content-Range"] = f"bytes {span}/{size}"
    if served.chunked:
        headers["Transfer-Encoding"] = "chunked"
    else:
        headers["Content-Length"] = str(len(body))
    return status, headers, body


def _basic(login: str) -> str:
    return "Basic " + base64.b64encode(login.encode()).decode()
