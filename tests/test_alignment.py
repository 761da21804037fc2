"""Which token matches which: by hand, and what `explain` makes of an index."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import simsearch
from simsearch import pipeline
from simsearch.alignment import Match, align
from simsearch.cli.commands import cli
from simsearch.errors import SettingsError

A, B, C = np.eye(3, dtype=np.float32)


class TestAlignment:
    def test_by_hand(self) -> None:
        found = align(
            ["x", "y"], np.stack([2 * A, A + B]), ["p", "q", "r"], np.stack([B, 5 * A, C])
        )
        half = math.sqrt(0.5)
        np.testing.assert_allclose(found.cosines, [[0, 1, 0], [half, half, 0]], atol=1e-7)
        assert found.matches == [
            Match("x", 0, "q", 1, 1.0),
            Match("y", 1, "p", 0, pytest.approx(half)),
        ]
        recall, precision = (1 + half) / 2, (half + 1 + 0) / 3
        assert found.f1 == pytest.approx(2 * recall * precision / (recall + precision))

    def test_the_same_text(self) -> None:
        vectors = np.random.default_rng(0).standard_normal((4, 5)).astype(np.float32)
        found = align("abcd", vectors, "abcd", vectors)
        assert [(m.token, m.nearest, m.nearest_place) for m in found.matches] == [
            (letter, letter, i) for i, letter in enumerate("abcd")
        ]
        assert found.f1 == pytest.approx(1)

    def test_without_tokens(self) -> None:
        none = align([], np.empty((0, 3), np.float32), ["p"], A[None])
        assert none.matches == []
        assert math.isnan(none.f1)
        turned = align(["p"], A[None], [], np.empty((0, 3), np.float32))
        assert turned.matches == []


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("解释")
    (folder / "texts.csv").write_text('id,text\n1,人咬狗\n2,今天天气很好\n3,"[x]"\n', "utf-8")
    pipeline.build([folder / "texts.csv"], folder / "i")
    return folder / "i"


class TestExplain:
    def test_it_is_the_hit_of_a_query(self, index: Path) -> None:
        with simsearch.open_index(index) as searcher:
            hits = {hit.id: hit for hit in searcher.query("狗咬人", k=3)}
            found = pipeline.explain(searcher, "狗咬人", "1")
            assert found.hit.id == "1"
            assert found.hit.score == pytest.approx(hits["1"].score, abs=1e-6)
            assert found.hit.percentile == hits["1"].percentile
            assert found.alignment.first == ["狗", "咬", "人"]
            assert found.alignment.second == ["人", "咬", "狗"]
            assert found.alignment.cosines.shape == (3, 3)
            # the same words elsewhere
            assert [m.nearest_place for m in found.alignment.matches] == [2, 1, 0]
            with pytest.raises(SettingsError, match="no document with the id '7'"):
                pipeline.explain(searcher, "狗咬人", "7")
            with pytest.raises(SettingsError, match="the query is empty"):
                pipeline.explain(searcher, "  ", "1")

    def test_on_the_command_line(self, index: Path, tmp_path: Path) -> None:
        picture = tmp_path / "图.svg"
        words = ["explain", str(index), "狗咬人", "1"]
        shown = CliRunner().invoke(cli, [*words, "--out", str(picture)])
        assert shown.exit_code == 0
        rows = [line.split() for line in shown.stdout.splitlines()[-3:]]
        assert [(row[0], row[1], row[3], row[4]) for row in rows] == [
            ("1", "狗", "狗", "3"),
            ("2", "咬", "咬", "2"),
            ("3", "人", "人", "1"),
        ]
        drawn = picture.read_text("utf-8")
        assert drawn.startswith("<?xml")
        assert drawn.count("咬") >= 2
        parsed = json.loads(CliRunner().invoke(cli, [*words, "--json"]).stdout)
        assert parsed["id"] == "1"
        assert parsed["query_tokens"] == ["狗", "咬", "人"]
        assert parsed["matches"][0]["nearest"] == "狗"
        assert np.array(parsed["cosines"]).shape == (3, 3)

    def test_a_picture_of_too_much(self, index: Path, tmp_path: Path) -> None:
        with simsearch.open_index(index) as searcher:
            long = pipeline.explain(searcher, "狗" * 70, "1")
        with pytest.raises(SettingsError, match="up to 64 tokens, and one of these has 70"):
            pipeline.write_picture(long, tmp_path / "x.svg")
        assert not (tmp_path / "x.svg").exists()
