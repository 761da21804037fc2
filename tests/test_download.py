from __future__ import annotations

import hashlib
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from file_server import FileServer, Served

from simsearch.errors import CheckpointError, SettingsError
from simsearch.sources import download as download_module
from simsearch.sources import web
from simsearch.sources.download import download, sha256_of

CONTENT = bytes(range(256)) * 1024  # 256 KiB: several blocks
SHA256 = hashlib.sha256(CONTENT).hexdigest()
OTHER = CONTENT[::-1]
PASSWORD = "s3cret"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    monkeypatch.setattr(web, "BACK_OFF", 0)
    monkeypatch.setenv("NO_PROXY", "*")
    with FileServer() as running:
        yield running


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "下载 folder" / "模型.zip"


def test_a_file_arrives_whole_and_alone(
    server: FileServer, target: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    url = server.serve("/m.zip", Served(CONTENT))
    assert download(url, target) == SHA256
    assert target.read_bytes() == CONTENT
    assert [path.name for path in target.parent.iterdir()] == [target.name]
    assert server.requests[0]["Accept-Encoding"] == "identity"
    assert capfd.readouterr() == ("", "")  # no progress bar where nobody watches


@pytest.mark.parametrize("size", [0, 1, 65535, 65536, 65537])
@pytest.mark.parametrize("chunked", [False, True])
def test_any_length_arrives(server: FileServer, target: Path, size: int, chunked: bool) -> None:
    download(server.serve("/m.zip", Served(CONTENT[:size], chunked=chunked)), target)
    assert target.read_bytes() == CONTENT[:size]


def test_a_length_that_is_not_announced_is_no_obstacle(server: FileServer, target: Path) -> None:
    url = server.serve("/m.zip", Served(CONTENT, headers={"Content-Length": None}))
    assert download(url, target) == SHA256


def test_a_cut_download_goes_on_where_it_stopped(server: FileServer, target: Path) -> None:
    cut = Served(CONTENT, cut_after=100_000)
    assert download(server.serve("/m.zip", cut, cut, Served(CONTENT)), target) == SHA256
    assert target.read_bytes() == CONTENT
    assert server.ranges() == [None, "bytes=100000-", "bytes=200000-"]
    assert [request["If-Range"] for request in server.requests] == [None, '"1"', '"1"']


def test_a_download_that_is_cut_again_and_again_goes_on_in_the_next_call(
    server: FileServer, target: Path
) -> None:
    url = server.serve("/m.zip", Served(CONTENT, cut_after=1000))
    with pytest.raises(CheckpointError, match=r"broke off .* after 5000 bytes; run it again"):
        download(url, target)
    assert not target.exists()
    server.serve("/m.zip", Served(CONTENT))
    assert download(url, target) == SHA256
    assert server.ranges()[-1] == "bytes=5000-"


def test_a_download_that_gets_on_is_not_given_up(
    server: FileServer, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download_module, "_PROGRESS", 20_000)
    assert download(server.serve("/m.zip", Served(CONTENT, cut_after=20_000)), target) == SHA256
    assert len(server.requests) == 14  # 13 x 20 000 bytes and the rest


def test_a_silent_server_is_asked_again(
    server: FileServer, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "_TIMEOUTS", (5.0, 0.2))
    url = server.serve("/m.zip", Served(CONTENT, stall_after=131_072), Served(CONTENT))
    assert download(url, target) == SHA256
    assert server.ranges() == [None, "bytes=131072-"]


@pytest.mark.parametrize(
    ("validators", "expected"),
    [
        ({"etag": None, "headers": {"Last-Modified": "Tue, 01 Jul 2025 10:00:00 GMT"}}, True),
        ({"etag": 'W/"1"'}, False),
        ({"etag": None}, False),
    ],
)
def test_only_what_names_a_version_byte_by_byte_is_gone_on_with(
    server: FileServer, target: Path, validators: dict[str, object], expected: bool
) -> None:
    cut, whole = Served(CONTENT, cut_after=1000, **validators), Served(CONTENT, **validators)
    assert download(server.serve("/m.zip", cut, whole), target) == SHA256
    assert server.ranges() == [None, "bytes=1000-" if expected else None]


@pytest.mark.parametrize(
    "second",
    [
        Served(OTHER, etag='"2"'),
        Served(OTHER, ranges=False),
        Served(status=416, headers={"Content-Range": "bytes */999"}),
        Served(status=416),
        Served(OTHER[1000:], 206, headers={"Content-Range": "bytes 0-261143/262144"}),
        Served(OTHER[1000:], 206, headers={"Content-Range": "bytes 1000-2000/262144"}),
        Served(OTHER[1000:], 206, headers={"Content-Range": "bytes 1000-262143/*"}),
        Served(OTHER[1001:], 206, headers={"Content-Range": "bytes 1000-262143/262144"}),
        Served(OTHER[1000:], 206, '"2"', headers={"Content-Range": "bytes 1000-262143/262144"}),
        Served(OTHER[1000:], 206),
        Served(
            OTHER[1000:] + b"more",
            206,
            headers={"Content-Range": "bytes 1000-262143/262144"},
            chunked=True,
        ),
    ],
    ids=lambda served: f"{served.status} {served.etag} {served.headers.get('Content-Range')}",
)
def test_two_versions_are_never_mixed(server: FileServer, target: Path, second: Served) -> None:
    first = Served(CONTENT, cut_after=1000)
    download(server.serve("/m.zip", first, second, Served(OTHER, etag='"2"')), target)
    assert target.read_bytes() == OTHER
    assert server.ranges()[1] == "bytes=1000-"


def test_a_download_that_was_only_not_put_in_place_is_not_repeated(
    server: FileServer, target: Path
) -> None:
    more = {"Content-Length": str(len(CONTENT) + 1)}
    url = server.serve("/m.zip", Served(CONTENT, headers=more), Served(CONTENT))
    assert download(url, target) == SHA256
    assert server.ranges() == [None, f"bytes={len(CONTENT)}-"]  # the second was a 416


def test_a_part_of_another_address_or_without_its_note_is_not_gone_on_with(
    server: FileServer, target: Path
) -> None:
    url = server.serve("/old.zip", Served(CONTENT, cut_after=1000))
    for other in (server.serve("/new.zip", Served(OTHER)), url):
        with pytest.raises(CheckpointError, match="broke off"):
            download(url, target)
        server.requests.clear()
        if other == url:
            server.serve("/old.zip", Served(OTHER))
            target.with_name(f"{target.name}.part.json").write_text("{", "utf-8")
        download(other, target)
        assert server.ranges() == [None]
        assert target.read_bytes() == OTHER


def test_a_busy_server_is_asked_again(server: FileServer, target: Path) -> None:
    busy = [Served(status=status) for status in (429, 500, 502)]
    soon = Served(status=503, headers={"Retry-After": "0"})
    assert download(server.serve("/m.zip", *busy, soon, Served(CONTENT)), target) == SHA256
    assert len(server.requests) == 5


def test_a_server_that_stays_busy_is_given_up(server: FileServer, target: Path) -> None:
    url = server.serve("/m.zip", Served(status=503, headers={"Retry-After": "0"}))
    with pytest.raises(CheckpointError, match=r"503: .* after 5 requests; try again later"):
        download(url, target)
    assert len(server.requests) == 5


def test_the_wait_that_a_server_asks_for_is_bounded(
    server: FileServer, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "_LONGEST_WAIT", 0)
    an_hour = Served(status=503, headers={"Retry-After": "3600"})
    assert download(server.serve("/m.zip", an_hour, Served(CONTENT)), target) == SHA256


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (401, "it wants a login: put user:password@ before the host"),
        (403, "accept its conditions"),
        (404, "there is no such file; check the address"),
        (407, "HTTPS_PROXY=http://user:password@host:port"),
        (410, "look for a newer address"),
        (418, "it cannot be had from there"),
        (204, "it cannot be had from there"),
        (206, "it cannot be had from there"),  # of a part, which was not asked for
        (304, "it cannot be had from there"),
    ],
)
def test_each_refusal_says_what_to_do(
    server: FileServer, target: Path, status: int, advice: str
) -> None:
    url = server.serve("/m.zip", Served(status=status))
    with pytest.raises(CheckpointError) as caught:
        download(url, target)
    assert str(caught.value).startswith(f"{url}: answered {status}: ")
    assert advice in str(caught.value)
    assert str(caught.value).endswith("; or download the file yourself and give its path")
    assert len(server.requests) == 1


def test_a_login_in_the_address_is_used(server: FileServer, target: Path) -> None:
    server.serve("/m.zip", Served(CONTENT, login=f"用户:{PASSWORD}@/"))
    login = f"%E7%94%A8%E6%88%B7:{PASSWORD}%40%2F@"
    assert download(server.url("/m.zip", login=login), target) == SHA256


@pytest.mark.parametrize(
    ("host", "to", "sent"),
    [
        ("127.0.0.1", "/there.zip", True),
        ("127.0.0.1", "http://127.0.0.1:{port}/there.zip", True),
        ("127.0.0.1", "http://localhost:{port}/there.zip", False),
    ],
)
def test_a_login_is_sent_on_to_the_same_host_only(
    server: FileServer, target: Path, host: str, to: str, sent: bool
) -> None:
    location = to.format(port=server.url("").rpartition(":")[2])
    server.serve("/here.zip", Served(status=302, headers={"Location": location}))
    server.serve("/there.zip", Served(CONTENT))
    download(server.url("/here.zip", login=f"me:{PASSWORD}@", host=host), target)
    assert [request["Authorization"] is not None for request in server.requests] == [True, sent]


def test_redirects_are_followed_with_the_range(server: FileServer, target: Path) -> None:
    hop = Served(status=301, etag=None, headers={"Location": "/hop"})
    server.serve("/hop", Served(status=307, etag=None, headers={"Location": "/files/m.zip?a=1"}))
    server.serve("/files/m.zip", Served(CONTENT, cut_after=1000), Served(CONTENT))
    assert download(server.serve("/m.zip", hop), target) == SHA256
    assert server.ranges() == [None] * 3 + ["bytes=1000-"] * 3


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("/m.zip", "redirects without end"),
        ("file:///etc/passwd", r"sends us on to an address of file://, which is not followed"),
        ("ftp://127.0.0.1/m.zip", r"sends us on to an address of ftp://"),
        ("http://[", "cannot be reached"),
    ],
)
def test_bad_redirects_are_not_followed(
    server: FileServer, target: Path, location: str, message: str
) -> None:
    url = server.serve("/m.zip", Served(status=302, headers={"Location": location}))
    with pytest.raises(CheckpointError, match=message):
        download(url, target)


def test_a_redirect_never_leads_from_https_to_http() -> None:
    assert web.next_address("http://a/b", "https://c/d") == "https://c/d"
    assert web.next_address("https://a/b", "//c/d") == "https://c/d"
    with pytest.raises(CheckpointError, match=r"^https://a/b: .* http://, which is not followed"):
        web.next_address("HTTPS://me:pw@a/b?key=1", "HTTP://c/d")


def test_a_wrong_hash_deletes_the_file_and_says_both(server: FileServer, target: Path) -> None:
    url = server.serve("/m.zip", Served(OTHER))
    with pytest.raises(CheckpointError) as caught:
        download(url, target, sha256=SHA256.upper())
    assert SHA256 in str(caught.value)
    assert hashlib.sha256(OTHER).hexdigest() in str(caught.value)
    assert list(target.parent.iterdir()) == []
    server.serve("/m.zip", Served(CONTENT))
    assert download(url, target, sha256=SHA256.upper()) == sha256_of(target) == SHA256


@pytest.mark.parametrize("headers", [{}, {"Content-Length": None}])
def test_the_size_is_bounded_announced_or_not(
    server: FileServer, target: Path, headers: dict[str, str | None]
) -> None:
    url = server.serve("/m.zip", Served(CONTENT, headers=headers))
    assert download(url, target, most_bytes=len(CONTENT)) == SHA256
    target.unlink()
    with pytest.raises(CheckpointError, match="bytes, expected 262143 at most"):
        download(url, target, most_bytes=len(CONTENT) - 1)
    assert list(target.parent.iterdir()) == []


def test_a_file_that_the_disk_has_no_room_for_is_not_begun(
    server: FileServer, target: Path
) -> None:
    url = server.serve("/m.zip", Served(CONTENT, headers={"Content-Length": str(1 << 60)}))
    with pytest.raises(SettingsError, match=r"bytes are free, but .* needs 1152921504606846976"):
        download(url, target, most_bytes=1 << 61)


def test_a_body_that_is_encoded_against_our_wish_is_refused(
    server: FileServer, target: Path
) -> None:
    served = Served(CONTENT, headers={"Content-Encoding": "gzip"})
    with pytest.raises(CheckpointError, match="the server sends it as gzip"):
        download(server.serve("/m.zip", served), target)
    # here it is a description of the file itself
    assert download(server.serve("/m.tar.gz", served), target) == SHA256


def test_what_was_there_stays_until_the_new_file_is_whole(server: FileServer, target: Path) -> None:
    target.parent.mkdir()
    target.write_bytes(b"old")
    with pytest.raises(CheckpointError, match="broke off"):
        download(server.serve("/m.zip", Served(CONTENT, cut_after=10)), target)
    assert target.read_bytes() == b"old"
    download(server.serve("/m.zip", Served(CONTENT)), target)
    assert target.read_bytes() == CONTENT


def test_a_folder_that_cannot_be_written_is_named(server: FileServer, target: Path) -> None:
    target.parent.write_bytes(b"in the way")
    with pytest.raises(SettingsError, match=r"下载 folder.* set SIMSEARCH_CACHE"):
        download(server.serve("/m.zip", Served(CONTENT)), target)


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_without_a_connection_the_advice_is_to_check_it_or_to_give_a_path(
    target: Path, closed_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    for host in (f"127.0.0.1:{closed_port}", "nowhere.invalid"):
        with pytest.raises(CheckpointError) as caught:
            download(f"http://me:{PASSWORD}@{host}/m.zip?key={PASSWORD}", target)
        assert str(caught.value).startswith(f"http://{host}/m.zip: cannot be reached (")
        assert "set HTTPS_PROXY" in str(caught.value)
        assert str(caught.value).endswith("download the file yourself and give its path")
        assert PASSWORD not in str(caught.value)


def test_a_proxy_that_is_not_there_is_told_without_its_password(
    target: Path, closed_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("no_proxy", "")
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, f"http://me:{PASSWORD}@127.0.0.1:{closed_port}")
    with pytest.raises(CheckpointError, match=r"cannot be reached .* set HTTPS_PROXY") as caught:
        download("http://192.0.2.1/m.zip", target)
    assert PASSWORD not in str(caught.value)


def test_https_where_there_is_none_cannot_be_reached(server: FileServer, target: Path) -> None:
    with pytest.raises(CheckpointError, match=r"^https://127.0.0.1:\d+/m.zip: cannot be reached"):
        download(server.url("/m.zip").replace("http:", "https:"), target)


@pytest.mark.parametrize(
    "answer",
    [
        Served(status=401),
        Served(status=500),
        Served(CONTENT, cut_after=10),
        Served(CONTENT, headers={"Content-Encoding": "br"}),
        Served(CONTENT, headers={"Content-Length": str(1 << 60)}),
        Served(OTHER),
        Served(status=302, headers={"Location": "file:///etc/passwd"}),
        Served(status=302, headers={"Location": "/m.zip"}),
    ],
    ids=lambda served: f"{served.status} {dict(served.headers)}",
)
def test_no_error_repeats_what_may_be_secret(
    server: FileServer, target: Path, answer: Served
) -> None:
    server.serve("/m.zip", answer)
    url = server.url(f"/m.zip?token={PASSWORD}", login=f"me:{PASSWORD}@")
    with pytest.raises(CheckpointError, match=r"http://127.0.0.1:\d+/m.zip: ") as caught:
        download(f"{url}#{PASSWORD}", target, sha256=SHA256)
    assert PASSWORD not in str(caught.value)
    assert "me:" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("ftp://host/m.zip", "begins with 'ftp'; expected http:// or https://"),
        ("file:///m.zip", "begins with 'file'"),
        (f"https://me:{PASSWORD}/x@host/m.zip", "cannot be understood"),
        (f"https://me:{PASSWORD}#x@host/m.zip", "cannot be understood"),
        ("https://", "cannot be understood"),
        ("https://host:port/m.zip", "cannot be understood"),
        ("https://[::1/m.zip", "cannot be understood"),
    ],
)
def test_an_address_that_is_none_is_refused(target: Path, url: str, message: str) -> None:
    with pytest.raises(CheckpointError, match=message) as caught:
        download(url, target)
    assert PASSWORD not in str(caught.value)


def test_nothing_slow_is_imported_before_it_is_needed() -> None:
    slow = ["requests", "urllib3", "tqdm", "filelock", "tarfile"]
    code = (
        "import sys; before = set(sys.modules); import simsearch.sources.archive\n"
        f"print([name for name in {slow} if name in sys.modules and name not in before])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert ran.stdout.split() == [b"[]"]
