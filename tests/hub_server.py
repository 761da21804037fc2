"""A hub on this machine: what huggingface_hub asks of the real one, and what can go wrong with it.

Files of Git LFS are served, as the real hub does, by a redirect to another host ("localhost" here,
where the hub is "127.0.0.1") under ``/cdn/<sha256>``.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import threading
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

LARGE = (".safetensors", ".h5", ".bin", ".onnx", ".index", "-00001")  # kept by Git LFS


@dataclass
class Repo:
    """``commits``: the files of each; ``branches``: name to commit; ``token``: who may read it."""

    commits: dict[str, Mapping[str, bytes]]
    branches: dict[str, str]
    token: str | None = None
    gated: bool = False
    moved_to: str | None = None


@dataclass
class Fault:
    """The answer to the next ``times`` requests whose "METHOD /path" has ``match`` in it."""

    match: str
    times: int
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    cut_after: int | None = None  # bytes of the body, before the connection ends
    body: bytes | None = None  # instead of the right one


@dataclass
class Request:
    line: str  # "METHOD /path?query"
    headers: Mapping[str, str]


class HubServer:
    """``url`` is what HF_ENDPOINT takes; ``requests`` are all that came."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.faults: list[Fault] = []
        self.requests: list[Request] = []
        hub = self

        class Handler(_Handler):
            server_of = hub

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = False  # wait for them, so that none is left over
        self.port = self._http.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def add(self, name: str, files: Mapping[str, bytes], **options: Any) -> str:
        """Publish ``files`` as the next commit of ``name``'s main branch; the commit."""
        content = repr(sorted(files.items())).encode()
        commit = hashlib.sha1(name.encode() + content).hexdigest()
        repo = self.repos.setdefault(name, Repo({}, {}))
        repo.commits[commit] = files
        repo.branches["main"] = commit
        for option, value in options.items():
            setattr(repo, option, value)
        return commit

    def fail(self, match: str, times: int = 1, **fault: Any) -> None:
        self.faults.append(Fault(match, times, **fault))

    def lines(self, part: str = "") -> list[str]:
        """The requests that came and have ``part`` in them."""
        return [request.line for request in self.requests if part in request.line]

    @contextlib.contextmanager
    def serving(self) -> Iterator[HubServer]:
        thread = threading.Thread(target=self._http.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield self
        finally:
            self._http.shutdown()
            thread.join()
            self._http.server_close()


class _Handler(BaseHTTPRequestHandler):
    server_of: HubServer
    fault: Fault | None

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        hub, line = self.server_of, f"{self.command} {self.path}"
        hub.requests.append(Request(line, {k.title(): v for k, v in self.headers.items()}))
        faults = (fault for fault in hub.faults if fault.match in line and fault.times)
        self.fault = next(faults, None)
        if self.fault is not None:
            self.fault.times -= 1
            if self.fault.status != 200:
                return self._answer(b"{}", self.fault.status, self.fault.headers)
        path = self.path.partition("?")[0]
        if found := re.fullmatch(r"/cdn/(\w{64})", path):
            return self._file(self._blob(found[1]), {})
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)(/revision/([^/]+)|/tree/(.+))?", path):
            name, revision, tree = found[1], found[3] or found[4] or "main", found[4]
            return self._about(name, revision, lambda *files: self._list(name, tree, *files))
        if found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            file = urllib.parse.unquote(found[3])
            return self._about(found[1], found[2], lambda *files: self._resolve(file, *files))
        return self._answer(b"{}", 404, {})

    def _about(self, name: str, revision: str, answer: Any) -> None:
        """Answer with the commit and its files, if there are such and the client may see them."""
        repo = self.server_of.repos.get(name)
        if repo is not None and repo.moved_to is not None:
            return self._answer(b"", 307, {"Location": self.path.replace(name, repo.moved_to, 1)})
        known = repo is not None and (
            repo.token is None or self.headers.get("Authorization") == f"Bearer {repo.token}"
        )
        if repo is None or not (known or repo.gated):
            return self._answer(b"{}", 401, {"X-Error-Code": "RepoNotFound"})
        if not known and "/resolve/" in self.path:
            return self._answer(b"{}", 403, {"X-Error-Code": "GatedRepo"})
        revision = urllib.parse.unquote(revision)
        commit = repo.branches.get(revision, revision)
        if commit not in repo.commits:
            return self._answer(b"{}", 404, {"X-Error-Code": "RevisionNotFound"})
        return answer(commit, repo.commits[commit])

    def _list(self, name: str, tree: str | None, commit: str, files: Mapping[str, bytes]) -> None:
        """A model's description, or one level below it the tree of its files."""
        listed = []
        for file, content in files.items():
            sha = hashlib.sha256(content).hexdigest()
            about: dict[str, Any] = {"size": len(content)}
            names = ("path", "oid", "oid") if tree else ("rfilename", "blobId", "sha256")
            about |= {names[0]: file, names[1]: _git_hash(content), "type": "file"}
            if file.endswith(LARGE):
                about["lfs"] = {names[2]: sha, "size": len(content), "pointerSize": 130}
            listed.append(about)
        answer = listed if tree else {"id": name, "sha": commit, "siblings": listed}
        self._answer(json.dumps(answer).encode(), 200, {"Content-Type": "application/json"})

    def _resolve(self, file: str, commit: str, files: Mapping[str, bytes]) -> None:
        headers = {"X-Repo-Commit": commit}
        if file not in files:
            return self._answer(b"", 404, {**headers, "X-Error-Code": "EntryNotFound"})
        content = files[file]
        if not file.endswith(LARGE):
            return self._file(content, {**headers, "ETag": f'"{_git_hash(content)}"'})
        sha = hashlib.sha256(content).hexdigest()
        headers |= {"X-Linked-ETag": f'"{sha}"', "X-Linked-Size": str(len(content))}
        location = f"http://localhost:{self.server_of.port}/cdn/{sha}"
        return self._answer(b"", 302, {**headers, "Location": location})

    def _blob(self, sha: str) -> bytes:
        repos = self.server_of.repos.values()
        contents = (c for r in repos for files in r.commits.values() for c in files.values())
        return next(c for c in contents if hashlib.sha256(c).hexdigest() == sha)

    def _file(self, content: bytes, headers: Mapping[str, str]) -> None:
        """The content from where "Range: bytes=n-" says."""
        start = int(re.sub(r"\D", "", self.headers.get("Range", "0")))
        if not start:
            return self._answer(content, 200, headers)
        headers = {**headers, "Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
        return self._answer(content[start:], 206, headers)

    def _answer(self, body: bytes, status: int, headers: Mapping[str, str]) -> None:
        cut = None if self.fault is None else self.fault.cut_after
        if self.fault is not None and self.fault.body is not None:
            body = self.fault.body
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[:cut])


def _git_hash(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
