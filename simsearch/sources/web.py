"""Ask a web server for a file: redirects, logins, patience, and what its refusals mean."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit, urlunsplit

from simsearch.errors import CheckpointError

if TYPE_CHECKING:
    import requests

_BUSY = (429, 500, 502, 503, 504)
_BUSY_TRIES = 4
BACK_OFF = 0.5  # seconds before the second repetition, doubled with each
_LONGEST_WAIT = 60  # seconds, whatever Retry-After says
_TIMEOUTS = (10.0, 60.0)  # seconds to connect, and between two pieces of an answer
_MOST_REDIRECTS = 10
_BY_HAND = "download the file yourself and give its path"
_ADVICE = {
    401: "it wants a login: put user:password@ before the host, or add the host to ~/.netrc",
    403: "it does not let you have the file: accept its conditions, ask for a fresh link, or put "
    "user:password@ before the host",
    404: "there is no such file; check the address",
    407: "the proxy wants a login: set HTTPS_PROXY=http://user:password@host:port",
    410: "the file is gone; look for a newer address",
}


def check_address(url: str) -> None:
    """Raise CheckpointError if ``url`` is not an http or https address."""
    with contextlib.suppress(ValueError):
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https"):
            raise CheckpointError(
                f"the address begins with {parts.scheme!r}; expected http:// or https://"
            )
        if parts.hostname and parts.port != 0:  # .port is a ValueError if it is not a number
            return
    # which part of it is a password cannot be told, so none of it is repeated
    raise CheckpointError(
        "the address cannot be understood; expected https://host/path, and in a login the "
        "characters / ? # @ : [ ] written as %2F %3F %23 %40 %3A %5B %5D"
    )


def shown(url: str) -> str:
    """The address as it may be printed: without login, query (a signature?) and fragment."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def url_key(url: str) -> str:
    """What the address is known by on disk: a hash, as its query may hold a secret."""
    parts = urlsplit(url)
    bare = parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment="")
    return hashlib.sha256(urlunsplit(bare).encode("utf-8", "surrogatepass")).hexdigest()


def next_address(url: str, location: str) -> str:
    """Where a redirect leads: the login never from https to http, nor the request."""
    target = urljoin(url, location)
    scheme = urlsplit(target).scheme
    if scheme not in ("http", "https") or (urlsplit(url).scheme, scheme) == ("https", "http"):
        raise CheckpointError(
            f"{shown(url)}: sends us on to an address of {scheme}://, which is not followed; "
            f"{_BY_HAND} if you trust it"
        )
    return target


@contextlib.contextmanager
def session() -> Iterator[requests.Session]:
    """Connections that wait and ask again while a server is busy."""
    import requests  # here, as it costs a tenth of a second that most commands don't need
    from requests.adapters import HTTPAdapter
    from urllib3.util import Retry

    patience = Retry(
        total=None,
        connect=0,
        read=0,
        other=0,
        status=_BUSY_TRIES,
        status_forcelist=_BUSY,
        backoff_factor=BACK_OFF,
        retry_after_max=_LONGEST_WAIT,
        raise_on_status=False,
    )
    with requests.Session() as made:
        for scheme in ("http://", "https://"):
            made.mount(scheme, HTTPAdapter(max_retries=patience))
        yield made


@contextlib.contextmanager
def answer_to(
    session: requests.Session, url: str, headers: Mapping[str, str]
) -> Iterator[requests.Response]:
    """The first answer that is no redirect, its body still to be read."""
    from requests.auth import HTTPBasicAuth
    from requests.utils import get_auth_from_url

    user, password = get_auth_from_url(url)
    # as bytes, for requests would write text as Latin-1
    login = HTTPBasicAuth(user.encode(), password.encode()) if user or password else None
    for _ in range(_MOST_REDIRECTS + 1):
        answer = session.get(
            url,
            headers=headers,
            auth=login,
            timeout=_TIMEOUTS,
            stream=True,
            allow_redirects=False,
        )
        with contextlib.closing(answer):
            location = session.get_redirect_target(answer)
            if location is None:
                yield answer
                return
        target = next_address(url, location)
        if session.should_strip_auth(url, target):
            login = None
        url = target
    raise CheckpointError(f"{shown(url)}: redirects without end; check the address, or {_BY_HAND}")


def refusal(url: str, answer: requests.Response) -> CheckpointError:
    """What a status other than success means, and what would help."""
    status = answer.status_code
    advice = _ADVICE.get(status, "it cannot be had from there")
    if status == 401 and "@" in urlsplit(url).netloc:
        advice = "it does not accept this login: check user and password"
    if status in _BUSY:
        advice = f"the server still has trouble after {_BUSY_TRIES + 1} requests; try again later"
    return CheckpointError(f"{shown(url)}: answered {status}: {advice}; or {_BY_HAND}")


def unreachable(url: str, error: BaseException) -> CheckpointError:
    """No connection could be made."""
    return CheckpointError(
        f"{shown(url)}: cannot be reached ({reason(error)}); check the network (behind a proxy, "
        f"set HTTPS_PROXY), or {_BY_HAND}"
    )


def cut(url: str, error: BaseException | None, size: int) -> CheckpointError:
    """Connections were made, but broke again and again."""
    why = f" ({reason(error)})" if error else ""
    return CheckpointError(
        f"{shown(url)}: the download broke off again and again{why}, at last after {size} bytes; "
        f"run it again, it goes on from there if the server can, or {_BY_HAND}"
    )


def never_connected(error: BaseException) -> bool:
    """Whether the host was not found or let nobody in: asking again at once is of no use."""
    from requests.exceptions import ProxyError, SSLError
    from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

    cause = getattr(error.args[0], "reason", None) if error.args else None
    return isinstance(error, ProxyError | SSLError) or isinstance(
        cause, NewConnectionError | ConnectTimeoutError
    )


def reason(error: BaseException) -> str:
    """The system's own words for a failure; the exception's would repeat the whole address."""
    words, cause = type(error).__name__, error
    for _ in range(10):  # the chains are short
        if isinstance(cause, OSError) and cause.strerror:
            words = cause.strerror
        nested = (cause.__cause__, getattr(cause, "reason", None), *cause.args, cause.__context__)
        following = next((part for part in nested if isinstance(part, BaseException)), None)
        if following is None:
            break
        cause = following
    return words
