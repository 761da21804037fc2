"""What to do about a request to the Hugging Face hub that failed."""

from __future__ import annotations

import errno

from simsearch.errors import CheckpointError
from simsearch.sources.web import shown

HUB = "https://huggingface.co"
_LOGIN = "log in with `hf auth login` or set HF_TOKEN"
_FULL = (errno.ENOSPC, errno.EDQUOT)


def explained(error: Exception, name: str, endpoint: str) -> CheckpointError:
    """The error for the user, from anything that huggingface_hub raised about "owner/name"."""
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    endpoint = shown(endpoint)
    while isinstance(error, LocalEntryNotFoundError) and isinstance(error.__cause__, Exception):
        error = error.__cause__  # "not in the cache" says less than why it could not be fetched
    if isinstance(error, HfHubHTTPError):
        return CheckpointError(_answered(error, error.response.status_code, name, endpoint))
    return CheckpointError(f"{name}: {_unanswered(error, endpoint)}")


def _answered(error: Exception, status: int, name: str, endpoint: str) -> str:
    """For an answer of the hub that is an error; see huggingface_hub.utils.hf_raise_for_status."""
    from huggingface_hub import errors as hub

    repo, _, revision = name.partition("@")
    page = f"{endpoint}/{repo}"
    if isinstance(error, hub.GatedRepoError):
        return f"{name}: access is restricted by its authors; ask for it at {page}, and {_LOGIN}"
    if isinstance(error, hub.RevisionNotFoundError):
        return (
            f"{name}: the repository has no revision {revision or 'main'!r}; give a branch, a tag, "
            f"a commit or refs/pr/N (see {page}/commits)"
        )
    if isinstance(error, hub.RemoteEntryNotFoundError):
        return f"{name}: a file is listed but not there; run again, or look at {page}/tree/main"
    if isinstance(error, hub.DisabledRepoError):
        return f"{name}: the hub has disabled this repository; choose another one"
    if isinstance(error, hub.RepositoryNotFoundError) or status == 404:
        return (
            f"{name!r} is neither a folder here nor a repository of {endpoint} that you may see; "
            f"check the spelling; if it is private, {_LOGIN}"
        )
    if status == 401:
        return f"{name}: {endpoint} does not accept the token, or wants one; {_LOGIN}"
    if status == 403:
        return (
            f"{name}: {endpoint} forbids it (403); the token may lack the permission to read this "
            f"repository: see {endpoint}/settings/tokens"
        )
    if status == 429:
        return (
            f"{name}: too many requests to {endpoint} (429); wait some minutes, or {_LOGIN}, which "
            "allows more of them"
        )
    if status >= 500:
        return f"{name}: {endpoint} is out of order ({status}), also when asked again; try later"
    return f"{name}: {endpoint} answered {status} ({_first_line(error)}); check HF_ENDPOINT"


def _unanswered(error: Exception, endpoint: str) -> str:
    """For no answer, half of one, one that is no hub's, or a disk that takes no more."""
    from huggingface_hub.errors import FileMetadataError, OfflineModeIsEnabled

    text = f"{type(error).__name__}: {_first_line(error)}"
    if isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE was set when the program started; unset it to ask the hub"
    if isinstance(error, UserWarning) or (isinstance(error, OSError) and error.errno in _FULL):
        return (
            f"the disk of the hub's cache is full ({_first_line(error)}); free some of it, or set "
            "HF_HUB_CACHE to a folder on another one"
        )
    if isinstance(error, OSError) and error.errno and not isinstance(error, ConnectionError):
        return f"the hub's cache cannot be written ({text}); set HF_HUB_CACHE to another folder"
    if isinstance(error, FileMetadataError | ValueError | KeyError | TypeError):
        return f"{endpoint} does not answer as a hub does ({text}); check HF_ENDPOINT and the proxy"
    return (
        f"the connection to {endpoint} failed ({text}); check it and run again (complete files are "
        "kept), or fetch the model on another machine and give its folder"
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["no reason given"])[0][:300]
