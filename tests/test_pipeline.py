from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import simsearch
from simsearch import EncoderSettings, SentenceEncoder
from simsearch.config import CorpusSettings, IndexSettings
from simsearch.corpus import content_id
from simsearch.encoder import Prompt, Vectors
from simsearch.errors import (
    CheckpointError,
    CorpusError,
    EncoderMismatchError,
    SettingsError,
    StoreError,
    TaskError,
    UnfinishedIndexError,
)
from simsearch.pipeline import default_index, encode_file, fit_whitening
from simsearch.store import IndexWriter, StoredIndex

ROLE, SWAPPED = "张三请李四吃饭。", "李四请张三吃饭。"
TEXTS = [
    ROLE,
    "the dog bit the man .",
    "a b c",
    SWAPPED,
    "the man bit the dog .",
    "f e d c b a",
    "a",
    "dog , dog , dog !",
    "吃饭",
    "the man",
]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "语料 库.txt"
    path.write_text("".join(f"{text}\n" for text in TEXTS), "utf-8")
    return path


@pytest.fixture
def tiny(tiny_bert: Path) -> SentenceEncoder:
    return SentenceEncoder.load(tiny_bert, precision="float32")


def vectors_in(index: Path) -> Vectors:
    with StoredIndex.open(index) as stored:
        return np.concatenate(stored.segments)


def everything_in(folder: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


# The public names


def test_every_public_name_is_there() -> None:
    for name in simsearch.__all__:
        assert getattr(simsearch, name).__name__ == name
    assert sorted(simsearch.__all__) == simsearch.__all__
    assert {*simsearch.__all__, "__version__"} <= set(dir(simsearch))
    with pytest.raises(AttributeError, match="no attribute 'bild'"):
        _ = simsearch.bild


@pytest.mark.parametrize(
    ("pooling", "expected", "within"),
    [("static_mean", 1, 1e-6), ("mean", 0.9945, 5e-4), ("cls", 0.9968, 5e-4)],
)
def test_how_alike_swapped_roles_are(pooling: str, expected: float, within: float) -> None:
    encoder = SentenceEncoder.load(pooling=pooling, precision="float32")
    first, second = encoder.encode([ROLE, SWAPPED])
    assert float(first @ second) == pytest.approx(expected, abs=within)


# An index


def test_hits_are_those_of_brute_force(corpus: Path, tiny: SentenceEncoder, tmp_path: Path) -> None:
    report = simsearch.build(corpus, tmp_path / "索 引", encoder=tiny)
    assert (report.documents, report.changed, report.resumed) == (10, True, 0)
    matrix = tiny.encode(TEXTS).astype(np.float64)
    with simsearch.open_index(tmp_path / "索 引", overrides={"precision": "float32"}) as searcher:
        ids = {hit.text: hit.id for hit in searcher.query("a", k=10)}
        assert set(ids) == set(TEXTS)
        for query in [*TEXTS, "dog man", "四三李张", "e"]:
            scores = np.clip((matrix * tiny.encode([query], prompt="query")[0]).sum(axis=1), -1, 1)
            best = sorted(range(10), key=lambda i: (-scores[i], ids[TEXTS[i]]))[:4]
            hits = searcher.query(query, k=4)
            assert [hit.text for hit in hits] == [TEXTS[i] for i in best]
            assert [hit.score for hit in hits] == pytest.approx(scores[best], abs=1e-9)
            assert [hit.rank for hit in hits] == [1, 2, 3, 4]


def test_an_index_remembers_its_encoder(corpus: Path, tiny_bert: Path, tmp_path: Path) -> None:
    settings = EncoderSettings(
        model=str(tiny_bert), pooling="max", layers=[1, -1], precision="float32"
    )
    simsearch.build(corpus, tmp_path / "i", encoder=settings)
    same = SentenceEncoder.load(tiny_bert, pooling="max", layers=[1, 3])
    with StoredIndex.open(tmp_path / "i") as stored:
        assert stored.fingerprint == same.fingerprint
    with simsearch.open_index(tmp_path / "i") as searcher:
        assert searcher.query(ROLE, k=1)[0].text == ROLE
        assert searcher.info()["model"] == str(tiny_bert.resolve())


def test_a_checkpoint_given_by_a_relative_path_is_found_from_anywhere(
    corpus: Path, tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tiny_bert.parent)
    simsearch.build(corpus, tmp_path / "i", encoder=EncoderSettings(model=tiny_bert.name))
    monkeypatch.chdir(tmp_path)
    with simsearch.open_index("i") as searcher:
        assert searcher.query(ROLE, k=1)[0].text == ROLE


@pytest.mark.parametrize(
    ("other", "field"),
    [
        ({"pooling": "cls"}, 'pooling: index "mean", given "cls"'),
        ({"layers": [0]}, "layers: index [3], given [0]"),
        ({"model": "zhen-small"}, "dim: index 12, given 384"),
    ],
)
def test_another_encoder_is_refused_by_name_of_the_field(
    corpus: Path, tiny: SentenceEncoder, tmp_path: Path, other: dict[str, Any], field: str
) -> None:
    simsearch.build(corpus, tmp_path / "i", encoder=tiny)
    with pytest.raises(EncoderMismatchError) as raised:
        simsearch.open_index(tmp_path / "i", overrides=other)
    assert field in str(raised.value)
    assert "max_length" not in str(raised.value) or "model" in other  # only what differs
    options = {"name_or_path": str(tiny.checkpoint.folder), "layers": None, **other}
    options["name_or_path"] = options.pop("model", options["name_or_path"])
    if other.get("model"):
        options["layers"] = [3]
    with pytest.raises(EncoderMismatchError) as raised:
        simsearch.open_index(tmp_path / "i", encoder=SentenceEncoder.load(**options))
    assert field in str(raised.value)


def test_an_unknown_override_is_refused(
    corpus: Path, tiny: SentenceEncoder, tmp_path: Path
) -> None:
    simsearch.build(corpus, tmp_path / "i", encoder=tiny)
    with pytest.raises(SettingsError, match="unknown setting 'modle'; did you mean 'model'"):
        simsearch.open_index(tmp_path / "i", overrides={"modle": "x"})


def test_a_checkpoint_that_moved_is_named_and_can_be_given_anew(
    corpus: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    old, new = tmp_path / "旧 old", tmp_path / "新 new"
    shutil.copytree(tiny_bert, old)
    simsearch.build(corpus, tmp_path / "i", encoder=EncoderSettings(model=str(old)))
    old.rename(new)
    with pytest.raises(CheckpointError) as raised:
        simsearch.open_index(tmp_path / "i")
    assert f"no checkpoint '{old}'" in str(raised.value)
    with simsearch.open_index(tmp_path / "i", overrides={"model": str(new)}) as searcher:
        assert searcher.query(ROLE, k=1)[0].text == ROLE


def test_a_whitened_index_reopens_and_gives_brute_forces_hits(
    corpus: Path, tiny: SentenceEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    fit_whitening(tiny, [corpus], CorpusSettings()).save("白化.npz")
    settings = EncoderSettings(
        model=str(tiny.checkpoint.folder), whitening="白化.npz", dim=4, precision="float32"
    )
    simsearch.build(corpus, "i", encoder=settings)
    monkeypatch.chdir("/")  # the whitening was given by a relative path
    whitened = SentenceEncoder.load(
        tiny.checkpoint.folder, whitening=tmp_path / "白化.npz", dim=4, precision="float32"
    )
    scores = whitened.encode(TEXTS).astype(np.float64) @ whitened.encode(["dog man"])[0]
    with simsearch.open_index(tmp_path / "i", overrides={"precision": "float32"}) as searcher:
        hits = searcher.query("dog man", k=3)
        assert searcher.info()["dim"] == 4
    assert [hit.text for hit in hits] == [TEXTS[i] for i in np.argsort(-scores)[:3]]
    assert [hit.score for hit in hits] == pytest.approx(sorted(-scores)[:3] * np.array(-1.0))


def test_a_whitening_that_moved_can_be_given_anew(
    corpus: Path, tiny: SentenceEncoder, tmp_path: Path
) -> None:
    old, new = tmp_path / "old.npz", tmp_path / "new.npz"
    fit_whitening(tiny, [corpus], CorpusSettings()).save(old)
    model = str(tiny.checkpoint.folder)
    simsearch.build(
        corpus, tmp_path / "i", encoder=EncoderSettings(model=model, whitening=str(old), dim=4)
    )
    old.rename(new)
    with pytest.raises(SettingsError, match=r"old\.npz: no such whitening file"):
        simsearch.open_index(tmp_path / "i")
    with simsearch.open_index(tmp_path / "i", overrides={"whitening": str(new)}) as searcher:
        assert searcher.query(ROLE, k=1)[0].text == ROLE


def test_an_index_whose_whitening_has_no_file_is_refused(
    corpus: Path, tiny: SentenceEncoder, tmp_path: Path
) -> None:
    whitening = fit_whitening(tiny, [corpus], CorpusSettings())
    encoder = SentenceEncoder.load(tiny.checkpoint.folder, whitening=whitening)
    with pytest.raises(SettingsError, match="whitening is in no file"):
        simsearch.build(corpus, tmp_path / "i", encoder=encoder)
    assert not (tmp_path / "i").exists()


# Building again, and going on


class Stop(KeyboardInterrupt):
    """Somebody pressed Ctrl-C."""


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards of four documents instead of 16,384."""
    monkeypatch.setattr(IndexWriter.pending_shards, "__defaults__", (4,))


def interrupted(corpus: Path, index: Path, encoder: SentenceEncoder, after: int) -> None:
    """Build until more than ``after`` texts have vectors, and stop there."""

    def progress(done: int, total: int | None) -> None:
        assert total == 10
        if done > after:
            raise Stop

    with pytest.raises(Stop):
        simsearch.build(corpus, index, encoder=encoder, progress=progress)


@pytest.mark.parametrize(("after", "kept"), [(0, 0), (4, 4), (8, 8)])
def test_an_interrupted_build_resumes_and_ends_as_if_it_had_not_been(
    corpus: Path,
    tiny: SentenceEncoder,
    tmp_path: Path,
    small_shards: None,
    after: int,
    kept: int,
) -> None:
    simsearch.build(corpus, tmp_path / "whole", encoder=tiny)
    interrupted(corpus, tmp_path / "i", tiny, after)
    with pytest.raises(UnfinishedIndexError, match=f"{kept} of 10 documents encoded"):
        simsearch.open_index(tmp_path / "i")

    counted: list[tuple[int, int | None]] = []
    report = simsearch.build(
        corpus, tmp_path / "i", encoder=tiny, progress=lambda *done: counted.append(done)
    )
    assert (report.documents, report.resumed, report.changed) == (10, kept, True)
    assert counted[-1] == (10, 10)
    assert counted[0][0] > kept
    assert vectors_in(tmp_path / "i").tobytes() == vectors_in(tmp_path / "whole").tobytes()
    assert len(list((tmp_path / "i").glob("vectors-*"))) == 3
    with (
        simsearch.open_index(tmp_path / "i", encoder=tiny) as resumed,
        simsearch.open_index(tmp_path / "whole", encoder=tiny) as whole,
    ):
        for query in (ROLE, "dog", "c b a"):
            assert resumed.query(query, k=10) == whole.query(query, k=10)


def test_an_interrupted_replacement_leaves_the_old_index_in_use(
    corpus: Path, tiny: SentenceEncoder, tmp_path: Path, small_shards: None
) -> None:
    other = tmp_path / "other.txt"
    other.write_text("a b\n")
    simsearch.build(other, tmp_path / "i", encoder=tiny)

    def stop(done: int, total: int | None) -> None:
        if done > 4:
            raise Stop

    with pytest.raises(Stop):
        simsearch.build(corpus, tmp_path / "i", encoder=tiny, replace=True, progress=stop)
    with simsearch.open_index(tmp_path / "i", encoder=tiny) as searcher:
        assert [hit.text for hit in searcher.query(ROLE)] == ["a b"]
    report = simsearch.build(corpus, tmp_path / "i", encoder=tiny, replace=True)
    assert (report.documents, report.resumed) == (10, 4)


def test_other_settings_stop_an_unfinished_build(
    corpus: Path, tiny: SentenceEncoder, tmp_path: Path, small_shards: None
) -> None:
    interrupted(corpus, tmp_path / "i", tiny, 4)
    before = everything_in(tmp_path / "i")
    cls = SentenceEncoder.load(tiny.checkpoint.folder, pooling="cls", precision="float32")
    with pytest.raises(StoreError, match=r"unfinished index.*\n  pooling: index \"mean\", given"):
        simsearch.build(corpus, tmp_path / "i", encoder=cls)
    assert everything_in(tmp_path / "i") == before
    report = simsearch.build(corpus, tmp_path / "i", encoder=cls, replace=True)
    assert (report.documents, report.resumed) == (10, 0)


def test_building_again_changes_nothing(
    corpus: Path, tiny: SentenceEncoder, tmp_path: Path
) -> None:
    first = simsearch.build(corpus, tmp_path / "i", encoder=tiny)
    before = everything_in(tmp_path / "i")
    again = simsearch.build([str(corpus)], str(tmp_path / "i"), encoder=tiny)
    assert (first.changed, again.changed) == (True, False)
    assert (again.documents, again.truncated) == (first.documents, first.truncated)
    assert everything_in(tmp_path / "i") == before


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ("a b\n\nc\n", "2: empty text"),
        ("", "no row that can be used"),
        ("a\n\ud800\n", "not UTF-8"),
    ],
)
def test_a_bad_corpus_leaves_no_folder(
    tiny: SentenceEncoder, tmp_path: Path, content: str, error: str
) -> None:
    path = tmp_path / "c.txt"
    path.write_bytes(content.encode("utf-8", "surrogatepass"))
    with pytest.raises(CorpusError, match=error):
        simsearch.build(path, tmp_path / "new" / "i", encoder=tiny)
    assert [p.name for p in tmp_path.iterdir()] == ["c.txt"]


def test_rows_that_were_skipped_are_counted_and_named(
    tiny: SentenceEncoder, tmp_path: Path
) -> None:
    path = tmp_path / "c.txt"
    path.write_text("a b\n\nc\n" + "a " * 15 + "\n")
    report = simsearch.build(path, tmp_path / "i", encoder=tiny, on_error="skip")
    assert (report.documents, report.skipped, report.truncated) == (3, 1, 1)
    assert report.problems == (f"{path}:2: empty text",)


def test_truncated_texts_are_those_of_this_index(
    corpus: Path, tiny: SentenceEncoder, tmp_path: Path
) -> None:
    tiny.encode(["a " * 15])
    assert tiny.truncated == 1
    assert simsearch.build(corpus, tmp_path / "i", encoder=tiny).truncated == 0


# Texts longer than the model takes, which is 16 tokens with [CLS] and [SEP]

LONG_TEXTS = [
    "the dog bit the man . " * 8 + ROLE,
    ROLE,
    "a b c " * 9,
    "the man bit the dog , " * 4 + "f e d",
    "dog " * 13 + "dog",  # just fits
]


@pytest.fixture
def long_corpus(tmp_path: Path) -> Path:
    path = tmp_path / "长 文.txt"
    path.write_text("".join(f"{text}\n" for text in LONG_TEXTS), "utf-8")
    return path


def test_texts_that_were_cut_are_named_with_their_tokens(
    long_corpus: Path, tiny: SentenceEncoder, tmp_path: Path
) -> None:
    report = simsearch.build(long_corpus, tmp_path / "i", encoder=tiny)
    assert (report.documents, report.chunks, report.max_length) == (5, 5, 16)
    # six words in each round, eight characters in ROLE, three letters in a round, and two more
    cut = {0: 6 * 8 + 8 + 2, 2: 3 * 9 + 2, 3: 6 * 4 + 3 + 2}
    ids = [content_id(text) for text in LONG_TEXTS]
    assert report.truncated == 3
    assert report.truncated_documents == tuple((ids[i], tokens) for i, tokens in cut.items())
    again = simsearch.build(long_corpus, tmp_path / "i", encoder=tiny)
    assert again == dataclasses.replace(report, changed=False)
    with simsearch.open_index(tmp_path / "i", encoder=tiny) as searcher:
        marked = {hit.id for hit in searcher.query("dog") if hit.truncated}
        assert searcher.info()["truncated"] == 3
    assert marked == {ids[i] for i in cut}


def test_only_shards_with_a_text_that_was_cut_are_counted_again(
    corpus: Path, tiny: SentenceEncoder, tmp_path: Path, small_shards: None
) -> None:
    with corpus.open("a", encoding="utf-8") as file:
        file.write("a " * 15 + "\n")  # the third line of the third shard
    counted: list[int] = []
    count = tiny.token_counts

    def noted(texts: Sequence[str], prompt: Prompt = "document") -> list[int]:
        counted.append(len(texts))
        return count(texts, prompt)

    tiny.token_counts = noted  # type: ignore[method-assign]
    report = simsearch.build(corpus, tmp_path / "i", encoder=tiny)
    assert (report.truncated, counted) == (1, [3])


@pytest.mark.parametrize("chunk", [(14, 0), (6, 2), [5, 4], 3, (1, 0)])
def test_hits_of_chunks_are_those_of_brute_force(
    long_corpus: Path, tiny: SentenceEncoder, tmp_path: Path, chunk: Any
) -> None:
    report = simsearch.build(long_corpus, tmp_path / "i", encoder=tiny, chunk=chunk)
    tokens, overlap = (chunk, 0) if isinstance(chunk, int) else chunk
    spans = tiny.spans(LONG_TEXTS, tokens, overlap)
    assert (report.documents, report.chunks) == (5, sum(map(len, spans)))
    assert (report.truncated, report.truncated_documents) == (0, ())
    with simsearch.open_index(tmp_path / "i", overrides={"precision": "float32"}) as searcher:
        assert searcher.info()["chunk"] == [tokens, overlap]
        for query in (ROLE, "dog", "c a b", "f e"):
            vector = tiny.encode([query], prompt="query")[0].astype(np.float64)
            best = {}
            for text, cut in zip(LONG_TEXTS, spans, strict=True):
                pieces = tiny.encode([text[start:stop] for start, stop in cut])
                best[text] = float(max(pieces @ vector))
            hits = searcher.query(query)
            assert {hit.text: hit.score for hit in hits} == pytest.approx(best, abs=1e-6)
            shown = tiny.encode([hit.text[slice(*hit.span)] for hit in hits if hit.span])
            assert shown @ vector == pytest.approx([hit.score for hit in hits], abs=1e-6)


def test_the_end_of_a_long_text_is_found(
    long_corpus: Path, tiny: SentenceEncoder, tmp_path: Path
) -> None:
    simsearch.build(long_corpus, tmp_path / "i", encoder=tiny, chunk=(8, 0))
    with simsearch.open_index(tmp_path / "i", encoder=tiny) as searcher:
        hits = searcher.query(ROLE, k=2)
    long, short = LONG_TEXTS[:2]
    assert {(hit.text, hit.span) for hit in hits} == {
        (long, (len(long) - len(ROLE), len(long))),
        (short, (0, len(ROLE))),
    }
    assert [hit.score for hit in hits] == pytest.approx([1, 1], abs=1e-6)


def test_an_interrupted_build_of_chunks_ends_as_if_it_had_not_been(
    long_corpus: Path, tiny: SentenceEncoder, tmp_path: Path, small_shards: None
) -> None:
    whole = simsearch.build(long_corpus, tmp_path / "whole", encoder=tiny, chunk=(6, 2))

    def stop(done: int, total: int | None) -> None:
        assert total == whole.chunks
        if done > 8:
            raise Stop

    with pytest.raises(Stop):
        simsearch.build(long_corpus, tmp_path / "i", encoder=tiny, chunk=(6, 2), progress=stop)
    with pytest.raises(UnfinishedIndexError, match=f"8 of {whole.chunks} chunks encoded"):
        simsearch.open_index(tmp_path / "i")
    with pytest.raises(StoreError, match="chunk: index 6 tokens with an overlap of 2, given none"):
        simsearch.build(long_corpus, tmp_path / "i", encoder=tiny)
    report = simsearch.build(long_corpus, tmp_path / "i", encoder=tiny, chunk=(6, 2))
    assert report == dataclasses.replace(whole, folder=tmp_path / "i", resumed=8)
    assert vectors_in(tmp_path / "i").tobytes() == vectors_in(tmp_path / "whole").tobytes()


@pytest.mark.parametrize(
    ("chunk", "message"),
    [
        (15, "chunk is 15 tokens, and the encoder takes 16, .*; give 14 at most"),
        ((100, 50), "chunk is 100 tokens.*; give 14 at most"),
        (0, "chunk is 0; expected 1 token or more"),
        ((10, 10), r"chunk is \(10, 10\); expected an overlap from 0 to 9, best no more than 5, h"),
        ((10, -1), "expected an overlap from 0 to 9"),
        ((10, 2, 1), r"chunk is \(10, 2, 1\); expected the tokens of a chunk and the overlap"),
        ("10,2", "chunk is '10,2'; expected the tokens"),
        ((10.0, 2), "expected the tokens"),
        (True, "chunk is True; expected the tokens"),
        ([], "expected the tokens"),
    ],
)
def test_chunks_that_cannot_be_are_refused(
    corpus: Path, tiny: SentenceEncoder, tmp_path: Path, chunk: Any, message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        simsearch.build(corpus, tmp_path / "i", encoder=tiny, chunk=chunk)
    assert not (tmp_path / "i").exists()


def test_the_prompt_takes_room_from_the_chunks(tiny_bert: Path, tmp_path: Path) -> None:
    folder = tmp_path / "prompted"
    shutil.copytree(tiny_bert, folder)
    (folder / "simsearch.json").write_text('{"prompts": {"document": "the dog , "}}')
    encoder = SentenceEncoder.load(folder, precision="float32")
    corpus = tmp_path / "c.txt"
    corpus.write_text("a b c " * 9 + "\n")
    with pytest.raises(SettingsError, match="give 11 at most"):
        simsearch.build(corpus, tmp_path / "i", encoder=encoder, chunk=12)
    assert simsearch.build(corpus, tmp_path / "i", encoder=encoder, chunk=11).truncated == 0


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("faq.csv", "faq"),
        ("faq.csv.gz", "faq"),
        ("数据 集/新闻 v1.2.jsonl", "新闻 v1.2"),
        ("a.b.tsv.gz", "a.b"),
    ],
)
def test_the_default_folder_is_the_stem_of_the_first_file(name: str, folder: str) -> None:
    assert default_index([Path(name), Path("other.txt")]) == Path("indexes") / folder


def test_no_corpus_at_all_is_refused() -> None:
    with pytest.raises(CorpusError):
        simsearch.build([])


def test_one_string_instead_of_a_list_is_refused(
    corpus: Path, tiny: SentenceEncoder, tmp_path: Path
) -> None:
    simsearch.build(corpus, tmp_path / "i", encoder=tiny)
    with (
        simsearch.open_index(tmp_path / "i", encoder=tiny) as searcher,
        pytest.raises(SettingsError),
    ):
        searcher.search("abc")


# The benchmark


def test_benchmark_runs_every_task_on_every_encoder(tiny_bert: Path, tmp_path: Path) -> None:
    pairs = tmp_path / "对 子.tsv"
    pairs.write_text(f"1\t{ROLE}\t{SWAPPED}\n0\ta b\tthe dog\n1\tthe dog\tdog the\n", "utf-8")
    tasks = simsearch.read_tasks(pairs=[pairs, str(pairs)])
    poolings = ("static_mean", "cls")
    encoders = [EncoderSettings(model=str(tiny_bert), pooling=pooling) for pooling in poolings]
    results = simsearch.benchmark(tasks, encoders)
    assert [(r.model, r.strategy.pooling, r.result.task) for r in results] == [
        (str(tiny_bert), pooling, str(pairs)) for pooling in poolings for _ in range(2)
    ]
    # the two pairs of the same words have cosine 1, the other has less
    assert results[0].result.metrics["auc"] == 1
    assert results[0].result.metrics["average_precision"] == 1


def test_without_a_file_the_task_is_the_built_in_suite() -> None:
    (task,) = simsearch.read_tasks()
    assert task.name == "word-order"


def test_a_task_file_is_read_before_anything_is_run(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=r"nix\.tsv: there is no such file"):
        simsearch.read_tasks(pairs=[tmp_path / "nix.tsv"])


# A file of sentences


def test_a_file_is_encoded_as_its_lines_are(
    tiny: SentenceEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("simsearch.sentence_encoder.SHARD", 3)
    lines = [ROLE, "", "a b", " \u2028 c", "", "the dog\x0b", "x"]
    source, out = tmp_path / "句 子.txt", tmp_path / "向 量.npy"
    source.write_bytes(("\ufeff" + "\n".join(lines[:3]) + "\r\n" + "\n".join(lines[3:])).encode())
    counted: list[tuple[int, int | None]] = []
    count = encode_file(tiny, source, out, lambda *done: counted.append(done))
    assert count == 7
    assert counted == [(3, 7), (6, 7), (7, 7)]
    rows = np.load(out)
    assert rows.dtype == np.float32
    np.testing.assert_array_equal(rows, tiny.encode(lines))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["句 子.txt", "向 量.npy"]


@pytest.mark.parametrize(("content", "rows"), [(b"", 0), (b"\n", 1), (b"\n\n", 2), (b"a", 1)])
def test_every_line_is_a_row_and_no_line_is_none(
    tiny: SentenceEncoder, tmp_path: Path, content: bytes, rows: int
) -> None:
    source, out = tmp_path / "in.txt", tmp_path / "out.npy"
    source.write_bytes(content)
    assert encode_file(tiny, source, out) == rows
    loaded = np.load(out)
    assert (loaded.shape, loaded.dtype) == ((rows, 12), np.dtype(np.float32))
    np.testing.assert_allclose(np.linalg.norm(loaded, axis=1), np.ones(rows), atol=1e-6)


def test_a_failed_encoding_leaves_what_was_there(
    tiny: SentenceEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("simsearch.sentence_encoder.SHARD", 2)
    source, out = tmp_path / "in.txt", tmp_path / "out.npy"
    source.write_bytes(b"a\nb\nc\n\xff\n")
    out.write_bytes(b"earlier")
    with pytest.raises(CorpusError, match=r"in\.txt:4: not UTF-8"):
        encode_file(tiny, source, out)
    source.write_text("a\nb\nc\n")

    def stop(done: int, total: int | None) -> None:
        raise Stop

    with pytest.raises(Stop):
        encode_file(tiny, source, out, stop)
    assert out.read_bytes() == b"earlier"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.txt", "out.npy"]
    assert encode_file(tiny, source, out) == 3
    assert np.load(out).shape == (3, 12)


# Whitening


def test_a_whitening_is_fitted_on_the_rows_of_a_corpus(
    corpus: Path, tiny: SentenceEncoder, tmp_path: Path
) -> None:
    counted: list[int] = []
    fitted = fit_whitening(tiny, [corpus], CorpusSettings(), lambda done, _: counted.append(done))
    expected = tiny.fit_whitening(TEXTS)
    assert (fitted.rows, fitted.hash, counted[-1]) == (10, expected.hash, 10)
    with corpus.open("ab") as file:
        file.write(b"\n\xff\n")
    with pytest.raises(CorpusError, match=r"语料 库\.txt:11: empty text\n.*--on-error skip"):
        fit_whitening(tiny, [corpus], CorpusSettings())
    skipped = fit_whitening(tiny, [corpus], CorpusSettings(on_error="skip"))
    assert skipped.hash == expected.hash


def test_an_index_is_tuned_on_queries_of_a_file(
    corpus: Path, tiny: SentenceEncoder, tmp_path: Path
) -> None:
    lines = [f"{n} 张三{n % 7}请李四{n % 5}吃饭" for n in range(100)]
    corpus.write_text("\n".join(lines), encoding="utf-8")
    simsearch.build(corpus, tmp_path / "i", encoder=tiny, search=IndexSettings(kind="ivf"))
    queries = tmp_path / "问题 1.csv"
    texts = [f"谁请李四 {n}" for n in range(40)]
    queries.write_text("q\n" + "\n".join(texts * 2), encoding="utf-8")
    asked: dict[str, Any] = {"tune_on": queries, "text_column": "q", "encoder": tiny}
    assert simsearch.optimize(tmp_path / "i", **asked)
    assert not simsearch.optimize(tmp_path / "i", **asked)
    with StoredIndex.open(tmp_path / "i") as stored:
        measured = stored.info()["measured"]
    assert (measured["tuned_on"], measured["queries"]) == ("queries", 20)  # half of the different
    queries.write_text("q\n" + "\n".join(texts[:31]), encoding="utf-8")
    with pytest.raises(CorpusError, match="31 different queries; give 32 or more"):
        simsearch.optimize(tmp_path / "i", **asked)
    queries.write_text("q\n \n", encoding="utf-8")
    with pytest.raises(CorpusError, match=r"问题 1\.csv:2: "):
        simsearch.optimize(tmp_path / "i", **asked)


def test_settings_that_no_index_can_meet_are_refused_before_anything_is_encoded(
    tiny: SentenceEncoder, tmp_path: Path
) -> None:
    (tmp_path / "c.txt").write_text("a\nb\n", "utf-8")
    with pytest.raises(SettingsError, match=r"index\.memory_budget is 1e-05 MiB"):
        simsearch.build(
            tmp_path / "c.txt",
            tmp_path / "i",
            encoder=tiny,
            search=IndexSettings(memory_budget=0.00001),
        )
    assert not (tmp_path / "i").exists()
