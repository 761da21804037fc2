from __future__ import annotations

import os
from pathlib import Path

import checkpoints
import hypothesis
import pytest

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
