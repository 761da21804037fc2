from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from simsearch import sentence_encoder
from simsearch.calibration import Calibration
from simsearch.errors import SettingsError
from simsearch.pipeline.encoding import _drawn
from simsearch.runtime.openvino.backend import op, ov
from simsearch.runtime.openvino.quantization import joined_ranges, observed, quantize
from simsearch.sentence_encoder import SentenceEncoder

TEXTS = [
    f"{who}{what}{where}。"
    for who in ("张三", "李四", "The dog ", "我的老师", "A customer ")
    for what in ("请假", "退款", " reads a book", "在看一本很长的书", " was late")
    for where in ("", "在家里", " at the station", "，昨天晚上", " in the morning")
]


@pytest.fixture(scope="module")
def mini() -> SentenceEncoder:
    return SentenceEncoder.load(precision="float32")


@pytest.fixture(scope="module")
def calibration(mini) -> Calibration:
    return mini.fit_calibration(TEXTS)


def test_int8_is_close_to_float32_and_is_not_float32(mini, calibration) -> None:
    int8 = SentenceEncoder.load(precision="int8", calibration=calibration)
    cosines = (int8.encode(TEXTS) * mini.encode(TEXTS)).sum(axis=1)
    assert cosines.mean() >= 0.998
    assert cosines.max() < 1 - 1e-6
    assert int8.fingerprint == mini.fingerprint
    # what was measured on the texts that were held out
    assert calibration.texts + calibration.held_out == len(TEXTS)
    held_out = cosines[1::2]
    assert calibration.cosine == pytest.approx(held_out.mean(), abs=1e-4)
    assert calibration.least_cosine == pytest.approx(held_out.min(), abs=1e-3)


def test_products_are_run_in_int8(calibration) -> None:
    encoder = SentenceEncoder.load(precision="int8", calibration=calibration)
    ((runtime, _),) = encoder.backbone._runtimes(encoder.pooling.heads)
    nodes = runtime._soonest.get_runtime_model().get_ordered_ops()
    facts = [node.get_rt_info() for node in nodes]
    executed = [
        info["runtimePrecision"].astype(str)
        for info in facts
        if info["layerType"].astype(str).startswith("FullyConnected")
    ]
    # six products in each of six layers, of which only this is said in float: what it gives
    assert len(executed) == 36
    assert set(executed) <= {"i8", "u8"}


def test_a_calibration_is_kept_in_a_file(calibration, tmp_path: Path) -> None:
    calibration.save(tmp_path / "c.npz")
    loaded = Calibration.load(tmp_path / "c.npz")
    assert loaded.hash == calibration.hash
    assert replace(loaded, ranges=[]) == replace(calibration, ranges=[])


def test_a_product_is_rounded_as_smoothquant_says() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(0, [1, 10, 0.1, 3], (1, 50, 4)).astype(np.float32)
    weights = rng.normal(size=(3, 4)).astype(np.float32)
    tokens = op.parameter([-1, -1, 4], np.float32)
    product = op.matmul(tokens, op.constant(weights.T.copy()), False, False)
    graph = ov.Model([product.output(0)], [tokens], "product")
    core = ov.Core()
    ranges = joined_ranges([list(core.compile_model(observed(graph), "CPU")(x).values())])
    np.testing.assert_array_equal(ranges, [[x.min(axis=(0, 1)), x.max(axis=(0, 1))]])
    quantize(graph, ranges)
    answer = core.compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(x)[0]

    largest = np.abs(x).max(axis=(0, 1))
    factors = largest**0.85 / np.abs(weights).max(axis=0) ** 0.15
    greatest = (largest / factors).max()
    step = greatest / 128
    rounded = np.clip(np.round(x / factors / step), -128, 127) * step
    smoothed = weights * factors
    of_weights = np.abs(smoothed).max(axis=1, keepdims=True) / 127
    expected = rounded @ (np.round(smoothed / of_weights) * of_weights).T
    exact = x @ weights.T
    assert np.abs(answer - expected).max() < 0.02 * np.abs(exact).max()
    assert np.abs(answer - exact).max() > 1e-4


def test_ranges_of_batches_are_joined() -> None:
    first = [np.array([-1.0, 0.0]), np.array([1.0, 5.0])]
    second = [np.array([-3.0, 2.0]), np.array([0.0, 6.0])]
    (joined,) = joined_ranges(iter([first, second]))
    np.testing.assert_array_equal(joined, [[-3, 0], [1, 6]])


def test_int8_that_loses_too_much_is_refused(mini, monkeypatch) -> None:
    monkeypatch.setattr(sentence_encoder, "LEAST_COSINE", 0.99999)
    with pytest.raises(SettingsError, match=r"int8 would lose too much: .* stay with precision"):
        mini.fit_calibration(TEXTS)


def test_a_calibration_needs_texts(mini) -> None:
    with pytest.raises(SettingsError, match="at least 20 different texts, got 1"):
        mini.fit_calibration(["又是你"] * 30)


def test_int8_needs_a_calibration_of_this_model_and_openvino(calibration, tiny_bert) -> None:
    with pytest.raises(SettingsError, match="simsearch calibrate"):
        SentenceEncoder.load(precision="int8")
    with pytest.raises(SettingsError, match="made for another model"):
        SentenceEncoder.load(tiny_bert, precision="int8", calibration=calibration)
    with pytest.raises(SettingsError, match="for runtime 'openvino'"):
        SentenceEncoder.load(precision="int8", calibration=calibration, runtime="tensorflow")
    fewer = replace(calibration, ranges=calibration.ranges[:-1])
    with pytest.raises(SettingsError, match="does not fit the graph"):
        SentenceEncoder.load(precision="int8", calibration=fewer)


@pytest.mark.parametrize(
    "content",
    [b"", b"PK nonsense", None],
    ids=["empty", "not an archive", "ranges that are none"],
)
def test_another_file_is_no_calibration(calibration, tmp_path: Path, content) -> None:
    path = tmp_path / "c.npz"
    if content is None:
        replace(calibration, ranges=[-ends for ends in calibration.ranges]).save(path)
    else:
        path.write_bytes(content)
    with pytest.raises(SettingsError, match=re.escape(str(path))):
        Calibration.load(path)
    with pytest.raises(SettingsError, match="no such calibration file"):
        Calibration.load(tmp_path / "none.npz")


def test_texts_are_drawn_from_all_over() -> None:
    texts = [str(i) for i in range(10_000)]
    drawn = _drawn(iter(texts), 1000)
    assert len(set(drawn)) == 1000
    assert np.mean([int(text) for text in drawn]) == pytest.approx(5000, abs=300)
    assert _drawn(iter(texts), 1000) == drawn
    assert _drawn(iter(texts[:7]), 1000) == texts[:7]
