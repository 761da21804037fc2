from __future__ import annotations

import gzip
import hashlib
import io
import os
import stat
import struct
import subprocess
import sys
import tarfile
import tempfile
import time
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from file_server import FileServer, Served
from hypothesis import example, given, settings
from hypothesis import strategies as st

from simsearch.errors import CheckpointError, SettingsError
from simsearch.sources import members as members_module
from simsearch.sources import web
from simsearch.sources.archive import archive_folder, is_archive
from simsearch.sources.unpack import unpack

FILES = {
    "chinese_L-12/bert_config.json": b'{"hidden_size": 12}',
    "chinese_L-12/bert_model.ckpt.data-00000-of-00001": os.urandom(300_000),
    "chinese_L-12/vocab.txt": "[PAD]\n中\n".encode(),
}


def zip_of(files: dict[str, bytes], method: int = zipfile.ZIP_STORED, **attributes: Any) -> bytes:
    """A zip of members with these names, whatever they are, and these attributes of ZipInfo."""
    return zip_of_pairs(list(files.items()), method, **attributes)


def zip_of_pairs(
    pairs: list[tuple[str, bytes]], method: int = zipfile.ZIP_STORED, **attributes: Any
) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w") as archive:
        warnings.simplefilter("ignore")  # "Duplicate name"
        for name, data in pairs:
            info = zipfile.ZipInfo("x")
            info.filename, info.external_attr = name, 0o644 << 16
            for attribute, value in attributes.items():
                setattr(info, attribute, value)
            archive.writestr(info, data, method)
    return buffer.getvalue()


def patched(archive: bytes, mark: bytes, offset: int, value: bytes) -> bytes:
    """The archive with ``value`` at ``offset`` from the last ``mark``."""
    start = archive.rindex(mark) + offset
    return archive[:start] + value + archive[start + len(value) :]


def tar_of(files: dict[str, bytes], **attributes: Any) -> bytes:
    return tar_of_pairs(list(files.items()), **attributes)


def tar_of_pairs(pairs: list[tuple[str, bytes]], **attributes: Any) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in pairs:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            for attribute, value in attributes.items():
                setattr(info, attribute, value)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def header_only(**attributes: Any) -> bytes:
    """The first block of a tar whose member is not there."""
    info = tarfile.TarInfo("x")
    for attribute, value in attributes.items():
        setattr(info, attribute, value)
    return info.tobuf(tarfile.GNU_FORMAT)


PACK: dict[str, Callable[[dict[str, bytes]], bytes]] = {
    ".zip": lambda files: zip_of(files, zipfile.ZIP_DEFLATED),
    ".tar": tar_of,
    ".tar.gz": lambda files: gzip.compress(tar_of(files)),
    ".tgz": lambda files: gzip.compress(tar_of(files)),
}
TWO = {"a.txt": b"1" * 100, "b.txt": b"2" * 100}
ZIP, TAR = zip_of(TWO), tar_of(TWO)
ZIPPED, TGZ = zip_of(TWO, zipfile.ZIP_DEFLATED), gzip.compress(TAR)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SIMSEARCH_CACHE", str(tmp_path / "缓存 cache"))
    monkeypatch.setattr(web, "BACK_OFF", 0)
    monkeypatch.setenv("NO_PROXY", "*")
    return tmp_path / "缓存 cache"


@pytest.fixture
def server() -> Iterator[FileServer]:
    with FileServer() as running:
        yield running


@pytest.fixture
def into(tmp_path: Path) -> Path:
    folder = tmp_path / "into"
    folder.mkdir()
    return folder


@pytest.fixture
def saved(tmp_path: Path) -> Callable[[bytes], Path]:
    def save(data: bytes, name: str = "模型 model.zip") -> Path:
        path = tmp_path / name
        path.write_bytes(data)
        return path

    return save


Save = Callable[..., Path]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("模型.zip", True),
        ("MODEL.TAR.GZ", True),
        ("a/b.tgz", True),
        ("b.tar", True),
        ("https://host/m.zip?download=1#sha256=00", True),
        ("https://host/m?file=a.zip", False),
        ("https://[/m.zip", True),
        ("model", False),
        ("model.tar.xz", False),
        ("model.gz", False),
        ("zip", False),
    ],
)
def test_an_archive_is_known_by_its_suffix(name: str, expected: bool) -> None:
    assert is_archive(name) is expected


# -- an archive becomes a folder


@pytest.mark.parametrize("suffix", PACK)
def test_the_folder_holds_what_was_packed(suffix: str, saved: Save, own_cache: Path) -> None:
    folder = archive_folder(str(saved(PACK[suffix](FILES), f"模型 1{suffix}")))
    assert folder.name == "chinese_L-12"
    assert folder.is_relative_to(own_cache / "archives" / "unpacked")
    assert contents(folder.parent) == FILES


@pytest.mark.parametrize("suffix", PACK)
def test_the_bytes_tell_the_format_not_the_name(suffix: str, saved: Save) -> None:
    folder = archive_folder(str(saved(PACK[suffix](FILES), "model.zip")))
    assert contents(folder.parent) == FILES


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["bert_config.json", "vocab.txt"], "."),
        (["a/b/c/config.json", "a/b/c/vocab.txt"], "a/b/c"),
        (["LICENSE", "README/en.md", "模型/bert_config.json"], "模型"),
        (["config.json", "1_Pooling/config.json"], "."),
        (["m/config.json", "m/1_Pooling/config.json", "__MACOSX/m/._config.json"], "m"),
        (["a/b/vocab.txt", "a/b/weights"], "a/b"),  # no checkpoint, which its reader will say
        (["a/vocab.txt", "b/vocab.txt"], "."),
    ],
)
def test_the_folder_is_the_one_of_the_checkpoint(
    names: list[str], expected: str, saved: Save, own_cache: Path
) -> None:
    archive = saved(zip_of(dict.fromkeys(names, b"{}")))
    sha256 = hashlib.sha256(archive.read_bytes()).hexdigest()
    files = own_cache / "archives" / "unpacked" / sha256 / "files"
    assert archive_folder(str(archive)) == files / expected


def test_two_checkpoints_in_one_archive_are_named(saved: Save) -> None:
    archive = saved(zip_of({"m/base/config.json": b"{}", "m/large/config.json": b"{}"}))
    with pytest.raises(CheckpointError, match=r"several checkpoints \(m/base, m/large\)"):
        archive_folder(str(archive))


def test_neither_permissions_nor_what_macos_adds_are_taken(saved: Save, into: Path) -> None:
    archive = zip_of(
        {"m/run.sh": b"#", "m/.DS_Store": b"x", "__MACOSX/m/._run.sh": b"x", "m/._run.sh": b"x"},
        external_attr=(stat.S_IFREG | 0o7777) << 16,
    )
    assert unpack(saved(archive), into) == {"m/run.sh": 1}
    assert contents(into) == {"m/run.sh": b"#"}
    assert (into / "m" / "run.sh").stat().st_mode & 0o7111 == 0


def test_empty_files_and_folders_are_unpacked(saved: Save, into: Path) -> None:
    tar = tar_of_pairs([("m", b"")], type=tarfile.DIRTYPE)[:512] + tar_of({"m/empty": b""})
    assert unpack(saved(tar), into) == {"m/empty": 0}
    (into / "m" / "empty").unlink()
    (into / "m").rmdir()
    assert unpack(saved(zip_of({"m/": b"", "n/": b"", "m/empty": b""})), into) == {"m/empty": 0}
    assert (into / "n").is_dir()


def test_a_tar_of_the_current_folder_is_unpacked(saved: Save, into: Path, tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "vocab.txt").write_bytes(b"[PAD]")
    with tarfile.open(tmp_path / "m.tgz", "w:gz") as archive:
        archive.add(tmp_path / "m", ".")
        assert archive.getnames() == [".", "./vocab.txt"]
    assert unpack(tmp_path / "m.tgz", into) == {"vocab.txt": 5}


@pytest.mark.parametrize(
    ("written", "flagged", "expected"),
    [
        ("词表.txt".encode(), True, "词表.txt"),
        ("词表.txt".encode(), False, "词表.txt"),  # macOS
        ("词表.txt".encode("gbk"), False, "词表.txt"),  # Windows in China
        ("誠.txt".encode("gbk"), False, "誠.txt"),  # of which the second byte may be a letter
        (b"caf\x82.txt", False, "café.txt"),  # MS-DOS: the zip format's own default, cp437
    ],
)
def test_chinese_names_are_read_as_they_were_written(
    written: bytes, flagged: bool, expected: str, saved: Save, into: Path
) -> None:
    archive = zip_of({"#" * len(written): b"x"}).replace(b"#" * len(written), written)
    if flagged:
        archive = patched(archive, b"PK\1\2", 8, struct.pack("<H", 0x800))
        archive = patched(archive, b"PK\3\4", 6, struct.pack("<H", 0x800))
    unpack(saved(archive), into)
    assert contents(into) == {expected: b"x"}


@pytest.mark.parametrize("encoding", ["utf-8", "gbk"])
@pytest.mark.parametrize("format_", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_chinese_names_in_a_tar(encoding: str, format_: int, saved: Save, into: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format_, encoding=encoding) as archive:
        archive.addfile(tarfile.TarInfo("模型/词表.txt"))
    assert unpack(saved(buffer.getvalue()), into) == {"模型/词表.txt": 0}


# -- hostile and damaged archives


SPARSE_PAX = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "9999999999"}
ONE_IN_TWO = patched(ZIP, b"PK\1\2", 42, bytes(4))  # the second is where the first is
HOSTILE: dict[str, tuple[bytes, str]] = {
    # names
    "zip: absolute": (zip_of({"/tmp/x": b""}), "'/tmp/x' is an absolute path"),
    "tar: absolute": (tar_of({"/tmp/x": b""}), "'/tmp/x' is an absolute path"),
    "zip: parent": (zip_of({"../x": b""}), r"'../x' leads out of its folder \(..\)"),
    "tar: parent": (tar_of({"../x": b""}), "leads out of its folder"),
    "tar: parent, late": (tar_of({"a": b"", "b/c/../../../x": b""}), "leads out of its folder"),
    "tar: ./..": (tar_of({"./../x": b""}), "leads out of its folder"),
    "zip: backslash": (zip_of({"..\\x": b""}), "has a backslash"),
    "zip: drive": (zip_of({"C:/x": b""}), "has the character ':'"),
    "zip: stream": (zip_of({"x:hidden": b""}), "has the character ':'"),
    "zip: UNC": (zip_of({"//host/x": b""}), "is an absolute path"),
    "zip: dot": (zip_of({"a/./x": b""}), "has the component '.'"),
    "zip: empty component": (zip_of({"a//x": b""}), "has an empty component"),
    "zip: only a slash": (zip_of({"/": b""}), "has an empty component|is an absolute path"),
    "zip: NUL": (zip_of({"x\0.txt": b""}), r"'x\\x00.txt' has a control character"),
    "zip: escape": (zip_of({"\x1b[2J": b""}), r"'\\x1b\[2J' has a control character"),
    "zip: CON": (zip_of({"m/CON": b""}), "'CON', which is a device on Windows"),
    "zip: lpt1.txt": (zip_of({"lpt1.txt": b""}), "'lpt1.txt', which is a device on Windows"),
    "zip: final dot": (zip_of({"m./x": b""}), "ends with a dot or a space"),
    "tar: final space": (tar_of({"m/x ": b""}), "ends with a dot or a space"),
    "zip: long part": (zip_of({"中" * 86: b""}), "has a component of more than 255 bytes"),
    "zip: long name": (zip_of({"/".join(["m" * 200] * 6): b""}), "name of more than 1024 bytes"),
    "tar: deep": (tar_of({"/".join("m" * 17): b""}), "lies deeper than 16 folders"),
    # the same name twice, for some file system
    "zip: twice": (zip_of_pairs([("x", b"1"), ("x", b"2")]), "'x' is there twice"),
    "tar: twice": (tar_of_pairs([("x", b"1"), ("x", b"2")]), "'x' is there twice"),
    "zip: case": (zip_of({"Straße": b"", "STRASSE": b""}), "differs from 'Stra.xdfe' only by case"),
    "zip: folder's case": (zip_of({"M/x": b"", "m/y": b""}), "differs from 'M' only by case"),
    "zip: accent": (
        zip_of({"\xe9": b"", "e\u0301": b""}),
        "differs from '.xe9' only by .* the form of an accent",
    ),
    "zip: file as folder": (zip_of({"m": b"", "m/x": b""}), "wants 'm' to be a file and a folder"),
    "tar: folder as file": (tar_of({"m/x": b"", "m": b""}), "wants 'm' to be a file and a folder"),
    # what is no file
    "zip: link": (zip_of({"x": b"/etc"}, external_attr=0o120777 << 16), "is a symbolic link"),
    "zip: pipe": (zip_of({"x": b""}, external_attr=0o010644 << 16), "a device, a pipe or a socket"),
    "zip: folder unsaid": (
        zip_of({"x": b""}, external_attr=0o040755 << 16),
        "folder and as a file",
    ),
    "zip: full folder": (zip_of({"x/": b"data"}), "is marked as a folder and as a file"),
    "tar: link": (tar_of({"x": b""}, type=tarfile.SYMTYPE, linkname="/"), "is a symbolic link"),
    "tar: hard link": (tar_of({"x": b""}, type=tarfile.LNKTYPE, linkname="y"), "is a hard link"),
    "tar: device": (tar_of({"x": b""}, type=tarfile.CHRTYPE), "is a device"),
    "tar: pipe": (tar_of({"x": b""}, type=tarfile.FIFOTYPE), "is a pipe"),
    "tar: unknown": (tar_of({"x": b""}, type=b"Z"), "is of the unknown kind b'Z'"),
    "tar: sparse": (header_only(type=tarfile.GNUTYPE_SPARSE) + TAR, "is a sparse file"),
    "tar: sparse, pax": (tar_of({"x": b"0\n"}, pax_headers=SPARSE_PAX), "is a sparse file"),
    # what cannot be read
    "zip: encrypted": (patched(zip_of({"x": b"1"}), b"PK\1\2", 8, b"\1\0"), "'x' is encrypted"),
    "zip: lzma": (zip_of({"x": b"1"}, zipfile.ZIP_LZMA), "method 14; expected 0"),
    "zip: deflate64": (
        patched(zip_of({"x": b"1"}), b"PK\1\2", 10, b"\t\0"),
        "method 9; expected 0",
    ),
    # bombs
    "zip: zeros": (zip_of({"x": bytes(2_000_000)}, zipfile.ZIP_DEFLATED), "more than 100 times"),
    "tar: zeros": (gzip.compress(tar_of({"x": bytes(2_000_000)})), "more than 100 times"),
    "zip: overlap": (ONE_IN_TWO, "shares its bytes with another"),
    "zip: said bytes": (
        patched(zip_of({"x": b"1"}), b"PK\1\2", 24, struct.pack("<I", 1 << 31)),
        "more than 100 times",
    ),
    "zip: table of contents": (
        zip_of(dict.fromkeys((f"{i:05}" + "m" * 60_000 for i in range(70)), b"")),
        r"a table of contents of \d{7} bytes",
    ),
    "tar: long pax": (
        header_only(type=tarfile.XHDTYPE, size=1 << 40),
        "header of more than 1048576",
    ),
    "tar: long name": (header_only(type=tarfile.GNUTYPE_LONGNAME, size=1 << 40), "header of more"),
    "tar: zeros after": (TAR + bytes(2_000_000), "header of more than 1048576|more than 100 times"),
    # damage
    "empty": (b"", "is empty; download or copy it again"),
    "web page": (b"\xef\xbb\xbf \n<!DOCTYPE html><html>404</html>", "is a web page and no archive"),
    "text": (b"not found", "is no archive that we can read; expected a zip, a tar or a tar.gz"),
    "rar": (b"Rar!\x1a\7\1\0" + bytes(600), "is no archive that we can read"),
    "gz of text": (gzip.compress(b"weights" * 500), "is damaged or cut short"),
    "zip: nothing in it": (zip_of({}), "holds no files"),
    "tar: nothing in it": (tar_of({}), "holds no files"),
    "zip: only folders": (zip_of({"m/": b""}), "holds no files"),
    "zip: only clutter": (zip_of({"__MACOSX/x": b""}), "holds no files"),
    "zip: cut": (ZIP[:-30], "is damaged or cut short"),
    "zip: half": (ZIP[: len(ZIP) // 2], "is damaged or cut short"),
    "zip: checksum": (ZIP.replace(b"1" * 100, b"1" * 99 + b"3"), "is damaged or cut short .*CRC"),
    "zip: deflated": (patched(ZIPPED, b"PK\3\4", 35, b"\xff\xff"), "is damaged or cut short"),
    "zip: two names": (ZIP.replace(b"a.txt", b"c.txt", 1), "is damaged or cut short .*differ"),
    "zip: said too much": (patched(ZIP, b"PK\1\2", 24, b"\xff\0\0\0"), "is damaged or cut short"),
    "zip: said too little": (
        patched(ZIPPED, b"PK\1\2", 24, b"\1\0\0\0"),
        "is damaged or cut short",
    ),
    "tar: cut in a file": (TAR[: 512 + 50], "is damaged or cut short"),
    "tar: cut after a file": (TAR[:1024], "is damaged or cut short"),
    "tar: cut in a header": (TAR[: 1024 + 50], "is damaged or cut short"),
    "tar: bad second header": (
        patched(TAR, b"b.txt", 0, b"c"),
        "is damaged or cut short .*bad checksum",
    ),
    "tar: a second tar": (TAR[:2048] + bytes(1024) + TAR, "something follows the mark of its end"),
    "tgz: cut": (TGZ[:-1], "is damaged or cut short"),
    "tgz: half": (TGZ[: len(TGZ) // 2], "is damaged or cut short"),
    "tgz: checksum": (TGZ[:-8] + bytes(4) + TGZ[-4:], "is damaged or cut short .*CRC"),
    "tgz: more after it": (TGZ + b"more", "is damaged or cut short"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_bad_archive_is_refused_and_leaves_nothing(
    case: str, saved: Save, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(members_module, "FREE_OF_RATIO", 1_000_000)
    data, message = HOSTILE[case]
    archive = saved(data)
    with pytest.raises(CheckpointError, match=message) as caught:
        archive_folder(str(archive))
    assert str(caught.value).startswith(f"{archive}: ")
    assert "\x1b" not in str(caught.value)
    assert sorted(path.name for path in archive.parent.iterdir()) == [archive.name, own_cache.name]
    assert not list((own_cache / "archives" / "unpacked").iterdir())


def test_the_hostile_archives_are_bad_in_one_way_only(saved: Save, into: Path) -> None:
    for good in (ZIP, ZIPPED, TAR, TGZ):
        unpack(saved(good), into)
        assert contents(into) == TWO
        for name in TWO:
            (into / name).unlink()


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tgz"])
def test_what_an_archive_may_hold_is_bounded(
    suffix: str, saved: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = saved(PACK[suffix](TWO))
    monkeypatch.setattr(members_module, "MOST_MEMBERS", 1)
    with pytest.raises(CheckpointError, match="has more than 1 members; expected one checkpoint"):
        unpack(archive, tmp_path / "a")
    monkeypatch.setattr(members_module, "MOST_MEMBERS", 2)
    monkeypatch.setattr(members_module, "MOST_BYTES", 199)
    with pytest.raises(CheckpointError, match="unpacks to more than the 199 bytes that we take"):
        unpack(archive, tmp_path / "b")


def test_a_name_that_this_file_system_does_not_take_is_told(
    saved: Save, tmp_path: Path, into: Path
) -> None:
    (into / "a.txt").write_bytes(b"in the way, as on a file system that folds names we don't")
    with pytest.raises(CheckpointError, match=r"'a.txt' has a name that cannot be used here"):
        unpack(saved(ZIP), into)


PART = st.one_of(
    st.sampled_from(
        ["", ".", "..", "...", "~", "a", "A", "é", "e\u0301", "文件", "con", "NUL.txt"]
    ),
    st.sampled_from(["a\\b", "..\\a", "C:", "c:a", "a ", "a.", "\0", "a\n", "._a", "__MACOSX"]),
    st.text(st.characters(codec="utf-8"), max_size=5),
    st.just("长" * 90),
)
NAMES = st.lists(st.lists(PART, min_size=1, max_size=4).map("/".join), min_size=1, max_size=4)


@settings(max_examples=150)
@given(NAMES, st.sampled_from(["zip", "tar", "tgz"]))
@example(["a", "b/../../x"], "tar")
@example(["文件/é", "文件/A"], "zip")
@example(["文件/"], "tar")
def test_nothing_is_ever_written_outside_or_under_another_name(names: list[str], kind: str) -> None:
    pairs = [(name, f"{number}".encode()) for number, name in enumerate(names)]
    packed = zip_of_pairs(pairs) if kind == "zip" else tar_of_pairs(pairs)
    with tempfile.TemporaryDirectory() as made:
        outer = Path(made)
        folder, archive = outer / "above" / "folder", outer / "archive"
        folder.mkdir(parents=True)
        archive.write_bytes(gzip.compress(packed) if kind == "tgz" else packed)
        try:
            sizes = unpack(archive, folder)
        except CheckpointError:
            sizes = {}
        else:
            written = {
                # of long and of Chinese names, tarfile drops a slash at the end
                name if kind == "zip" else name.removeprefix("./").rstrip("/"): data
                for name, data in pairs
                if not any(part.startswith("._") for part in name.split("/"))
                and name.split("/")[0] != "__MACOSX"
            }
            assert contents(folder) == written
            assert sizes.keys() == written.keys()
        assert sorted(path.name for path in outer.iterdir()) == ["above", "archive"]
        assert [path.name for path in (outer / "above").iterdir()] == ["folder"]
        assert not any(path.is_symlink() for path in folder.rglob("*"))


@settings(max_examples=300)
@given(
    st.sampled_from([ZIP, ZIPPED, TAR, TGZ]),
    st.lists(st.tuples(st.integers(0, 5000), st.binary(min_size=1, max_size=4)), max_size=3),
    st.integers(0, 5000),
)
def test_a_damaged_archive_is_told_or_does_no_harm(
    archive: bytes, changes: list[tuple[int, bytes]], cut: int
) -> None:
    data = bytearray(archive)
    for place, change in changes:
        start = place % len(data)
        data[start : start + len(change)] = change
    with tempfile.TemporaryDirectory() as made:
        path, folder = Path(made) / "archive", Path(made) / "folder"
        folder.mkdir()
        path.write_bytes(data[: len(data) - cut % len(data)] if cut < 2500 else data)
        try:
            sizes = unpack(path, folder)
        except CheckpointError:
            pass
        else:
            assert {name: len(data) for name, data in contents(folder).items()} == sizes
        assert sorted(path.name for path in Path(made).iterdir()) == ["archive", "folder"]


# -- remembered


def test_an_address_is_asked_once(server: FileServer, own_cache: Path) -> None:
    url = server.serve("/m.zip", Served(PACK[".zip"](FILES)))
    folder = archive_folder(url)
    assert contents(folder.parent) == FILES
    assert archive_folder(url) == archive_folder(url, offline=True) == folder
    assert len(server.requests) == 1
    assert not list((own_cache / "archives" / "downloads").iterdir())


def test_an_archive_on_the_web_and_its_copy_here_are_unpacked_once(
    server: FileServer, saved: Save
) -> None:
    data = PACK[".tgz"](FILES)
    folder = archive_folder(str(saved(data)))
    before = (folder / "vocab.txt").stat().st_ino
    assert archive_folder(server.serve("/m.tgz", Served(data))) == folder
    assert (folder / "vocab.txt").stat().st_ino == before


def test_a_file_is_hashed_again_only_after_a_change(saved: Save, own_cache: Path) -> None:
    archive = saved(PACK[".zip"](FILES))
    first = archive_folder(str(archive))
    memos = list((own_cache / "archives" / "paths").iterdir())
    assert archive_folder(str(archive)) == first
    assert list((own_cache / "archives" / "paths").iterdir()) == memos
    saved(PACK[".zip"]({"n/config.json": b"{}"}))
    second = archive_folder(str(archive))
    assert second != first
    assert contents(second) == {"config.json": b"{}"}


@pytest.mark.parametrize("gone", ["unpacked", "urls", "locks", "downloads", "", "vocab", "listing"])
@pytest.mark.parametrize("from_web", [True, False])
def test_what_was_deleted_from_the_cache_is_made_again(
    server: FileServer, saved: Save, own_cache: Path, gone: str, from_web: bool
) -> None:
    data = PACK[".zip"](FILES)
    name = server.serve("/m.zip", Served(data)) if from_web else str(saved(data))
    folder = archive_folder(name)
    for path in {
        "vocab": [folder / "vocab.txt"],
        "listing": [folder.parent.with_suffix(".json")],
    }.get(gone, sorted((own_cache / "archives" / gone).rglob("*"), reverse=True)):
        path.rmdir() if path.is_dir() else path.unlink()
    assert archive_folder(name) == folder
    assert contents(folder.parent) == FILES


def test_a_damaged_archive_is_downloaded_anew(server: FileServer, own_cache: Path) -> None:
    page, good = Served(b"<html>busy</html>"), Served(PACK[".zip"](FILES), etag='"2"')
    url = server.serve("/m.zip", page, good)
    with pytest.raises(CheckpointError, match=r"^http://127.0.0.1:\d+/m.zip: is a web page"):
        archive_folder(url)
    assert not list((own_cache / "archives" / "downloads").iterdir())
    assert contents(archive_folder(url).parent) == FILES


def test_an_archive_whose_unpacking_was_interrupted_is_not_downloaded_again(
    server: FileServer, own_cache: Path
) -> None:
    data = PACK[".zip"](FILES)
    url = server.serve("/m.zip", Served(data))
    downloads = own_cache / "archives" / "downloads"
    downloads.mkdir(parents=True)
    (downloads / web.url_key(url)).write_bytes(data)
    assert contents(archive_folder(url).parent) == FILES
    assert server.requests == []


def test_offline_an_address_is_not_asked(server: FileServer, saved: Save) -> None:
    data = PACK[".zip"](FILES)
    url = server.serve("/m.zip", Served(data))
    with pytest.raises(
        CheckpointError,
        match=r"is not in the cache .* fetch it with `simsearch models --fetch http",
    ):
        archive_folder(url, offline=True)
    folder = archive_folder(str(saved(data)), offline=True)
    sha256 = hashlib.sha256(data).hexdigest()
    assert archive_folder(f"{url}#sha256={sha256}", offline=True) == folder
    assert server.requests == []


def test_a_hash_decides_over_what_is_remembered(server: FileServer) -> None:
    old, new = (PACK[".zip"]({"config.json": content}) for content in (b"{}", b"{ }"))
    url = server.serve("/m.zip", Served(old), Served(new, etag='"2"'))
    first = archive_folder(url)
    pinned = f"{url}#sha256={hashlib.sha256(new).hexdigest().upper()}"
    second = archive_folder(pinned)
    assert (second / "config.json").read_bytes() == b"{ }"
    assert archive_folder(url) == second  # what the address led to most recently
    assert archive_folder(url, sha256=hashlib.sha256(old).hexdigest()) == first
    assert len(server.requests) == 2


def test_another_hash_is_refused(server: FileServer, saved: Save, own_cache: Path) -> None:
    data, wanted = PACK[".zip"](FILES), "0" * 64
    found = hashlib.sha256(data).hexdigest()
    for name in (server.serve("/m.zip", Served(data)), str(saved(data))):
        with pytest.raises(CheckpointError, match=f"{found}, expected {wanted}"):
            archive_folder(name, sha256=wanted)
    assert not (own_cache / "archives" / "unpacked").exists()
    with pytest.raises(CheckpointError, match="two different hashes were given"):
        archive_folder(f"https://host/m.zip#sha256={found}", sha256=wanted)


@pytest.mark.parametrize("fragment", ["sha256=12", "md5=00", "s3cret@host/m.zip", "sha256="])
def test_a_hash_that_is_none_is_not_overlooked(fragment: str) -> None:
    with pytest.raises(CheckpointError, match="expected 64 hexadecimal digits") as caught:
        archive_folder(f"https://host/m.zip#{fragment}")
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("没有.zip", "没有.zip: there is no such file"),
        ("ftp://host/m.zip", "expected http:// or https://"),
        (".", "there is no such file"),
    ],
)
def test_what_is_no_archive_is_told(name: str, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        archive_folder(name)


def test_a_cache_that_cannot_be_written_is_told(
    server: FileServer, saved: Save, own_cache: Path
) -> None:
    own_cache.write_bytes(b"in the way")
    data = PACK[".zip"](FILES)
    for name in (server.serve("/m.zip", Served(data)), str(saved(data))):
        with pytest.raises(SettingsError, match="set SIMSEARCH_CACHE"):
            archive_folder(name)


# -- several processes

ASK = (
    "import sys\nfrom simsearch.sources.archive import archive_folder\n"
    "print('ready', flush=True)\nprint(archive_folder(sys.argv[1]))"
)


def asking(url: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", ASK, url],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent), "PYTHONUTF8": "1"},
        stdout=subprocess.PIPE,
        encoding="utf-8",
    )


def test_processes_that_ask_at_once_share_one_download_and_one_unpacking(
    server: FileServer,
) -> None:
    url = server.serve("/m.zip", Served(PACK[".zip"](FILES), stall_after=1000))
    asked = [asking(url) for _ in range(4)]
    for process in asked:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    server.go_on.set()
    answers = {process.communicate(timeout=60)[0] for process in asked}
    assert [process.returncode for process in asked] == [0] * 4
    assert answers == {f"{archive_folder(url)}\n"}
    assert len(server.requests) == 1


def test_what_a_killed_process_had_downloaded_is_gone_on_with(
    server: FileServer, own_cache: Path
) -> None:
    data = PACK[".zip"](FILES)
    url = server.serve("/m.zip", Served(data, stall_after=131_072), Served(data))
    process = asking(url)
    part = own_cache / "archives" / "downloads" / f"{web.url_key(url)}.part"
    while process.poll() is None and not (part.is_file() and part.stat().st_size == 131_072):
        time.sleep(0.01)
    process.kill()
    process.communicate()
    assert contents(archive_folder(url).parent) == FILES
    assert server.ranges() == [None, "bytes=131072-"]
