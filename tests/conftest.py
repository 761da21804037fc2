from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import checkpoints
import huggingface_hub.constants
import hypothesis
import pymilvus  # noqa: F401  # configures logging, and so closes what absl's handler writes to
import pytest
from hub_server import HubServer

# how long an example takes depends on who else uses the machine
hypothesis.settings.register_profile("simsearch", deadline=None)
hypothesis.settings.load_profile("simsearch")


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for the whole run, so that no test sees the user's."""
    folder = tmp_path_factory.mktemp("cache")
    os.environ["SIMSEARCH_CACHE"] = str(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random BERT of three layers with pooler and MLM head, in Google layout."""
    variables = checkpoints.random_variables(checkpoints.TINY_BERT)
    folder = tmp_path_factory.mktemp("检查 点") / "tiny-bert"
    return checkpoints.write_google(folder, checkpoints.TINY_BERT, variables)


@pytest.fixture(scope="session")
def tiny_albert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random ALBERT of three layers, in Google layout."""
    variables = checkpoints.random_variables(checkpoints.TINY_ALBERT)
    folder = tmp_path_factory.mktemp("检查 点") / "tiny-albert"
    return checkpoints.write_google(folder, checkpoints.TINY_ALBERT, variables)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    """An empty hub; the environment points to it, and to empty caches."""
    for variable in [name for name in os.environ if name.startswith(("HF_", "HUGGINGFACE_"))]:
        monkeypatch.delenv(variable)
    for variable in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
        monkeypatch.delenv(variable.lower(), raising=False)
    monkeypatch.delenv("TRANSFORMERS_OFFLINE", raising=False)
    monkeypatch.setenv("SIMSEARCH_CACHE", str(tmp_path / "我们 的"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "缓存 hf"))
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    # read when huggingface_hub is imported, which happened before
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_TELEMETRY", True)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # before another try
    server = HubServer()
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    with server.serving():
        yield server


# which take longest: begun first, so that no worker is left with one of them while others have done
LONGEST = ("test_training.py", "test_learning.py", "test_training_refusals.py", "test_server.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.name not in LONGEST)
