"""Full, read-only and damaged disks: one message that names the user's file, and nothing lost."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy_encoder import ToyEncoder

from simsearch import bert, cache
from simsearch.errors import CorpusError, SettingsError
from simsearch.evaluation.results import write_results
from simsearch.files import new_file, system_error
from simsearch.pipeline import encode_file
from simsearch.sentence_encoder import SentenceEncoder
from simsearch.sources.archive import archive_folder
from simsearch.whitening import Whitening

TEXTS = ["the dog bit the man .", "张三请李四吃饭。", "a b c", ""]

needs_limits = pytest.mark.skipif(sys.platform == "win32", reason="no resource limits")


@contextlib.contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """As on a disk that is full: a file cannot grow beyond ``size`` bytes."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "缓存 cache"
    monkeypatch.setenv("SIMSEARCH_CACHE", str(folder))
    return folder


class StreamingToy(ToyEncoder):
    """Shards of one text; looks at the folder of the result before each."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder, self.sizes = folder, list[int]()

    def encode_stream(self, texts: Iterator[str], progress: Any = None) -> Iterator[Any]:
        for text in texts:
            self.sizes += [path.stat().st_size for path in self.folder.iterdir()]
            yield self.encode([text])


# Encoding to a file


@pytest.mark.parametrize("count", [0, 1, 7])
def test_an_array_has_the_bytes_that_numpy_would_write(tmp_path: Path, count: int) -> None:
    texts = tmp_path / "文 本.txt"
    texts.write_text("".join(f"{'ab'[i % 2]}\n" for i in range(count)), "utf-8")
    (tmp_path / "out").mkdir()
    encoder: Any = StreamingToy(tmp_path / "out")
    assert encode_file(encoder, texts, tmp_path / "out" / "向 量.npy") == count
    np.save(tmp_path / "expected.npy", encoder.encode(["ab"[i % 2] for i in range(count)]))
    assert (tmp_path / "out" / "向 量.npy").read_bytes() == (tmp_path / "expected.npy").read_bytes()


def test_an_array_grows_as_it_is_encoded(tmp_path: Path) -> None:
    # a file of the final size from the start would have holes, and a full disk kills who fills them
    texts = tmp_path / "texts.txt"
    texts.write_text("a\n" * 2000)
    (tmp_path / "out").mkdir()
    encoder: Any = StreamingToy(tmp_path / "out")
    encode_file(encoder, texts, tmp_path / "out" / "x.npy")
    assert all(size <= 128 + 16 * done for done, size in enumerate(encoder.sizes))
    assert len(encoder.sizes) == 2000


@needs_limits
def test_a_full_disk_while_encoding_names_the_file_and_leaves_nothing(tmp_path: Path) -> None:
    texts = tmp_path / "texts.txt"
    texts.write_text("a\n" * 2000)
    (tmp_path / "out").mkdir()
    encoder: Any = StreamingToy(tmp_path / "out")
    out = tmp_path / "out" / "向 量.npy"
    with files_of_at_most(20_000), pytest.raises(SettingsError) as caught:
        encode_file(encoder, texts, out)
    expected = f"{out}: cannot be written (File too large); make room, or give a name elsewhere"
    assert str(caught.value) == expected
    assert list((tmp_path / "out").iterdir()) == []


def test_lines_that_come_while_encoding_are_refused(tmp_path: Path) -> None:
    texts = tmp_path / "texts.txt"
    texts.write_text("a\nb\n")

    class Growing(ToyEncoder):
        def encode_stream(self, lines: Iterator[str], progress: Any = None) -> Iterator[Any]:
            texts.write_text("a\nb\nc\n")
            yield self.encode(list(lines))

    encoder: Any = Growing()
    with pytest.raises(CorpusError, match="had 2 lines, then 3"):
        encode_file(encoder, texts, tmp_path / "x.npy")
    assert list(tmp_path.iterdir()) == [texts]


# Other files that the user names


def whitening() -> Whitening:
    return Whitening(np.zeros(50, np.float32), np.ones((50, 50), np.float32), "x", 3)


@needs_limits
@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("白 化.npz", lambda path: whitening().save(path)),
        ("results.jsonl", lambda path: write_results([Result()] * 100, path.parent)),
    ],
)
def test_a_full_disk_names_the_file(
    tmp_path: Path, name: str, write: Callable[[Path], object]
) -> None:
    (tmp_path / name).write_text("before")
    with files_of_at_most(1000), pytest.raises(SettingsError) as caught:
        write(tmp_path / name)
    assert str(caught.value).startswith(f"{tmp_path / name}: cannot be written (File too large)")
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "before"


class Result:
    def as_json(self) -> dict[str, str]:
        return {"task": "a task of some length"}


def test_a_folder_that_cannot_be_written_is_named_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anywhere
    with pytest.raises(SettingsError, match=r"the folder .* cannot be written"):
        whitening().save(tmp_path / "w.npz")


def test_a_read_only_disk_is_not_to_be_made_room_on(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with pytest.raises(SettingsError) as caught, new_file(path):
        raise OSError(errno.EROFS, "Read-only file system", str(tmp_path / ".x.51fa.tmp"))
    expected = f"{path}: cannot be written (Read-only file system); give a name elsewhere"
    assert str(caught.value) == expected


def test_the_systems_words_in_a_librarys_message_are_found() -> None:
    full = os.strerror(errno.ENOSPC)
    found = system_error(f"Error while serializing: I/O error: {full} (os error 28)")
    assert (found.errno, found.strerror) == (errno.ENOSPC, full)
    unknown = system_error("something else\nand more")
    assert (unknown.errno, str(unknown)) == (None, "something else")


@needs_limits
@pytest.mark.parametrize("method", ["save", "export"])
def test_a_full_disk_while_saving_names_the_folder(
    tiny_bert: Path, tmp_path: Path, method: str
) -> None:
    encoder = SentenceEncoder.load(tiny_bert)
    save = encoder.save if method == "save" else encoder.export_hf
    with files_of_at_most(1000), pytest.raises(SettingsError) as caught:
        save(tmp_path / "保存 的")
    assert str(caught.value) == (
        f"{tmp_path / '保存 的'}: cannot be written (File too large); make room, or give a name "
        "elsewhere"
    )
    assert list(tmp_path.iterdir()) == []


# The cache


@needs_limits
@pytest.mark.parametrize(
    ("engine", "reason"),
    [
        ("TensorFlow", "File too large"),
        ("OpenVINO", "OpenVINO could not write the graph"),
    ],
)
def test_a_full_disk_while_converting_says_how_to_move_the_cache(
    tiny_bert: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch, engine: str, reason: str
) -> None:
    with contextlib.ExitStack() as limits:
        limit = files_of_at_most(1000)
        if engine == "TensorFlow":
            limits.enter_context(limit)
        else:
            save = bert.save_encoder_graph

            def then_full(*arguments: Any) -> None:
                save(*arguments)
                limits.enter_context(limit)

            monkeypatch.setattr(bert, "save_encoder_graph", then_full)
        with pytest.raises(SettingsError) as caught:
            SentenceEncoder.load(tiny_bert)
    message = str(caught.value)
    assert message.startswith(str(own_cache / "graphs"))
    assert message.endswith(
        f": the cache cannot be written ({reason}); make room, or set SIMSEARCH_CACHE to a folder "
        "that can be written"
    )
    assert list((own_cache / "graphs").iterdir()) == []


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 4] = b"\xff\xff\xff\xff"  # a NaN
    path.write_bytes(content)


def garble(path: Path) -> None:
    """Other bytes of the same size and time."""
    stat = path.stat()
    path.write_bytes(b"<net>".ljust(stat.st_size))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def test_a_damaged_graph_is_converted_anew(
    tiny_bert: Path, own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = bert.save_encoder_graph

    def saved_once(checkpoint: Any, heads: Any, folder: Path) -> None:
        if not (tmp_path / "saved").exists():
            save(checkpoint, heads, tmp_path / "saved")
        shutil.copytree(tmp_path / "saved", folder)

    monkeypatch.setattr(bert, "save_encoder_graph", saved_once)
    expected = SentenceEncoder.load(tiny_bert, precision="float32").encode(TEXTS)
    (entry,) = (own_cache / "graphs").iterdir()
    damages: list[tuple[str, Callable[[Path], object]]] = [
        ("graph.bin", Path.unlink),
        ("graph.bin", flip),
        ("graph.xml", garble),
        ("graph.xml", lambda path: path.write_text(path.read_text("utf-8")[:1000], "utf-8")),
        ("files.json", Path.unlink),
        ("files.json", lambda path: path.write_text('{"graph.bin": 1}')),
    ]
    for name, damage in damages:
        damage(entry / name)
        shutil.rmtree(own_cache / "compiled")  # which does without the graph
        vectors = SentenceEncoder.load(tiny_bert, precision="float32").encode(TEXTS)
        np.testing.assert_array_equal(vectors, expected)
        assert [path.name for path in (own_cache / "graphs").iterdir()] == [entry.name]


def test_a_copied_cache_is_used_as_it_is(
    tiny_bert: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    SentenceEncoder.load(tiny_bert)
    copy = shutil.copytree(own_cache, own_cache.with_name("copy"))
    shutil.rmtree(copy / "compiled")  # which does without the graph
    monkeypatch.setenv("SIMSEARCH_CACHE", str(copy))
    (graph,) = copy.glob("graphs/*/graph.bin")
    os.utime(graph, ns=(1, 1))
    note = cache.read_json(graph.with_name("files.json"))
    inode = graph.stat().st_ino
    SentenceEncoder.load(tiny_bert)
    assert graph.stat().st_ino == inode  # not converted
    assert note is not None
    note["graph.bin"]["mtime_ns"] = 1
    assert cache.read_json(graph.with_name("files.json")) == note  # nor hashed the next time


def test_what_killed_conversions_left_is_removed_after_a_day(tmp_path: Path) -> None:
    yesterday = time.time() - 25 * 60 * 60
    for name in (".old.0.tmp", ".new.0.tmp", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "graph.bin").write_bytes(b"1")
        os.utime(tmp_path / name, (yesterday, yesterday))
    os.utime(tmp_path / ".new.0.tmp")
    cache.folder_made_by(tmp_path / "made", lambda folder: None)
    assert {path.name for path in tmp_path.iterdir()} == {".new.0.tmp", "other", "made"}


def test_a_graph_in_a_cache_where_nothing_can_be_noted_is_used(
    tiny_bert: Path, own_cache: Path
) -> None:
    expected = SentenceEncoder.load(tiny_bert).encode(TEXTS)
    shutil.rmtree(own_cache / "weights")
    (own_cache / "weights").write_text("not a folder")
    np.testing.assert_array_equal(SentenceEncoder.load(tiny_bert).encode(TEXTS), expected)


def test_an_archive_in_a_cache_where_nothing_can_be_noted_is_used(
    tmp_path: Path, own_cache: Path
) -> None:
    with zipfile.ZipFile(tmp_path / "模 型.zip", "w") as archive:
        archive.writestr("config.json", "{}")
    first = archive_folder(str(tmp_path / "模 型.zip"))
    shutil.rmtree(own_cache / "archives" / "paths")
    (own_cache / "archives" / "paths").write_text("not a folder")
    assert archive_folder(str(tmp_path / "模 型.zip")) == first


def test_the_advice_about_the_cache_fits_the_error(tmp_path: Path) -> None:
    for code, advice in (
        (errno.ENOSPC, "make room, or set SIMSEARCH_CACHE to a folder that can be written"),
        (errno.EROFS, "set SIMSEARCH_CACHE to a folder that can be written"),
    ):
        with pytest.raises(SettingsError) as caught, cache.writing(tmp_path):
            raise OSError(code, os.strerror(code))
        expected = f"{tmp_path}: the cache cannot be written ({os.strerror(code)}); {advice}"
        assert str(caught.value) == expected
