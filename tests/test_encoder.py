from __future__ import annotations

import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simsearch import sentence_encoder
from simsearch.encoder import fingerprint
from simsearch.errors import CheckpointError, SettingsError
from simsearch.sentence_encoder import SentenceEncoder
from simsearch.weights import weight_hashes

ROLE, SWAPPED = "张三请李四吃饭。", "李四请张三吃饭。"


@pytest.fixture(scope="module")
def mini() -> SentenceEncoder:
    return SentenceEncoder.load(precision="float32")


def cosine(encoder: SentenceEncoder, a: str, b: str) -> float:
    x, y = encoder.encode([a, b])
    return float(x @ y)


def test_swapped_roles_are_identical_under_static_mean() -> None:
    assert cosine(SentenceEncoder.load(pooling="static_mean"), ROLE, SWAPPED) == pytest.approx(
        1, abs=1e-6
    )


def test_swapped_roles_are_nearly_but_not_exactly_identical_under_mean_and_cls(mini) -> None:
    # the README states .994 for mean, and .631 for an unrelated sentence
    assert cosine(mini, ROLE, SWAPPED) == pytest.approx(0.9945, abs=5e-4)
    assert cosine(mini, ROLE, "今天天气很好。") == pytest.approx(0.631, abs=5e-4)
    assert 0.9 < cosine(SentenceEncoder.load(pooling="cls"), ROLE, SWAPPED) < 1 - 1e-4


def test_mean_sqrt_len_points_where_mean_points(mini) -> None:
    other = SentenceEncoder.load(pooling="mean_sqrt_len", precision="float32")
    np.testing.assert_allclose(other.encode([ROLE]), mini.encode([ROLE]), atol=1e-6)
    assert other.fingerprint != mini.fingerprint


texts = st.lists(st.text(st.sampled_from("今天天气很好 the dog。"), max_size=40), max_size=30)


@given(texts=texts)
def test_neither_batch_nor_padding_nor_order_changes_a_vector(mini, texts: list[str]) -> None:
    together = mini.encode(texts)
    assert together.shape == (len(texts), 384)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), np.ones(len(texts)), atol=1e-6)
    for text, row in zip(texts, together, strict=True):
        np.testing.assert_allclose(mini.encode([text])[0], row, atol=1e-6)


def test_a_stream_gives_the_rows_of_encode_shard_by_shard(mini, monkeypatch) -> None:
    monkeypatch.setattr(sentence_encoder, "SHARD", 4)
    texts = [f"第{i}句话" * (i % 3 + 1) for i in range(10)]
    shards = list(mini.encode_stream(iter(texts)))
    assert [len(shard) for shard in shards] == [4, 4, 2]
    np.testing.assert_array_equal(np.concatenate(shards), mini.encode(texts))


def test_progress_counts_every_text_once(mini) -> None:
    seen: list[int] = []
    mini.encode([f"{ROLE}{i % 600}" for i in range(700)], progress=seen.append)
    assert sum(seen) == 700
    assert len(seen) > 1


def test_both_runtimes_give_the_same_vectors(mini) -> None:
    texts = [ROLE, "", "The dog bit the man.", "很长的句子" * 30, "👍 mixed 文本"]
    other = SentenceEncoder.load(runtime="tensorflow")
    np.testing.assert_allclose(other.encode(texts), mini.encode(texts), atol=1e-5)
    assert other.fingerprint == mini.fingerprint


def test_bfloat16_stays_close_to_float32(mini) -> None:
    texts = [ROLE, "The dog bit the man.", "很长的句子" * 30]
    fast = SentenceEncoder.load(precision="auto")
    assert (fast.encode(texts) * mini.encode(texts)).sum(axis=1).min() >= 0.9995
    assert fast.fingerprint == mini.fingerprint


@pytest.mark.parametrize("runtime", ["openvino", "tensorflow"])
def test_threads_may_share_an_encoder(mini, runtime: str) -> None:
    encoder = SentenceEncoder.load(precision="float32", runtime=runtime)
    texts = [f"第{i}句话，长短不一" * (i % 4 + 1) for i in range(40)]
    with ThreadPoolExecutor(8) as pool:
        rows = list(pool.map(lambda text: encoder.encode([text])[0], texts))
    np.testing.assert_allclose(rows, mini.encode(texts), atol=1e-5)


def test_one_string_instead_of_a_list_is_refused(mini) -> None:
    with pytest.raises(SettingsError, match="texts is one string"):
        mini.encode(ROLE)


def test_truncated_texts_are_counted(tiny_bert: Path) -> None:
    encoder = SentenceEncoder.load(tiny_bert)  # 16 positions
    long = encoder.encode(["a " * 14, "a " * 15, "a " * 99])
    assert encoder.truncated == 2
    np.testing.assert_array_equal(long[0], long[1])


def test_whitening_and_dim_come_after_pooling(mini, tmp_path: Path) -> None:
    texts = [f"{a}在{b}{c}" for a in "张李王" for b in "家店里" for c in ("吃饭", "看书")]
    whitening = mini.fit_whitening(texts)
    whitening.save(tmp_path / "w.npz")
    encoder = SentenceEncoder.load(whitening=tmp_path / "w.npz", dim=4, precision="float32")
    raw = np.array([mini.token_vectors(text).vectors.mean(axis=0) for text in texts])
    expected = (raw - whitening.mean) @ whitening.kernel[:, :4]
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(encoder.encode(texts), expected, atol=1e-4)
    assert encoder.dim == 4
    assert encoder.fingerprint != mini.fingerprint
    with pytest.raises(SettingsError, match="fitted on the vectors of another encoder"):
        SentenceEncoder.load(pooling="cls", whitening=whitening)
    with pytest.raises(SettingsError, match="whitens already"):
        encoder.fit_whitening(texts)


def test_dim_without_whitening_is_refused() -> None:
    with pytest.raises(SettingsError, match="dim 16 needs a whitening"):
        SentenceEncoder.load(dim=16)


def test_a_saved_encoder_loads_as_the_same_encoder(tiny_bert: Path, tmp_path: Path) -> None:
    texts = ["the dog bit the man .", "张三请李四吃饭。", "a b c", "d e f", "! , ."]
    plain = SentenceEncoder.load(tiny_bert, pooling="first_last_mean", layers=[0, -1])
    whitening = plain.fit_whitening(texts)
    encoder = SentenceEncoder.load(
        tiny_bert, pooling="first_last_mean", layers=[0, -1], whitening=whitening, dim=3
    )
    encoder.save(tmp_path / "保存 的" / "encoder")
    loaded = SentenceEncoder.load(tmp_path / "保存 的" / "encoder")
    assert loaded.fingerprint == encoder.fingerprint
    named = SentenceEncoder.load(tmp_path / "保存 的" / "encoder", pooling="first_last_mean")
    assert named.fingerprint == encoder.fingerprint
    np.testing.assert_array_equal(loaded.encode(texts), encoder.encode(texts))
    assert loaded.fill_mask("a [MASK]") == encoder.fill_mask("a [MASK]")
    assert [p.name for p in (tmp_path / "保存 的").iterdir()] == ["encoder"]
    with pytest.raises(SettingsError, match="exists; give a new or empty folder"):
        encoder.save(tmp_path / "保存 的" / "encoder")


def test_prompts_are_put_before_the_text_they_belong_to(tiny_bert: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_bert, tmp_path / "prompted")
    prompts = {"query": "the dog ", "document": "a b "}
    (folder / "simsearch.json").write_text(json.dumps({"prompts": prompts}))
    prompted, plain = SentenceEncoder.load(folder), SentenceEncoder.load(tiny_bert)
    np.testing.assert_array_equal(
        prompted.encode(["bit", "man"], prompt="query"),
        plain.encode(["the dog bit", "the dog man"]),
    )
    np.testing.assert_array_equal(prompted.encode(["bit"]), plain.encode(["a b bit"]))
    assert prompted.fingerprint != plain.fingerprint


def test_the_fingerprint_is_the_hash_of_the_identity(mini) -> None:
    assert mini.fingerprint == fingerprint(mini.identity)
    # sha256sum of {"a":"\\u4e2d","b":1}
    assert fingerprint({"b": 1, "a": "中"}) == (
        "d79ea31202c17c4f666ae61c4dd4dea20998b9098176f7649665690f4d27217e"
    )


def test_a_copied_or_touched_checkpoint_is_known_again(
    tiny_bert: Path, tmp_path: Path, cache: Path
) -> None:
    known = weight_hashes(SentenceEncoder.load(tiny_bert).checkpoint)
    folder = shutil.copytree(tiny_bert, tmp_path / "copy")
    for file in folder.iterdir():
        os.utime(file, (1, 1))
    before = len(list((cache / "graphs").iterdir()))
    assert weight_hashes(SentenceEncoder.load(folder).checkpoint) == known
    assert len(list((cache / "graphs").iterdir())) == before


def test_changed_weights_are_noticed(tiny_bert: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_bert, tmp_path / "changed")
    before = SentenceEncoder.load(folder).fingerprint
    data = folder / "bert_model.ckpt.data-00000-of-00001"
    content = data.read_bytes()
    data.write_bytes(content[:500] + bytes([content[500] ^ 1]) + content[501:])
    with pytest.raises(CheckpointError, match="cut short or damaged"):
        SentenceEncoder.load(folder)
    data.write_bytes(content)
    assert SentenceEncoder.load(folder).fingerprint == before


def test_a_cache_that_cannot_be_written_says_how_to_move_it(
    tiny_bert: Path, tmp_path: Path, monkeypatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SIMSEARCH_CACHE", str(tmp_path / "file"))
    with pytest.raises(SettingsError, match="set SIMSEARCH_CACHE"):
        SentenceEncoder.load(tiny_bert)
