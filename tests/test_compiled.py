from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from simsearch.runtime.openvino import compiled
from simsearch.sentence_encoder import SentenceEncoder

TEXTS = ["a b c", "the dog bit the man .", "e", "d e a"]


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SIMSEARCH_CACHE", str(tmp_path / "缓存"))
    return tmp_path / "缓存"


def size_and_time(file: Path) -> dict[str, int]:
    return {"size": file.stat().st_size, "mtime_ns": file.stat().st_mtime_ns}


def encode(checkpoint: Path) -> np.ndarray:
    return SentenceEncoder.load(checkpoint, precision="float32").encode(TEXTS)


def test_a_compiled_encoder_is_found_again_without_its_graph(tiny_bert, empty_cache) -> None:
    expected = encode(tiny_bert)
    shutil.rmtree(empty_cache / "graphs")
    np.testing.assert_array_equal(encode(tiny_bert), expected)
    assert not (empty_cache / "graphs").exists()


@pytest.mark.parametrize("damage", ["shorter", "other bytes", "gone"])
def test_a_damaged_one_is_made_anew(tiny_bert, empty_cache, damage: str) -> None:
    expected = encode(tiny_bert)
    (file,) = (empty_cache / "compiled").glob("*/encoder.blob")
    content = file.read_bytes()
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(content[:-100] if damage == "shorter" else bytes(len(content)))
    np.testing.assert_array_equal(encode(tiny_bert), expected)
    assert len(file.read_bytes()) > 1000
    assert any(file.read_bytes())


def test_damage_that_only_openvino_sees_costs_a_compilation(tiny_bert, empty_cache) -> None:
    expected = encode(tiny_bert)
    (file,) = (empty_cache / "compiled").glob("*/encoder.blob")
    file.write_bytes(b"no graph" * 1000)
    note = file.with_name("files.json")
    facts = {**json.loads(note.read_text("utf-8"))["encoder.blob"], **size_and_time(file)}
    note.write_text(json.dumps({"encoder.blob": facts}), "utf-8")
    np.testing.assert_array_equal(encode(tiny_bert), expected)
    assert not file.exists()


def test_a_cache_that_cannot_be_written_costs_a_compilation(tiny_bert, empty_cache) -> None:
    expected = encode(tiny_bert)
    shutil.rmtree(empty_cache / "compiled")
    (empty_cache / "compiled").write_text("a file in its place")
    np.testing.assert_array_equal(encode(tiny_bert), expected)


def test_what_a_sweep_compiles_is_not_kept(tiny_bert, empty_cache) -> None:
    encoder = SentenceEncoder.load(tiny_bert, pooling="mean", layers=[0, 1, 2])
    assert encoder.encode(TEXTS).shape == (4, encoder.dim)
    assert not (empty_cache / "compiled").exists()


def test_a_text_alone_is_padded_to_few_lengths(tiny_bert, monkeypatch) -> None:
    encoder = SentenceEncoder.load(tiny_bert, precision="float32")
    texts = ["a", "a b", "a b c", "a " * 14, "a b c d e"]
    ((runtime, _),) = encoder.backbone._runtimes(encoder.pooling.heads)
    lengths: list[int] = []
    run = runtime._run
    monkeypatch.setattr(runtime, "_run", lambda ids: lengths.append(ids.shape[1]) or run(ids))
    monkeypatch.setattr(runtime, "_step", 6)
    padded = [encoder.encode([text])[0] for text in texts]
    monkeypatch.setattr(runtime, "_step", 1)
    plain = [encoder.encode([text])[0] for text in texts]
    assert lengths == [6, 6, 6, 16, 12, 3, 4, 5, 16, 7]  # 16 positions
    np.testing.assert_allclose(padded, plain, atol=1e-6)
    states = encoder.token_vectors("a b")
    assert states.vectors.shape == (4, encoder.dim)


def test_larger_models_are_padded_less() -> None:
    from simsearch.checkpoint import load_checkpoint

    a = load_checkpoint("zhen-small").architecture
    # 4 x 384² + 2 x 384 x 512 products a token in each of 6 layers: 5.9 million
    assert compiled._length_step(a) == 21
