"""Builds on a Ray cluster: of this machine, which begins and ends with these tests."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import simsearch
from simsearch.cluster import Cluster, connected
from simsearch.config import EncoderSettings
from simsearch.errors import CheckpointError, EncoderMismatchError, SettingsError
from simsearch.pipeline import engines
from simsearch.store import StoredIndex

ray = pytest.importorskip("ray")


@pytest.fixture(scope="module")
def running(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cluster of two processes that compute."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))  # where Ray leaves a token
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("PYTHONPATH", str(Path(__file__).parent))  # of what runs there
        ray.init("local", num_cpus=2, log_to_driver=False, logging_level="ERROR")
        yield
        ray.shutdown()


@pytest.fixture
def cluster(running: None) -> Iterator[Cluster]:
    with connected() as found:
        yield found


def slow_at_first(number: int) -> int:
    time.sleep(0.5 if number == 0 else 0)
    return number * number


def dies_once(marker: str) -> int:
    if not Path(marker).exists():
        Path(marker).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return os.getpid()


def refuses(number: int) -> int:
    if number == 3:
        raise CheckpointError("三")
    return number


class TestOrderedMap:
    def test_results_come_in_the_order_of_the_items(self, cluster: Cluster) -> None:
        results = cluster.ordered_map(slow_at_first, range(20), threads=1)
        assert list(results) == [number * number for number in range(20)]

    def test_no_more_items_are_taken_than_are_under_way(self, cluster: Cluster) -> None:
        taken = []

        def items() -> Iterator[int]:
            for number in range(100):
                taken.append(number)
                yield number

        results = cluster.ordered_map(slow_at_first, items(), threads=1)
        for got in range(5):
            next(results)
            assert len(taken) <= got + 2 * 2  # two for each of two processes

    def test_what_a_process_that_died_had_begun_is_done_by_another(
        self, cluster: Cluster, tmp_path: Path
    ) -> None:
        markers = [str(tmp_path / f"{number}") for number in range(3)]
        processes = list(cluster.ordered_map(dies_once, markers, threads=1))
        assert len(processes) == 3
        assert os.getpid() not in processes

    def test_an_error_is_raised_as_it_was(self, cluster: Cluster) -> None:
        results = cluster.ordered_map(refuses, range(9), threads=1)
        assert [next(results) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(CheckpointError, match="三"):
            next(results)

    def test_threads(self, cluster: Cluster) -> None:
        assert cluster.threads(None) == 2
        assert cluster.threads(1) == 1
        with pytest.raises(SettingsError, match=r"3 threads, and the largest .* has 2 CPUs"):
            cluster.threads(3)


def content(folder: Path) -> tuple[list[object], bytes]:
    with StoredIndex.open(folder) as stored:
        documents = [stored.document(number) for number in range(stored.count)]
        return documents, b"".join(vectors.tobytes() for vectors in stored.segments)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("语料") / "corpus.txt"
    path.write_text("".join(f"{i} {'a b ' * (i % 8)}\n" for i in range(9000)), "utf-8")
    return path


@pytest.fixture(scope="module")
def alone(corpus: Path, tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The index that this process builds alone."""
    folder = tmp_path_factory.mktemp("alone") / "index"
    simsearch.build(corpus, folder, encoder=settings(tiny_bert))
    return folder


def settings(model: Path) -> EncoderSettings:
    return EncoderSettings(model=str(model), max_length=12)


class TestBuild:
    def test_the_index_is_that_of_a_local_build(
        self, running: None, corpus: Path, tiny_bert: Path, alone: Path, tmp_path: Path
    ) -> None:
        seen: list[int] = []
        report = simsearch.build(
            corpus,
            tmp_path / "index",
            encoder=settings(tiny_bert),
            engine="ray",
            progress=lambda done, total: seen.append(done),
        )
        assert (report.documents, seen[-1], sorted(seen)) == (9000, 9000, seen)
        assert report.truncated > 0
        assert content(tmp_path / "index") == content(alone)

    def test_killed_it_goes_on_and_either_engine_may_end_it(
        self, running: None, corpus: Path, tiny_bert: Path, alone: Path, tmp_path: Path
    ) -> None:
        def kill(done: int, total: int | None) -> None:
            if done > 4000:
                raise KeyboardInterrupt

        index, encoder = tmp_path / "index", settings(tiny_bert)
        for engine in ("ray", "local"):
            with pytest.raises(KeyboardInterrupt):
                simsearch.build(corpus, index, encoder=encoder, engine=engine, progress=kill)
        report = simsearch.build(corpus, index, encoder=encoder, engine="ray")
        assert report.resumed >= 2048
        assert content(index) == content(alone)

    def test_what_cannot_be(self, corpus: Path, tiny_bert: Path, tmp_path: Path) -> None:
        index = tmp_path / "index"
        encoder = settings(tiny_bert)
        with pytest.raises(SettingsError, match=r"the engine is 'spark'; give one of local, ray"):
            simsearch.build(corpus, index, encoder=encoder, engine="spark")
        with pytest.raises(SettingsError, match="of use with engine 'ray' only"):
            simsearch.build(corpus, index, encoder=encoder, ray_address="127.0.0.1:1")
        loaded = simsearch.SentenceEncoder.load(tiny_bert)
        with pytest.raises(SettingsError, match="give EncoderSettings"):
            simsearch.build(corpus, index, encoder=loaded, engine="ray")
        assert not index.exists()


def test_a_machine_with_another_model_is_named(tiny_bert: Path, tiny_albert: Path) -> None:
    mine = simsearch.SentenceEncoder.load(tiny_bert)
    other = settings(tiny_albert).model_dump_json()
    with pytest.raises(EncoderMismatchError, match=r"a machine of the cluster, has another") as one:
        engines._encode_there(other, mine.identity, ["a"])
    assert "weights" in str(one.value)
    gone = settings(tiny_bert / "gone").model_dump_json()
    with pytest.raises(CheckpointError, match=f"on {platform.node()}, a machine of the cluster: "):
        engines._encode_there(gone, mine.identity, ["a"])


def test_without_a_cluster_nothing_is_begun(tmp_path: Path) -> None:
    """In a process of its own: this one may be connected to another."""
    (tmp_path / "a.txt").write_text("a\n")
    command = [sys.executable, "-m", "simsearch", "build", "a.txt", "--index", "i"]
    command += ["--engine", "ray", "--ray-address", "127.0.0.1:1"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.startswith("simsearch: cannot work on the Ray cluster at 127.0.0.1:1: ")
    assert not (tmp_path / "i").exists()
