"""TensorFlow's runtime: few shapes, bfloat16, several devices. All of it on a CPU."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Literal

import checkpoints
import numpy as np
import pytest
from checkpoints import TINY_ALBERT, TINY_BERT, TINY_ELECTRA, TINY_NEZHA, TINY_ROFORMER

from simsearch import bert
from simsearch.bert.backend import tf
from simsearch.checkpoint import Checkpoint, load_checkpoint
from simsearch.checkpoint.architecture import Architecture
from simsearch.pooling import STRATEGIES
from simsearch.runtime import tensorflow
from simsearch.runtime.tensorflow import TensorFlowRuntime

MEAN = ("mean@3",)
HEADS = (*(f"{strategy}@3" for strategy in STRATEGIES), "mean@0", "tokens@3", "static_mean")
FAMILIES = [TINY_BERT, TINY_ALBERT, TINY_NEZHA, TINY_ELECTRA, TINY_ROFORMER]
families = pytest.mark.parametrize("a", FAMILIES, ids=lambda a: a.family)


def checkpoint_of(a: Architecture, folder: Path) -> Checkpoint:
    return load_checkpoint(
        checkpoints.write_google(folder / a.family, a, checkpoints.random_variables(a))
    )


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return checkpoint_of(
        replace(TINY_BERT, max_position_embeddings=200), tmp_path_factory.mktemp("形状")
    )


def random_ids(rows: int, tokens: int) -> np.ndarray:
    """Rows of 1 to ``tokens`` tokens; the first row has them all."""
    random = np.random.default_rng(rows + tokens)
    ids = random.integers(1, TINY_BERT.vocab_size, (rows, tokens), np.int32)
    lengths = random.integers(1, tokens + 1, (rows, 1))
    lengths[0] = tokens
    return np.where(np.arange(tokens) < lengths, ids, 0).astype(np.int32)


def pretend(monkeypatch: pytest.MonkeyPatch, kind: Literal["GPU", "TPU"]) -> None:
    """Take the CPU for another device, which computes in bfloat16."""
    other = replace(bert.devices(), kind=kind, bfloat16=True)
    monkeypatch.setattr(tensorflow, "devices", lambda: other)


@families
def test_every_head_is_that_of_the_graph_of_free_shapes(a: Architecture, tmp_path: Path) -> None:
    checkpoint = checkpoint_of(a, tmp_path)
    heads = HEADS if a.family == "electra" else (*HEADS, "pooler")
    graph = bert.encoder_graph(checkpoint, heads)
    runtime = TensorFlowRuntime(checkpoint, heads, "auto")  # which is float32 on a CPU
    # one text; a power of two and one more; more than a batch; as long as can be
    for ids in (random_ids(1, 1), random_ids(9, 7), random_ids(150, 16)):
        expected = graph.encode(ids)
        for head, output in zip(heads, runtime.run(ids), strict=True):
            assert output.dtype == np.float32
            real = ids != 0 if head.startswith("tokens@") else np.full(len(ids), True)
            np.testing.assert_allclose(output[real], expected[head].numpy()[real], atol=1e-5)
            assert output.shape == expected[head].shape
    assert runtime._encoder._step.experimental_get_tracing_count() == 1


def test_many_shapes_become_few(long: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = TensorFlowRuntime(long, MEAN, "float32")
    shapes = set()
    encode = runtime._encoder.encode

    def recorded(ids: np.ndarray) -> list[np.ndarray]:
        shapes.add(ids.shape)
        return encode(ids)

    monkeypatch.setattr(runtime._encoder, "encode", recorded)
    for tokens in range(1, 201):
        rows = 1 + tokens * 37 % 40
        (vectors,) = runtime.run(random_ids(rows, tokens))
        assert vectors.shape == (rows, 12)
    assert {length for _, length in shapes} == {
        *(8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192),
        200,  # the model's longest
    }
    assert {rows for rows, length in shapes if length == 128} <= {1, 2, 4, 8, 16}
    assert max(rows * length for rows, length in shapes) <= 2048
    assert runtime._encoder._step.experimental_get_tracing_count() == 1


def test_a_batch_of_as_many_rows_as_asked_for_is_run_as_it_is(long: Checkpoint) -> None:
    runtime = TensorFlowRuntime(long, MEAN, "float32")
    assert [runtime.rows(tokens) for tokens in (1, 8, 9, 100, 150, 200)] == [
        *(256, 256, 128, 18),  # 2048 tokens of 8, 16 and 112
        *(12, 10),  # 160 and 200
    ]


def test_a_tpu_gets_a_graph_for_each_of_fewer_shapes(
    long: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, "TPU")
    runtime = TensorFlowRuntime(long, MEAN, "float32")
    for rows, tokens in [(1, 9), (1, 16), (3, 10), (4, 16), (1, 60), (1, 33)]:
        runtime.run(random_ids(rows, tokens))
    assert runtime._encoder._step.experimental_get_tracing_count() == 3  # 1x16, 4x16, 1x64


@families
def test_bfloat16_keeps_the_direction_of_a_sentence(
    a: Architecture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, "GPU")
    checkpoint = checkpoint_of(a, tmp_path)
    heads = ("static_mean", "mean@0", "mean@3")
    exact, fast = (TensorFlowRuntime(checkpoint, heads, p) for p in ("float32", "auto"))
    ids = random_ids(50, 16)
    for head, x, y in zip(heads, exact.run(ids), fast.run(ids), strict=True):
        assert y.dtype == np.float32
        if head == "mean@3":
            cosine = (x * y).sum(1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1)
            assert cosine.min() >= 0.999
            assert np.abs(x - y).max() > 1e-4  # it was bfloat16
        else:
            np.testing.assert_allclose(x, y, atol=1e-6)  # before any large product
    assert tf.keras.mixed_precision.global_policy().name == "float32"  # as it was


TWO_DEVICES = """
import sys
import numpy as np
from simsearch.bert.backend import tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from simsearch import bert
from simsearch.checkpoint import load_checkpoint
from simsearch.runtime.tensorflow import TensorFlowRuntime
runtime = TensorFlowRuntime(load_checkpoint(sys.argv[1]), sys.argv[3:], "auto")
assert type(bert.devices().strategy).__name__ == "MirroredStrategy"
assert runtime.rows(16) == 256
ids = np.load(sys.argv[2])
outputs = {f"{n}": runtime.run(ids[:n]) for n in (1, 3, 300)}
assert runtime._encoder._step.experimental_get_tracing_count() == 1
np.savez(sys.argv[2], **{f"{n}-{i}": x for n, xs in outputs.items() for i, x in enumerate(xs)})
"""


def test_devices_share_a_batch(tiny_bert: Path, tmp_path: Path) -> None:
    """In a process of its own, as TensorFlow fixes its devices when it begins."""
    heads, ids, path = ("max@3", "tokens@3", "pooler"), random_ids(300, 11), tmp_path / "ids.npz"
    with path.open("wb") as file:
        np.save(file, ids)
    subprocess.run([sys.executable, "-c", TWO_DEVICES, tiny_bert, path, *heads], check=True)
    alone = TensorFlowRuntime(load_checkpoint(tiny_bert), heads, "float32")
    with np.load(path) as outputs:
        for rows in (1, 3, 300):
            for i, expected in enumerate(alone.run(ids[:rows])):
                np.testing.assert_allclose(outputs[f"{rows}-{i}"], expected, atol=1e-5)
