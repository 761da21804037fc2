from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import huggingface_hub
import huggingface_hub._tree_cache
import huggingface_hub.constants
import huggingface_hub.errors
import huggingface_hub.utils
import pytest
from hub_server import HubServer
from hypothesis import given
from hypothesis import strategies as st

from simsearch.errors import CheckpointError
from simsearch.sources.hub import Snapshot, hub_snapshot, is_repo_name

ROOT = Path(__file__).parent.parent
WEIGHTS = bytes(range(256)) * 40
CONFIG = b'{"model_type": "bert"}'
SHA = hashlib.sha256(WEIGHTS).hexdigest()
BERT = {
    ".gitattributes": b"*.safetensors filter=lfs",
    "1_Pooling/config.json": b'{"pooling_mode_cls_token": true}',
    "README.md": b"# a model",
    "config.json": CONFIG,
    "flax_model.msgpack": b"flax",
    "model.safetensors": WEIGHTS,
    "modeling_bert.py": b"raise SystemExit",
    "modules.json": b"[]",
    "onnx/config.json": b"{}",
    "onnx/model.onnx": b"onnx",
    "pytorch_model.bin": b"pickle",
    "tf_model.h5": b"hdf",
    "tokenizer.json": b"{}",
    "training_args.bin": b"pickle",
    "vocab.txt": "[PAD]\n退\n款\n".encode(),
}
NEEDED = [
    "1_Pooling/config.json",
    "config.json",
    "model.safetensors",
    "modules.json",
    "tokenizer.json",
    "vocab.txt",
]
# a program of its own, with the environment that a user has
PROGRAM = """
import sys, warnings
warnings.simplefilter("error")
from simsearch.errors import CheckpointError
from simsearch.sources.hub import hub_snapshot
try:
    snapshot = hub_snapshot(sys.argv[1], offline="offline" in sys.argv)
except CheckpointError as error:
    sys.exit(f"error: {error}")
print(snapshot.reference, "huggingface_hub" in sys.modules)
"""


@pytest.fixture
def hub(hub: HubServer) -> HubServer:
    """A hub with BERT as owner/bert."""
    hub.add("owner/bert", BERT)
    return hub


def files_of(snapshot: Snapshot) -> list[str]:
    folder = snapshot.folder
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def refused(name: str, **options: bool) -> str:
    with pytest.raises(CheckpointError) as caught:
        hub_snapshot(name, **options)
    return str(caught.value)


def started(name: str, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, name, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )


def printed(name: str, *arguments: str, **environment: str) -> tuple[str, str]:
    """What a program of its own prints: stdout, stderr."""
    out, err = started(name, *arguments, **environment).communicate(timeout=60)
    return out.strip(), err.strip()


# --- what is fetched


def test_only_what_an_encoder_needs_is_fetched(hub: HubServer) -> None:
    snapshot = hub_snapshot("owner/bert")
    assert files_of(snapshot) == NEEDED
    assert all((snapshot.folder / name).read_bytes() == BERT[name] for name in NEEDED)
    commit = hub.repos["owner/bert"].branches["main"]
    assert (snapshot.repo, snapshot.commit) == ("owner/bert", commit)
    assert snapshot.reference == f"owner/bert@{commit}"
    assert snapshot.folder == Path(
        os.environ["HF_HOME"], "hub", "models--owner--bert", "snapshots", commit
    )
    assert hub.lines("GET")[-1] == f"GET /cdn/{SHA}"  # all others are there before


def with_files(*names: str) -> dict[str, bytes]:
    return {name: name.encode() for name in ("README.md", "vocab.txt", *names)}


@pytest.mark.parametrize(
    ("given", "left_out"),
    [
        (("config.json", "tf_model.h5", "pytorch_model.bin"), {"pytorch_model.bin"}),
        (
            (
                "config.json",
                "model-00001-of-00002.safetensors",
                "model-00002-of-00002.safetensors",
                "model.safetensors.index.json",
                "tf_model.h5",
            ),
            {"tf_model.h5"},
        ),
        (
            (
                "bert_config.json",
                "bert_model.ckpt.data-00000-of-00001",
                "bert_model.ckpt.index",
                "bert_model.ckpt.meta",
                "config.json",
            ),
            {"bert_model.ckpt.meta", "config.json"},
        ),
        (("bert_config.json", "config.json", "model.safetensors"), {"bert_config.json"}),
        (("config.json", "model.safetensors", "simsearch.json", "whitening.npz"), set()),
    ],
)
def test_one_kind_of_weights_is_fetched(
    hub: HubServer, given: tuple[str, ...], left_out: set[str]
) -> None:
    hub.add("a/b", with_files(*given))
    assert set(files_of(hub_snapshot("a/b"))) == {"vocab.txt", *given} - left_out


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("config.json", "pytorch_model.bin", "a.bin"), "in pytorch_model.bin only, a Python pick"),
        (("config.json", "model.onnx"), "the repository holds README.md, config.json, model.onnx,"),
        (
            ("config.json", "model-00001-of-00002.safetensors", "model.safetensors.index.json"),
            "no weights that we read",
        ),
        (("model.safetensors",), "an encoder needs config.json, and vocab.txt"),
        (("bert_config.json", "tf_model.h5"), "an encoder needs config.json, and vocab.txt"),
    ],
)
def test_a_repository_without_readable_weights_is_refused_before_any_download(
    hub: HubServer, given: tuple[str, ...], message: str
) -> None:
    hub.add("a/b", with_files(*given))
    assert message in refused("a/b")
    assert hub.lines("resolve") == []


def test_an_empty_repository_says_so(hub: HubServer) -> None:
    hub.add("a/b", {})
    assert refused("a/b").endswith("the repository holds nothing")


def test_a_revision_is_fetched_beside_the_branch(hub: HubServer) -> None:
    converted = hub.add("a/b", with_files("config.json", "model.safetensors"))
    hub.add("a/b", with_files("config.json", "pytorch_model.bin"))
    hub.repos["a/b"].branches["refs/pr/1"] = converted
    assert "pickle" in refused("a/b")
    for revision in ("refs/pr/1", converted):
        assert hub_snapshot(f"a/b@{revision}").reference == f"a/b@{converted}"


def test_a_renamed_repository_is_found_by_its_old_name(hub: HubServer) -> None:
    hub.add("old/bert", {}, moved_to="owner/bert")
    snapshot = hub_snapshot("old/bert")
    assert snapshot.repo == "old/bert"
    assert files_of(snapshot) == NEEDED
    assert hub_snapshot(snapshot.reference, offline=True) == snapshot


# --- what is there already


def test_a_complete_snapshot_is_used_without_a_request(hub: HubServer) -> None:
    snapshot = hub_snapshot("owner/bert")
    hub.requests.clear()
    assert hub_snapshot("owner/bert") == snapshot
    assert hub_snapshot("owner/bert@main", offline=True) == snapshot
    assert hub_snapshot(snapshot.reference, offline=True) == snapshot
    assert hub.requests == []


def test_opening_a_known_snapshot_does_not_import_the_library(hub: HubServer) -> None:
    reference = hub_snapshot("owner/bert").reference
    assert printed(reference, "offline") == (f"{reference} False", "")


def test_a_moved_branch_is_followed_when_asked(hub: HubServer) -> None:
    old = hub_snapshot("owner/bert")
    commit = hub.add("owner/bert", {**BERT, "config.json": b"{}"})
    assert hub_snapshot("owner/bert") == old
    hub.requests.clear()
    new = hub_snapshot("owner/bert", refresh=True)
    assert new.commit == commit
    assert (new.folder / "config.json").read_bytes() == b"{}"
    assert hub.lines("/cdn/") == []  # the weights are the same
    assert hub_snapshot("owner/bert") == new
    assert hub_snapshot(old.reference, offline=True) == old


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_file_that_went_missing_is_fetched_again(hub: HubServer, name: str) -> None:
    snapshot = hub_snapshot("owner/bert")
    (snapshot.folder / name).resolve().unlink()
    assert "neither a folder here nor complete in the hub's cache" in refused(
        snapshot.reference, offline=True
    )
    hub.requests.clear()
    assert hub_snapshot("owner/bert") == snapshot
    assert len(hub.lines("HEAD")) == 1
    assert files_of(snapshot) == NEEDED


def test_a_damaged_note_is_made_anew(hub: HubServer) -> None:
    snapshot = hub_snapshot("owner/bert")
    notes = list(Path(os.environ["SIMSEARCH_CACHE"]).rglob("*.json"))
    assert len(notes) == 2  # the branch and the commit
    for text in ("", "{}", '{"folder": 1}', '{"folder": "/", "files": [], "commit": 2}'):
        for note in notes:
            note.write_text(text)
        assert hub_snapshot("owner/bert", offline=True) == snapshot
        assert json.loads(notes[0].read_text())["commit"] == snapshot.commit


def test_another_home_is_another_cache(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = hub_snapshot("owner/bert")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "other"))
    assert str(tmp_path / "other") in refused("owner/bert", offline=True)
    second = hub_snapshot("owner/bert")
    assert second.folder.is_relative_to(tmp_path / "other")
    # a cache that was moved is known again
    monkeypatch.setenv("HF_HUB_CACHE", str(shutil.move(tmp_path / "other", tmp_path / "moved")))
    assert hub_snapshot(first.reference, offline=True).folder.is_relative_to(tmp_path / "moved")


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"XDG_CACHE_HOME": "/x y"},
        {"HF_HOME": "~/hf"},
        {"HF_HOME": "/a", "HUGGINGFACE_HUB_CACHE": "/b"},
        {"HUGGINGFACE_HUB_CACHE": "/b", "HF_HUB_CACHE": "$HOME/c"},
    ],
)
def test_the_cache_is_where_the_library_says(environment: dict[str, str]) -> None:
    clean = {k: v for k, v in os.environ.items() if not re.match("HF_|HUGGINGF|XDG_", k)}
    code = (
        "import simsearch.sources.hub as ours, huggingface_hub.constants as theirs\n"
        "print(ours._hub_cache(), theirs.HF_HUB_CACHE, sep='\\n')"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code],
        env={**clean, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        check=True,
        encoding="utf-8",
    )
    ours, theirs = ran.stdout.splitlines()
    assert ours == str(Path(theirs).resolve())


# --- a cache that others filled


def filled(name: str, **options: list[str]) -> Path:
    return Path(
        huggingface_hub.snapshot_download(
            name,
            endpoint=os.environ["HF_ENDPOINT"],
            cache_dir=Path(os.environ["HF_HOME"], "hub"),
            **options,
        )
    )


def test_what_the_library_downloaded_whole_is_used_without_a_request(hub: HubServer) -> None:
    folder = filled("owner/bert")
    hub.requests.clear()
    assert hub_snapshot("owner/bert").folder == folder
    assert hub.requests == []


def test_what_others_downloaded_in_part_is_completed(hub: HubServer) -> None:
    folder = filled("owner/bert", allow_patterns=["config.json", "vocab.txt", "*.safetensors"])
    assert "nor complete" in refused("owner/bert", offline=True)  # by the library's list of files
    hub.requests.clear()
    assert files_of(hub_snapshot("owner/bert")) == NEEDED
    assert sorted(line.rpartition("/main/")[2] for line in hub.lines("GET /owner")) == sorted(
        f"GET /owner/bert/resolve/{folder.name}/{name}"
        for name in ("1_Pooling/config.json", "modules.json", "tokenizer.json")
    )


def test_without_a_list_of_files_the_necessary_ones_do_offline(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = filled("owner/bert", allow_patterns=["config.json", "vocab.txt", "*.safetensors"])
    trees = folder.parent.parent / "trees"
    shutil.rmtree(trees)  # older versions of the library keep none
    monkeypatch.setattr(huggingface_hub._tree_cache, "_IN_MEMORY_TREE_CACHE", {})
    hub.requests.clear()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert files_of(hub_snapshot("owner/bert")) == ["config.json", "model.safetensors", "vocab.txt"]
    assert hub.requests == []
    monkeypatch.delenv("HF_HUB_OFFLINE")
    hub.fail("GET /api", times=4, status=503)
    assert len(files_of(hub_snapshot("owner/bert"))) == 3  # nobody can tell
    assert files_of(hub_snapshot("owner/bert")) == NEEDED


def test_offline_mode_uses_a_filled_cache_and_asks_nobody(hub: HubServer) -> None:
    commit = filled("owner/bert").name
    hub.requests.clear()
    assert printed("owner/bert", HF_HUB_OFFLINE="1") == (f"owner/bert@{commit} True", "")
    _, error = printed("owner/other", HF_HUB_OFFLINE="1")
    assert "'owner/other' is neither a folder here nor complete" in error
    assert "HF_HUB_OFFLINE is set" in error
    assert hub.requests == []


def test_asking_anew_is_refused_in_offline_mode(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub_snapshot("owner/bert")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "HF_HUB_OFFLINE is set; unset it" in refused("owner/bert", refresh=True)


# --- what goes wrong on the way


def test_a_cut_connection_is_resumed(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    # what came is kept in pieces of this size, of 10 MiB else
    monkeypatch.setattr(huggingface_hub.constants, "DOWNLOAD_CHUNK_SIZE", 1000)
    hub.fail("GET /cdn/", cut_after=4000)
    assert (hub_snapshot("owner/bert").folder / "model.safetensors").read_bytes() == WEIGHTS
    ranges = [r.headers.get("Range") for r in hub.requests if r.line.startswith("GET /cdn/")]
    assert ranges == [None, "bytes=4000-"]


def test_an_interrupted_download_is_not_complete_and_is_finished_later(hub: HubServer) -> None:
    hub.fail("GET /cdn/", times=99, cut_after=0)
    message = refused("owner/bert")
    assert message.startswith(f"owner/bert: the connection to {hub.url} failed (RemoteProtocol")
    assert "nor complete" in refused("owner/bert", offline=True)
    hub.faults.clear()
    hub.requests.clear()
    assert files_of(hub_snapshot("owner/bert")) == NEEDED
    assert hub.lines("GET")[1:] == [f"GET /cdn/{SHA}"]  # the first is the list of files


def test_weights_that_do_not_have_their_hash_are_deleted(hub: HubServer) -> None:
    wrong = WEIGHTS[::-1]
    hub.fail("GET /cdn/", body=wrong)
    message = refused("owner/bert")
    assert SHA in message
    assert hashlib.sha256(wrong).hexdigest() in message
    assert "nor complete" in refused("owner/bert", offline=True)
    assert (hub_snapshot("owner/bert").folder / "model.safetensors").read_bytes() == WEIGHTS


def test_a_filled_cache_is_verified_too(hub: HubServer) -> None:
    folder = filled("owner/bert")
    (folder / "model.safetensors").resolve().write_bytes(WEIGHTS[::-1])
    assert SHA in refused("owner/bert", offline=True)


@pytest.mark.parametrize("where", ["GET /api", "HEAD /owner", "GET /cdn"])
def test_a_server_that_recovers_is_asked_again(hub: HubServer, where: str) -> None:
    hub.fail(where, times=3, status=503)
    assert files_of(hub_snapshot("owner/bert")) == NEEDED


@pytest.mark.parametrize(
    ("where", "fault", "message"),
    [
        ("/api", {"status": 500}, "is out of order (500), also when asked again; try later"),
        ("HEAD", {"status": 502}, "is out of order (502)"),
        ("GET /cdn", {"status": 503}, "is out of order (503)"),
        ("/api", {"status": 429}, "too many requests to http://127.0.0.1"),
        ("/api", {"status": 401}, "does not accept the token, or wants one; log in with `hf auth"),
        ("/api", {"status": 403}, "forbids it (403); the token may lack the permission"),
        ("HEAD", {"status": 403}, "forbids it (403)"),
        (
            "/api",
            {"status": 403, "headers": {"X-Error-Message": "Access to this resource is disabled."}},
            "the hub has disabled this repository",
        ),
        ("/api", {"status": 418}, "answered 418"),
        (
            "HEAD",
            {"status": 404, "headers": {"X-Error-Code": "EntryNotFound"}},
            "a file is listed but not there",
        ),
        ("/api", {"cut_after": 10}, "failed (RemoteProtocolError: peer closed connection"),
    ],
)
def test_what_failed_and_what_to_do_is_said(
    hub: HubServer, where: str, fault: dict[str, object], message: str
) -> None:
    hub.fail(where, times=99, **fault)
    error = refused("owner/bert")
    assert error.startswith("owner/bert: ")
    assert message in error
    assert "hf_secret" not in error


def test_a_name_that_does_not_exist_may_be_a_misspelt_folder(hub: HubServer) -> None:
    message = refused("models/brt")
    assert message.startswith(
        f"'models/brt' is neither a folder here nor a repository of {hub.url} that you may see"
    )
    assert "hf auth login" in message


def test_a_gated_repository_and_a_missing_revision_are_told_apart(hub: HubServer) -> None:
    hub.add("owner/bert", BERT, token="hf_of_another", gated=True)
    assert f"ask for it at {hub.url}/owner/bert" in refused("owner/bert")
    hub.add("owner/bert", BERT, token=None)
    assert "no revision 'v9'; give a branch" in refused("owner/bert@v9")


def test_a_server_that_is_no_hub_is_named(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", f"{hub.url}/mirror/")
    assert f"neither a folder here nor a repository of {hub.url}/mirror " in refused("owner/bert")
    monkeypatch.setenv("HF_ENDPOINT", "127.0.0.1")
    assert "HF_ENDPOINT: the address begins with ''; expected http" in refused("owner/bert")
    monkeypatch.setenv("HF_ENDPOINT", "http://[::1")
    assert "HF_ENDPOINT: the address cannot be understood" in refused("owner/bert")
    monkeypatch.setenv("HF_ENDPOINT", "http://me:geheim@127.0.0.1:1")
    assert "geheim" not in refused("owner/bert")
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    for body in (b"<html>Welcome to this hotel</html>", b"[]", b"{}", b'{"id": "a/b"}'):
        hub.fail("/api", body=body)
        assert f"{hub.url} does not answer as a hub does (" in refused("owner/bert")
    hub.fail("HEAD", status=204)  # without the headers of a hub
    assert f"{hub.url} does not answer as a hub does (" in refused("owner/bert")


def test_nobody_there_means_no_connection(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = hub_snapshot("owner/bert")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    message = refused("owner/other")
    assert "the connection to http://127.0.0.1:9 failed (ConnectError" in message
    assert hub_snapshot("owner/bert") == snapshot
    assert "failed (ConnectError" in refused("owner/bert", refresh=True)


def test_a_full_disk_is_noticed_before_the_download(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(ROOT)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    assert "the disk of the hub's cache is full" in refused("owner/bert")
    assert hub.lines("GET /cdn/") == []


@pytest.mark.skipif(sys.platform == "win32", reason="no resource limits")
def test_a_cache_that_cannot_be_written_is_named(hub: HubServer) -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, hard))
    try:
        message = refused("owner/bert")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "the hub's cache cannot be written (OSError: [Errno 27] File too large)" in message
    assert list(Path(os.environ["HF_HOME"]).rglob("*.incomplete")) == []


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_shown_on_a_terminal_under_the_file_s_name(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    hub_snapshot("owner/bert")
    assert "\rmodel.safetensors: 100%|" in terminal.getvalue()
    assert SHA[-8:] not in terminal.getvalue()


# --- whole programs


def test_concurrent_programs_fetch_each_file_once(hub: HubServer) -> None:
    hub.fail("GET /cdn/", cut_after=4000)
    running = [started("owner/bert") for _ in range(3)]
    printed = [program.communicate(timeout=60)[0] for program in running]
    assert printed == [f"owner/bert@{hub.repos['owner/bert'].branches['main']} True\n"] * 3
    fetched = hub.lines("GET /owner") + hub.lines("GET /cdn/")
    small = [line for line in fetched if line.endswith((".json", ".txt"))]
    assert len(small) == len(set(small)) == len(NEEDED) - 1
    assert len(hub.lines("GET /cdn/")) == 2  # cut once, and resumed


def test_a_private_repository_takes_the_token_and_nobody_else_does(
    hub: HubServer, tmp_path: Path
) -> None:
    commit = hub.add("owner/private", BERT, token="hf_stored")
    home = Path(os.environ["HF_HOME"])
    home.mkdir()
    (home / "token").write_text("hf_stored")
    hub.requests.clear()
    assert printed("owner/private", HF_TOKEN="") == (f"owner/private@{commit} True", "")
    tokens = {r.line.partition("?")[0]: r.headers.get("Authorization") for r in hub.requests}
    assert tokens.pop(f"GET /cdn/{SHA}") is None
    assert set(tokens.values()) == {"Bearer hf_stored"}
    assert hub.lines("agent") == []
    agents = {r.headers["User-Agent"].partition(";")[0] for r in hub.requests}
    assert agents == {"simsearch/None"}  # and of which version is nobody's business
    _, error = printed("owner/private", HF_TOKEN="hf_wrong", HF_HUB_CACHE=str(tmp_path / "new"))
    assert "is neither a folder here nor a repository of" in error
    assert "hf_" not in error.replace("hf auth", "")


def test_a_cache_without_links_holds_the_files_themselves(hub: HubServer) -> None:
    reference, _ = printed("owner/bert", HF_HUB_DISABLE_SYMLINKS="1")[0].split()
    snapshot = hub_snapshot(reference, offline=True)
    assert files_of(snapshot) == NEEDED
    assert not any(path.is_symlink() for path in snapshot.folder.rglob("*"))
    hub.fail("GET /cdn/", body=WEIGHTS[::-1])
    commit = hub.add("owner/bert", {**BERT, "config.json": b"{}"})
    _, error = printed(f"owner/bert@{commit}", HF_HUB_DISABLE_SYMLINKS="1")
    assert f"expected {SHA}; the file came damaged" in error


def test_a_damaged_file_is_deleted_only_by_who_may_fetch_it_anew(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = hub_snapshot("owner/bert").folder / "model.safetensors"
    weights.resolve().write_bytes(WEIGHTS[::-1])
    monkeypatch.setenv("SIMSEARCH_CACHE", str(tmp_path / "new"))  # without the note of its sizes
    assert "simsearch models --fetch" in refused("owner/bert", offline=True)
    assert weights.is_file()
    assert "it is deleted; run again" in refused("owner/bert")
    assert not weights.exists()
    assert hub_snapshot("owner/bert").folder == weights.parent
    assert weights.read_bytes() == WEIGHTS


# --- names


@pytest.mark.parametrize(
    "name",
    ["owner/name", "a/b", "BAAI/bge-small-zh-v1.5", "o/n@main", "o/n@v1.0", "o/n@refs/pr/3"],
)
def test_names_of_repositories_are_known(name: str) -> None:
    assert is_repo_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "bert",
        "./bert",
        "~/bert",
        "/bert",
        "models/bert/",
        "a/b/c",
        "模型/bert",
        "a/b@",
        "a/b@c@d",
        "a/b@../c",
        "a/b@/c",
        "a/b@c/",
        "a/b@-c",
        "a/b c",
        "a\\b",
        "https://hub/a",
    ],
)
def test_other_names_are_not(hub: HubServer, name: str) -> None:
    assert not is_repo_name(name)
    assert "expected owner/name" in refused(name)
    assert hub.requests == []


@given(st.from_regex(r"[\w.-]{0,3}a?(--|\.\.)?/[\w.-]{0,98}(\.git)?", fullmatch=True))
def test_the_rules_are_the_library_s(name: str) -> None:
    try:
        huggingface_hub.utils.validate_repo_id(name)
    except huggingface_hub.errors.HFValidationError:
        assert not is_repo_name(name)
    else:
        assert is_repo_name(name)
