from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2 as httpx
import numpy as np
import openai
import pytest
import uvicorn
from click.testing import CliRunner
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect
from test_search import build, row
from toy_encoder import ToyEncoder

import simsearch
from simsearch.cli.commands import cli
from simsearch.encoder import Prompt, Vectors
from simsearch.errors import CheckpointError, SettingsError
from simsearch.search import Searcher
from simsearch.server.app import create_app
from simsearch.server.guard import Guard, Places
from simsearch.server.limits import Limits, Tokens, read_tokens
from simsearch.server.metrics import Metrics
from simsearch.server.running import _Server
from simsearch.server.service import Service
from simsearch.server.worker import BusyError, TooLargeError, Worker, rows
from simsearch.store import StoredIndex

DOCS = Path(__file__).parent.parent / "docs"
READ, WRITE = "r" * 20, "w" * 20
AS_WRITER = {"Authorization": f"Bearer {WRITE}"}


@pytest.fixture
def index(tmp_path: Path) -> Path:
    # cosines with "a": aab 2/sqrt(5), a 1, b 0, ab 1/sqrt(2)
    some = [row("aab", "aab", page=3), row("a", "a"), row("b", "b"), row("z ab", "ab")]
    return build(tmp_path / "搜 索", some)


class Server:
    """An application over an index, called in this process."""

    def __init__(
        self,
        index: Path,
        *,
        limits: Limits | None = None,
        tokens: Tokens | None = None,
        places: Places | None = None,
        encoder: ToyEncoder | None = None,
    ) -> None:
        self.encoder = encoder or ToyEncoder()
        searcher = Searcher(self.encoder, StoredIndex.open(index))
        metrics = Metrics()
        self.service = Service(index, searcher, limits or Limits(), metrics)
        self.guard: Guard = create_app(
            self.service,
            metrics,
            tokens=tokens or Tokens(write=(WRITE,)),
            places=places or Places(),
        )
        self.client = TestClient(
            self.guard, base_url="http://localhost:8000", raise_server_exceptions=False
        )

    def post(self, path: str, body: Any, headers: dict[str, str] | None = None) -> httpx.Response:
        return self.client.post(path, json=body, headers=headers)


@pytest.fixture
def server(index: Path) -> Iterator[Server]:
    made = Server(index)
    yield made
    made.service.close()


class TestSearch:
    def test_the_hits_are_those_of_the_searcher(self, server: Server, index: Path) -> None:
        answer = server.post("/v1/search", {"query": "a", "k": 2}).json()
        assert answer == {
            "query": "a",
            "hits": [
                {
                    "rank": 1,
                    "id": "a",
                    "score": 1.0,
                    "percentile": 100.0,
                    "text": "a",
                    "metadata": {},
                },
                {
                    "rank": 2,
                    "id": "aab",
                    "score": pytest.approx(2 / 5**0.5),
                    "percentile": answer["hits"][1]["percentile"],
                    "text": "aab",
                    "metadata": {"page": 3},
                },
            ],
        }

    def test_a_percentile_that_is_not_known_is_null(self, server: Server) -> None:
        (hit,) = server.post("/v1/search", {"query": "aab", "mode": "lexical"}).json()["hits"]
        assert hit["percentile"] is None
        assert hit["id"] == "aab"

    def test_many_queries(self, server: Server) -> None:
        body = {"queries": ["b", "", "a"], "k": 1}
        answers = server.post("/v1/search/batch", body).json()["answers"]
        assert [[hit["id"] for hit in answer["hits"]] for answer in answers] == [["b"], [], ["a"]]
        assert server.encoder.calls == [(["b", "a"], "query")]
        assert server.post("/v1/search/batch", {"queries": []}).json() == {"answers": []}

    def test_options_are_those_of_a_search(self, server: Server) -> None:
        body = {"query": "a", "filter": {"page": {"$gte": 2}}}
        assert [h["id"] for h in server.post("/v1/search", body).json()["hits"]] == ["aab"]
        body = {"query": "a", "threshold": 0.8}
        assert [h["id"] for h in server.post("/v1/search", body).json()["hits"]] == ["a", "aab"]

    @pytest.mark.parametrize(
        ("body", "status", "expected"),
        [
            ({"query": "a", "k": 0}, 422, "k: "),
            ({"query": "a", "k": 10**9}, 422, "k: "),
            ({"query": "a", "k": "3"}, 422, "k: "),
            ({"query": "a", "threshold": 2}, 422, "threshold: "),
            ({"query": "a", "mode": "sql"}, 422, "mode: "),
            ({"query": "a", "path": "/etc/passwd"}, 422, "path: "),
            ({"query": 3}, 422, "query: "),
            ({"query": "a" * 100_001}, 422, "query: "),
            ({}, 422, "query: "),
            ([], 422, "body: "),
            ({"query": "a", "filter": {}}, 422, "filter: "),
            ({"query": "a", "filter": {"page": {"$where": "1"}}}, 400, "$where"),
            ({"query": "a", "threshold": 0.5, "mode": "lexical"}, 400, "is a cosine"),
            ({"query": "a", "rerank": "order"}, 400, "reranker"),
        ],
    )
    def test_what_cannot_be_is_refused_with_a_reason(
        self, server: Server, body: Any, status: int, expected: str
    ) -> None:
        answer = server.post("/v1/search", body)
        assert answer.status_code == status
        error = answer.json()["error"]
        assert expected in error["message"]
        assert error["type"] == "invalid_request_error"

    @pytest.mark.parametrize(
        "body",
        [
            b'{"query": "a", "threshold": NaN}',
            b'{"query": "\\ud800"}',
            b'{"query": "\xff"}',
            b'{"query": "a", "filter": ' + b'{"$and": [' * 5000,
            b'{"query": "a", "filter": ' + b'{"a":' * 5000 + b"1" + b"}" * 5000 + b"}",
            b"{",
        ],
    )
    def test_what_is_no_json_by_the_book_is_refused(self, server: Server, body: bytes) -> None:
        kind = {"Content-Type": "application/json"}
        answer = server.client.post("/v1/search", content=body, headers=kind)
        assert answer.status_code == 400
        assert "not JSON" in answer.json()["error"]["message"]

    def test_json_of_another_type_is_refused(self, server: Server) -> None:
        # a page of another site may send text/plain without asking first
        kind = {"Content-Type": "text/plain"}
        answer = server.client.post("/v1/search", content=b'{"query": "a"}', headers=kind)
        assert answer.status_code == 422

    def test_what_was_given_is_not_repeated(self, server: Server) -> None:
        answer = server.post("/v1/search", {"query": ["<script>secret</script>"]})
        assert answer.status_code == 422
        assert "secret" not in answer.text


class TestEncoding:
    def test_vectors(self, server: Server) -> None:
        answer = server.post("/v1/encode", {"texts": ["ab", "c"], "prompt": "query"}).json()
        assert answer["dim"] == 4
        np.testing.assert_allclose(answer["vectors"], [[0.5**0.5, 0.5**0.5, 0, 0], [0, 0, 1, 0]])
        assert server.encoder.calls == [(["ab", "c"], "query")]

    def test_similarity(self, server: Server) -> None:
        answer = server.post("/v1/similarity", {"a": "a", "b": "aab"}).json()
        assert answer["score"] == pytest.approx(2 / 5**0.5)

    def test_embeddings_as_openai_has_them(self, server: Server) -> None:
        body = {"input": ["ab", "?"], "model": "any/name"}
        answer = server.post("/v1/embeddings", body).json()
        assert answer == {
            "object": "list",
            "data": [
                {
                    "object": "embedding",
                    "index": 0,
                    "embedding": [pytest.approx(0.5**0.5), pytest.approx(0.5**0.5), 0, 0],
                },
                {"object": "embedding", "index": 1, "embedding": [0, 0, 0, 1]},
            ],
            "model": "any/name",
            "usage": {"prompt_tokens": 3, "total_tokens": 3},
        }
        body = {"input": "c", "model": "m", "encoding_format": "base64", "dimensions": 4}
        (found,) = server.post("/v1/embeddings", body).json()["data"]
        assert np.frombuffer(base64.b64decode(found["embedding"]), "<f4").tolist() == [0, 0, 1, 0]

    @pytest.mark.parametrize(
        ("body", "status", "expected"),
        [
            ({"input": [1, 2], "model": "m"}, 400, "token ids"),
            ({"input": [[1, 2]], "model": "m"}, 400, "token ids"),
            ({"input": "a", "model": "m", "dimensions": 2}, 400, "whitening"),
            ({"input": "a", "model": "m", "dimensions": 5}, 400, "vectors have 4"),
            ({"input": [], "model": "m"}, 422, "input"),
            ({"input": "a"}, 422, "model"),
            ({"input": "a" * 100_001, "model": "m"}, 422, "input"),
        ],
    )
    def test_embeddings_that_cannot_be(
        self, server: Server, body: Any, status: int, expected: str
    ) -> None:
        answer = server.post("/v1/embeddings", body)
        assert answer.status_code == status
        assert expected in answer.json()["error"]["message"]


class TestChanging:
    def test_what_is_put_in_is_found_and_what_is_taken_out_is_not(self, server: Server) -> None:
        documents = [{"text": "cc", "id": 7, "page": 1}, {"text": "ccb"}]
        answer = server.post("/v1/documents", {"documents": documents}, AS_WRITER)
        assert answer.json() == {
            "added": 2,
            "replaced": 0,
            "relabelled": 0,
            "unchanged": 0,
            "truncated": 0,
            "documents": 6,
        }
        hits = server.post("/v1/search", {"query": "c", "k": 2}).json()["hits"]
        assert (hits[0]["id"], hits[0]["metadata"]) == ("7", {"page": 1})
        answer = server.post("/v1/documents/delete", {"ids": ["7", "no"]}, AS_WRITER)
        assert answer.json() == {"deleted": 1, "missing": ["no"], "documents": 5}
        hits = server.post("/v1/search", {"query": "c", "k": 1}).json()["hits"]
        assert hits[0]["text"] == "ccb"
        assert server.client.get("/v1/info").json()["count"] == 5

    def test_a_bad_document_changes_nothing(self, server: Server) -> None:
        documents = [{"text": "cc"}, {"text": " "}]
        answer = server.post("/v1/documents", {"documents": documents}, AS_WRITER)
        assert answer.status_code == 400
        assert "document:2" in answer.json()["error"]["message"]
        assert server.client.get("/v1/info").json()["count"] == 4

    def test_without_a_token_for_writing_nobody_writes(self, index: Path) -> None:
        server = Server(index, tokens=Tokens(read=(READ,)))
        for headers in ({}, AS_WRITER, {"Authorization": f"Bearer {READ}"}):
            answer = server.post("/v1/documents/delete", {"ids": ["a"]}, headers)
            assert answer.status_code == 403
        server.service.close()

    def test_another_process_that_writes_is_waited_for_by_the_client(
        self, server: Server, index: Path
    ) -> None:
        with simsearch.store.IndexEditor.open(index):  # type: ignore[attr-defined]
            answer = server.post("/v1/documents/delete", {"ids": ["a"]}, AS_WRITER)
        assert answer.status_code == 503
        assert answer.headers["Retry-After"] == "5"


class TestGuard:
    @pytest.mark.parametrize(
        ("given", "read", "write"),
        [
            (None, 401, 401),
            ("Bearer nonsense", 401, 401),
            (f"Basic {READ}", 401, 401),
            (f"Bearer {READ}", 200, 401),
            (f"bearer  {WRITE}", 200, 200),
            ("Bearer \u00e9\u00e9", 401, 401),
        ],
    )
    def test_tokens(self, index: Path, given: str | None, read: int, write: int) -> None:
        server = Server(index, tokens=Tokens(read=(READ,), write=(WRITE,)))
        headers = {} if given is None else {"Authorization": given.encode("latin-1")}
        answers = [
            server.post("/v1/search", {"query": "a"}, headers),  # type: ignore[arg-type]
            server.post("/v1/documents/delete", {"ids": []}, headers),  # type: ignore[arg-type]
        ]
        assert [answer.status_code for answer in answers] == [read, write]
        if read == 401:
            assert answers[0].headers["WWW-Authenticate"] == "Bearer"
        assert server.client.get("/healthz").status_code == 200
        assert server.client.get("/metrics").status_code == 401
        server.service.close()

    @pytest.mark.parametrize(
        ("host", "allowed"),
        [
            ("localhost", True),
            ("127.0.0.1:8000", True),
            ("[::1]:8000", True),
            ("LOCALHOST:80", True),
            ("search.example", True),
            ("evil.example", False),
            ("localhost.evil.example", False),
            ("192.168.1.2", False),
            ("[", False),
            ("", False),
        ],
    )
    def test_a_name_that_is_not_the_servers_gets_nothing(
        self, index: Path, host: str, allowed: bool
    ) -> None:
        places = Places(hosts=frozenset({"search.example"}))
        server = Server(index, places=places)
        answer = server.post("/v1/search", {"query": "a"}, {"Host": host})
        assert answer.status_code == (200 if allowed else 403)
        server.service.close()

    def test_on_all_interfaces_any_address_will_do(self) -> None:
        places = Places(any_address=True)
        assert places.host_allowed("192.168.1.2:80")
        assert not places.host_allowed("evil.example")

    @pytest.mark.parametrize(
        ("origin", "status"),
        [
            ("http://localhost:8000", 200),
            ("https://good.example", 200),
            ("https://evil.example", 403),
            ("http://localhost:9000", 403),
            ("null", 403),
        ],
    )
    def test_pages_of_other_sites_get_nothing(self, index: Path, origin: str, status: int) -> None:
        server = Server(index, places=Places(origins=frozenset({"https://good.example"})))
        answer = server.post("/v1/search", {"query": "a"}, {"Origin": origin})
        assert answer.status_code == status
        good = origin == "https://good.example"
        assert answer.headers.get("Access-Control-Allow-Origin") == (origin if good else None)
        asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        before = server.client.options("/v1/search", headers=asked)
        assert (before.status_code == 200) == good
        server.service.close()

    def test_a_body_has_a_size(self, index: Path) -> None:
        server = Server(index, limits=Limits(body=100))
        body = {"query": "a" * 100}
        assert server.post("/v1/search", body).status_code == 413

        def parts() -> Iterator[bytes]:  # without a Content-Length
            yield json.dumps(body).encode()

        kind = {"Content-Type": "application/json"}
        answer = server.client.post("/v1/search", content=parts(), headers=kind)
        assert answer.status_code == 413
        huge = {"Content-Length": "9" * 5000, **kind}
        assert server.client.post("/v1/search", content=b"{}", headers=huge).status_code == 413
        server.service.close()

    def test_a_body_has_a_time(self, index: Path) -> None:
        server = Server(index, limits=Limits(body_time=0.05))

        async def ask() -> list[dict[str, Any]]:
            sent: list[dict[str, Any]] = []
            first = [{"type": "http.request", "body": b"{", "more_body": True}]

            async def receive() -> dict[str, Any]:
                if first:
                    return first.pop()
                await asyncio.sleep(60)
                raise AssertionError

            async def send(message: dict[str, Any]) -> None:
                sent.append(message)

            scope = {
                "type": "http",
                "method": "POST",
                "path": "/v1/search",
                "headers": [(b"host", b"localhost")],
            }
            await server.guard(scope, receive, send)  # type: ignore[arg-type]
            return sent

        start, body = asyncio.run(ask())
        assert start["status"] == 408
        assert b"longer than 0.05 s" in body["body"]
        server.service.close()

    def test_every_answer_tells_browsers_to_be_careful(self, server: Server) -> None:
        for path in ("/healthz", "/nothing", "/../../etc/passwd", "/assets/..%2f..%2fetc/passwd"):
            answer = server.client.get(path)
            assert answer.status_code == (200 if path == "/healthz" else 404)
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert "default-src 'self'" in answer.headers["Content-Security-Policy"]

    def test_websockets_are_not_spoken(self, server: Server) -> None:
        with pytest.raises(WebSocketDisconnect) as caught, server.client.websocket_connect("/"):
            pass
        assert caught.value.code == 1008


class TestTokens:
    def test_of_a_file_and_the_environment(self, tmp_path: Path) -> None:
        path = tmp_path / "tokens"
        path.write_text(f"# ours\nread {READ}\n\nwrite {WRITE}\n", "utf-8")
        tokens = read_tokens(path, {"SIMSEARCH_READ_TOKEN": "e" * 16})
        assert tokens == Tokens(read=("e" * 16, READ), write=(WRITE,))

    @pytest.mark.parametrize(
        "line", ["read short", f"admin {READ}", f"read {READ} {READ}", "read " + "é" * 20]
    )
    def test_a_line_that_cannot_be(self, tmp_path: Path, line: str) -> None:
        path = tmp_path / "tokens"
        path.write_text(line, "utf-8")
        with pytest.raises(SettingsError, match="line 1"):
            read_tokens(path, {})

    def test_none(self) -> None:
        tokens = read_tokens(None, {})
        assert tokens.may_read(None)
        assert not tokens.may_write("")


class TestHealth:
    def test_a_server_that_stops_says_so(self, server: Server) -> None:
        assert server.client.get("/readyz").json() == {"status": "ok"}
        server.guard.draining = True
        answer = server.client.get("/readyz")
        assert (answer.status_code, answer.json()) == (503, {"status": "stopping"})
        assert answer.headers["Connection"] == "close"
        assert server.client.get("/healthz").status_code == 200

    def test_without_a_report_there_is_none(self, server: Server) -> None:
        assert server.client.get("/v1/benchmark").json() == {"results": []}

    def test_metrics(self, server: Server) -> None:
        server.post("/v1/search", {"query": "a"})
        server.post("/v1/search", {"query": 3})
        text = server.client.get("/metrics").text
        assert 'simsearch_requests_total{route="/v1/search",status="200"} 1.0' in text
        assert 'simsearch_requests_total{route="/v1/search",status="422"} 1.0' in text
        assert "simsearch_documents 4.0" in text
        assert "simsearch_batch_texts_sum 1.0" in text

    def test_every_failure_is_in_the_openapi_document(self, server: Server) -> None:
        document = server.client.get("/openapi.json").json()
        search = document["paths"]["/v1/search"]["post"]["responses"]
        assert {"200", "400", "401", "403", "413", "422", "429", "503"} <= set(search)


class Slow(ToyEncoder):
    """Waits until it is told to go on."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = threading.Event()
        self.began = threading.Event()

    def encode(self, texts: Sequence[str], prompt: Prompt = "document") -> Vectors:
        self.began.set()
        assert self.go_on.wait(30)
        return super().encode(texts, prompt)


def worker_of(encoder: ToyEncoder, **settings: Any) -> Worker:
    limits = {"batch_tokens": 1000, "most_waiting": 1000, "window": 0.0} | settings
    return Worker(encoder, observer=Metrics(), **limits)


class TestWorker:
    def test_what_comes_meanwhile_is_computed_at_once(self) -> None:
        encoder = Slow()
        worker = worker_of(encoder)

        async def ask() -> list[list[Any]]:
            first = asyncio.create_task(worker.compute(["a"], "query", "g", rows))
            await asyncio.to_thread(encoder.began.wait)
            others = [
                asyncio.create_task(worker.compute([text], "query", "g", rows))
                for text in ("b", "c", "ab")
            ]
            other = asyncio.create_task(worker.compute(["a"], "document", "h", rows))
            await asyncio.sleep(0.01)
            encoder.go_on.set()
            return await asyncio.gather(first, *others, other)

        found = asyncio.run(ask())
        worker.close()
        asked = [(["a"], "query"), (["b", "c", "ab"], "query"), (["a"], "document")]
        assert encoder.calls == asked
        assert [len(vectors) for vectors in found] == [1] * 5
        assert found[2][0].tolist() == [0, 0, 1, 0]

    def test_a_long_request_lets_others_in_between(self) -> None:
        encoder = Slow()
        worker = worker_of(encoder, batch_tokens=6)  # two texts of one letter, which cost 3 each

        async def ask() -> tuple[list[Any], list[Any]]:
            long = asyncio.create_task(worker.compute(["a", "b", "c", "a", "b"], "query", 1, rows))
            await asyncio.to_thread(encoder.began.wait)
            short = asyncio.create_task(worker.compute(["ab"], "query", 2, rows))
            await asyncio.sleep(0.01)
            encoder.go_on.set()
            return await asyncio.gather(long, short)

        long, short = asyncio.run(ask())
        worker.close()
        assert [texts for texts, _ in encoder.calls][:3] == [["a", "b"], ["c", "a"], ["ab"]]
        np.testing.assert_array_equal(long, ToyEncoder().encode(["a", "b", "c", "a", "b"]))
        np.testing.assert_array_equal(short, ToyEncoder().encode(["ab"]))

    def test_too_much_is_refused_and_later_it_is_not(self) -> None:
        encoder = Slow()
        worker = worker_of(encoder, most_waiting=8)

        async def ask() -> None:
            first = asyncio.create_task(worker.compute(["a"], "query", 1, rows))
            await asyncio.to_thread(encoder.began.wait)
            second = asyncio.create_task(worker.compute(["a", "b"], "query", 1, rows))
            await asyncio.sleep(0.01)
            with pytest.raises(BusyError) as caught:
                await worker.compute(["a"], "query", 1, rows)
            assert caught.value.retry_after == 1
            with pytest.raises(TooLargeError, match="ask in parts"):
                await worker.compute(["a"] * 3, "query", 1, rows)
            encoder.go_on.set()
            await asyncio.gather(first, second)
            await worker.compute(["a"], "query", 1, rows)

        asyncio.run(ask())
        worker.close()

    def test_what_nobody_waits_for_is_not_computed(self) -> None:
        encoder = Slow()
        worker = worker_of(encoder, most_waiting=10)

        async def ask() -> None:
            first = asyncio.create_task(worker.compute(["a"], "query", 1, rows))
            await asyncio.to_thread(encoder.began.wait)
            second = asyncio.create_task(worker.compute(["b", "b"], "query", 1, rows))
            await asyncio.sleep(0.01)
            second.cancel()
            await asyncio.sleep(0.01)
            encoder.go_on.set()
            await first
            await worker.compute(["c", "c"], "query", 1, rows)  # its place is free again

        asyncio.run(ask())
        worker.close()
        assert [texts for texts, _ in encoder.calls] == [["a"], ["c", "c"]]

    def test_an_error_is_theirs_who_asked(self) -> None:
        worker = worker_of(ToyEncoder(), batch_tokens=4)

        def broken(texts: Sequence[str], vectors: Vectors | None) -> list[Any]:
            raise SettingsError("no")

        async def ask() -> list[Any]:
            return await asyncio.gather(
                worker.compute(["a", "b", "c"], "query", 1, broken),
                worker.compute(["a"], "query", 2, rows),
                worker.call(lambda: 42),
                return_exceptions=True,
            )

        failed, found, called = asyncio.run(ask())
        worker.close()
        assert isinstance(failed, SettingsError)
        assert found[0].tolist() == [1, 0, 0, 0]
        assert called == 42

    def test_a_thread_that_writes_may_ask_for_more_than_may_wait(self) -> None:
        worker = worker_of(ToyEncoder(), most_waiting=1)
        assert worker.encode(["a", "b", "c"] * 9, "document").shape == (27, 4)
        assert worker.encode([], "document").shape == (0, 4)
        worker.close()
        with pytest.raises(BusyError):
            worker.encode(["a"], "document")


def test_an_answer_that_takes_too_long_is_given_up(index: Path) -> None:
    encoder = Slow()
    server = Server(index, limits=Limits(timeout=0.05), encoder=encoder)
    answer = server.post("/v1/search", {"query": "a"})
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "1"
    encoder.go_on.set()
    server.service.close()


# A server in a process of its own


def started(index: Path, *options: str, **environment: str) -> tuple[subprocess.Popen[str], str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "simsearch", "serve", str(index), "--port", "0", *options],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )
    assert process.stderr is not None
    lines: Iterable[str] = process.stderr
    for line in lines:
        if found := re.search(r"serving on (http://\S+)", line):
            return process, found[1]
    raise AssertionError(f"it ended with {process.wait()}")


@pytest.fixture(scope="module")
def faq(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("服务")
    corpus = folder / "faq.jsonl"
    texts = ["张三请李四吃饭。", "今天天气很好。", "The dog bit the man."]
    corpus.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), "utf-8")
    return simsearch.build(corpus, folder / "index").folder


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGTERM")
def test_a_server_answers_openais_client_and_stops_without_dropping_a_request(faq: Path) -> None:
    process, address = started(faq, "--drain", "0.3", SIMSEARCH_WRITE_TOKEN=WRITE)
    try:
        client = openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0)
        with simsearch.open_index(faq) as searcher:
            expected = searcher.encoder.encode(["张三请李四吃饭。", "hi"])
        answer = client.embeddings.create(input=["张三请李四吃饭。", "hi"], model="zhen-small")
        found = np.array([item.embedding for item in answer.data])
        np.testing.assert_allclose((found * expected).sum(axis=1), 1, atol=1e-3)
        assert answer.usage.prompt_tokens == 10 + 3

        for page in ("service.md", "service.zh-CN.md"):  # what the docs tell to do
            told = (DOCS / page).read_text("utf-8").replace("http://127.0.0.1:8000", address)
            told = told.replace("localhost:8000", address)
            (code,) = re.findall("```python\n(.*?)```", told, re.DOTALL)
            names: dict[str, Any] = {}
            exec(compile(code, page, "exec"), names)
            assert len(names["answer"].data[0].embedding) == expected.shape[1]
            (command,) = re.findall("^curl .*$", told, re.MULTILINE)
            done = subprocess.run(shlex.split(command), capture_output=True, check=True)
            assert len(json.loads(done.stdout)["hits"]) == 3

        pair = {"a": "狗咬人。", "b": "人咬狗。"}
        compared = httpx.post(f"{address}/v1/compare", json=pair, timeout=60).json()
        cosines = {row["pooling"]: row["score"] for row in compared["poolings"]}
        assert cosines["static_mean"] == pytest.approx(1, abs=1e-6)
        assert 0.9 < cosines["mean"] < 0.9999
        assert compared["tokens_a"] == ["狗", "咬", "人", "。"]
        assert np.argmax(compared["cosines"], axis=1).tolist() == [2, 1, 0, 3]
        assert 0 < compared["order_score"] < 0.5
        first = httpx.post(f"{address}/v1/search", json={"query": "谁请李四"}).json()["hits"][0]
        ask = {"query": "谁请李四", "id": first["id"]}
        explained = httpx.post(f"{address}/v1/explain", json=ask, timeout=60).json()
        assert explained["score"] == pytest.approx(first["score"], abs=1e-6)
        found = [(match["token"], match["nearest"]) for match in explained["matches"]]
        assert found[2:] == [("李", "李"), ("四", "四")]
        missing = httpx.post(f"{address}/v1/explain", json={"query": "谁", "id": "no"})
        assert missing.status_code == 400

        dropped, answered, stopping = [], [], threading.Event()

        def ask(number: int) -> None:
            while not stopping.is_set():
                try:
                    body = {"query": f"谁请客{number}", "k": 1}
                    answer = httpx.post(f"{address}/v1/search", json=body, timeout=30)
                    answered.append(answer.json()["hits"][0]["text"])
                except httpx.ConnectError:  # nobody listens any more
                    return
                except Exception as error:
                    dropped.append(error)
                    return

        with ThreadPoolExecutor(4) as pool:
            asking = [pool.submit(ask, number) for number in range(4)]
            time.sleep(0.5)
            documents = {"documents": [{"text": "谁请客吃饭？"}]}  # a new generation, under load
            written = httpx.post(f"{address}/v1/documents", json=documents, headers=AS_WRITER)
            assert written.json()["documents"] == 4
            time.sleep(0.3)
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
            stopping.set()
            for future in asking:
                future.result()
        assert dropped == []
        assert set(answered) == {"张三请李四吃饭。", "谁请客吃饭？"}
    finally:
        process.kill()
        process.communicate()


def test_a_connection_on_which_no_request_comes_is_closed(index: Path) -> None:
    made = Server(index, limits=Limits(body_time=0.2))
    ready = threading.Event()
    config = uvicorn.Config(made.guard, port=0, log_level="critical", lifespan="off")
    server = _Server(config, made.guard, 0.0, ready.set)
    thread = threading.Thread(target=server.run)
    thread.start()
    assert ready.wait(30)
    address = server.servers[0].sockets[0].getsockname()
    with socket.create_connection(address, timeout=30) as slow:
        slow.sendall(b"GET /healthz HTTP/1.1\r\nHost: loc")  # and nothing more
        assert slow.recv(100) == b""
    with httpx.Client(base_url=f"http://127.0.0.1:{address[1]}") as client:
        assert client.get("/healthz").status_code == 200
        time.sleep(0.6)  # between requests a connection may rest longer
        assert client.get("/healthz").status_code == 200
    server.should_exit = True
    thread.join(30)
    made.service.close()


def test_an_address_that_is_taken_is_the_users_error(faq: Path) -> None:
    process, address = started(faq)
    try:
        port = address.rpartition(":")[2]
        command = [sys.executable, "-m", "simsearch", "serve", str(faq), "--port", port]
        second = subprocess.run(command, capture_output=True, text=True, check=False)
        assert second.returncode == 2
        assert "cannot listen on 127.0.0.1" in second.stderr
        assert "Traceback" not in second.stderr
    finally:
        process.terminate()
        process.communicate()


def test_a_reranker_that_cannot_be_had_is_told_before_anybody_asks(faq: Path) -> None:
    result = CliRunner().invoke(
        cli, ["serve", str(faq), "--port", "0", "--reranker", "no/such/one"]
    )
    assert isinstance(result.exception, CheckpointError)
    assert "serving on" not in result.output
