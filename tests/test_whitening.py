from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simsearch.errors import SettingsError
from simsearch.whitening import Whitening, fit_whitening


def correlated(rows: int = 200, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    mixing = random.normal(size=(5, 5))
    return (random.normal(size=(rows, 5)) @ mixing + [3, 1, 4, 1, 5]).astype(np.float32)


def test_two_points_by_hand() -> None:
    # mean (1, 0), variance 1 along the first axis and none along the second
    whitening = fit_whitening([np.array([[0, 0], [2, 0]], np.float32)], "f")
    assert whitening.rank == 1
    np.testing.assert_allclose(whitening.mean, [1, 0])
    moved = whitening.transform(np.array([[2, 0], [0, 0]], np.float32))
    np.testing.assert_allclose(np.abs(moved), [[1], [1]])
    assert moved[0] == -moved[1]


def test_whitened_vectors_have_mean_zero_and_unit_covariance() -> None:
    x = correlated()
    y = fit_whitening([x], "f").transform(x)
    np.testing.assert_allclose(y.mean(axis=0), np.zeros(5), atol=1e-5)
    np.testing.assert_allclose(np.cov(y.T, bias=True), np.eye(5), atol=1e-4)


def test_it_equals_the_published_recipe_up_to_signs() -> None:
    # BERT-whitening: u, s, _ = svd(cov(x)); kernel = u @ diag(1 / sqrt(s))
    x = correlated()
    u, s, _ = np.linalg.svd(np.cov(x.T.astype(np.float64), bias=True))
    kernel = u @ np.diag(1 / np.sqrt(s))
    np.testing.assert_allclose(np.abs(fit_whitening([x], "f").kernel), np.abs(kernel), rtol=1e-4)


@given(st.lists(st.integers(0, 200), max_size=6))
def test_batches_do_not_change_the_fit(cuts: list[int]) -> None:
    x = correlated()
    parts = np.split(x, sorted(cuts))
    whole, streamed = fit_whitening([x], "f"), fit_whitening(parts, "f")
    np.testing.assert_allclose(streamed.mean, whole.mean, rtol=1e-5)
    np.testing.assert_allclose(np.abs(streamed.kernel), np.abs(whole.kernel), rtol=1e-4, atol=1e-5)


def test_cutting_keeps_the_directions_of_most_variance() -> None:
    x = np.array([[9, 0, 0], [-9, 0, 0], [0, 1, 0], [0, -1, 0]], np.float32)
    whitening = fit_whitening([x], "f", dim=1)
    assert np.argmax(np.abs(whitening.kernel[:, 0])) == 0
    with pytest.raises(SettingsError, match="dim 3 is not possible: this whitening gives 1 to 2"):
        fit_whitening([x], "f", dim=3)


@pytest.mark.parametrize("rows", [[], [[1, 2]], [[1, 2], [1, 2]]])
def test_too_few_different_vectors_are_refused(rows: list[list[float]]) -> None:
    with pytest.raises(SettingsError, match="at least 2 different texts"):
        fit_whitening([np.array(rows, np.float32).reshape(-1, 2)], "f")


def test_save_and_load(tmp_path: Path) -> None:
    whitening = fit_whitening([correlated()], "abc")
    whitening.save(tmp_path / "白 化.npz")
    loaded = Whitening.load(tmp_path / "白 化.npz")
    np.testing.assert_array_equal(loaded.kernel, whitening.kernel)
    assert (loaded.encoder, loaded.rows, loaded.hash) == ("abc", 200, whitening.hash)
    assert [path.name for path in tmp_path.iterdir()] == ["白 化.npz"]


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 broken", b"\x80\x04N.", b"x" * 1000])
def test_a_file_that_is_no_whitening_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "w.npz").write_bytes(content)
    with pytest.raises(SettingsError, match="not a whitening file"):
        Whitening.load(tmp_path / "w.npz")


def test_a_whitening_of_other_shapes_is_refused(tmp_path: Path) -> None:
    bad = Whitening(np.zeros(3, np.float32), np.zeros((2, 2), np.float32), "f", 9)
    bad.save(tmp_path / "w.npz")
    with pytest.raises(SettingsError, match=r"mean float32 \(3,\) and kernel float32 \(2, 2\)"):
        Whitening.load(tmp_path / "w.npz")


def test_a_missing_file_says_how_to_fit_one(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no such whitening file; fit one with"):
        Whitening.load(tmp_path / "none.npz")
