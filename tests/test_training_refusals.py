"""Training: what it refuses, the memory it needs, and its command."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from training_runs import (
    FAST,
    Killed,
    Squares,
    data_of,
    run,
    write_files,
)

import simsearch
from simsearch.bert.backend import tf
from simsearch.bert.trainable import pass_ends
from simsearch.checkpoint import load_checkpoint
from simsearch.checkpoint.variables import backbone_shapes
from simsearch.cli.commands import cli
from simsearch.config import EncoderSettings, TrainSettings
from simsearch.errors import SettingsError, SimsearchError, TaskError
from simsearch.pipeline import train
from simsearch.training import loop
from simsearch.training.memory import check_memory
from simsearch.training.step import Step


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_files(tmp_path_factory.mktemp("训练 数据"))


class TestErrors:
    """Each before the first step, with nothing left that looks like a checkpoint."""

    @pytest.fixture
    def attempt(
        self, files: Path, tiny_bert: Path, tmp_path: Path
    ) -> Callable[..., pytest.ExceptionInfo[SimsearchError]]:
        def attempt(
            method: Any,
            data: Path | None = None,
            encoder: Mapping[str, Any] | None = None,
            settings: Mapping[str, Any] | None = None,
            **options: Any,
        ) -> pytest.ExceptionInfo[SimsearchError]:
            with pytest.raises(SimsearchError) as raised:
                train(
                    method,
                    [data or data_of(method, files)],
                    tmp_path / "out",
                    encoder=EncoderSettings(model=str(tiny_bert), **(encoder or {})),
                    settings=TrainSettings(**(settings or {})),
                    **options,
                )
            assert not (tmp_path / "out" / "bert_config.json").exists()
            return raised

        return attempt

    def test_too_little_data(self, attempt: Any) -> None:
        assert attempt("cosent", settings={"batch_size": 100}).match(
            "64 examples, which is less than a batch of 100"
        )

    def test_a_batch_that_cannot_be_cut(self, attempt: Any) -> None:
        assert attempt("cosent", settings={"batch_size": 64, "accumulate": 3}).match(
            "batch_size 64 cannot be cut into 3 parts"
        )

    def test_pairs_of_one_score(self, attempt: Any, tmp_path: Path) -> None:
        (tmp_path / "one.tsv").write_text("1\ta\tb\n" * 64, "utf-8")
        assert attempt("cosent", tmp_path / "one.tsv").match("all pairs have one score")
        raised = attempt("simcse", dev=tmp_path / "one.tsv")
        assert raised.match("one.tsv: all pairs have one score")

    def test_simcse_without_dropout(self, attempt: Any) -> None:
        assert attempt("simcse", settings={"dropout": 0}).match("simcse learns from dropout")

    def test_an_unknown_method(self, attempt: Any, files: Path) -> None:
        assert attempt("magic", files / "mlm.txt").match("'magic' is unknown; choose one of mlm")

    def test_options_of_other_methods(self, attempt: Any) -> None:
        assert attempt("cosent", least_score=4).match("least_score is for method 'contrastive'")
        assert attempt("simcse", from_scratch=True).match("begins with a model that knows words")
        raised = attempt("cosent", encoder={"whitening": "w.npz"})
        assert raised.match("a whitening fits one model only")

    def test_labels(self, attempt: Any, tmp_path: Path) -> None:
        one, other = tmp_path / "one.csv", tmp_path / "other.csv"
        one.write_text("text,label\n" + "x,a\n" * 64, "utf-8")
        assert attempt("classify", one).match("all data are of one class, 'a'")
        other.write_text("text,label\nx,c\n", "utf-8")
        assert attempt("classify", dev=other).match("the dev data have the class 'c', which the")
        assert attempt("classify", tmp_path).match("is a folder; give the file in it")
        tags = tmp_path / "tags.txt"
        tags.write_text("x O\n\n" * 64, "utf-8")
        assert attempt("label", tags).match("all data are of one tag, 'O'")
        tags.write_text("x O\ny\n", "utf-8")
        assert attempt("label", tags).match(r"tags\.txt:2: 'y', expected a character or word, a")
        tags.write_text("\n", "utf-8")
        assert attempt("label", tags).match(r"tags\.txt: no lines")

    def test_teachers(self, attempt: Any, files: Path, tmp_path: Path) -> None:
        assert attempt("distill").match("method 'distill' needs a teacher")
        assert attempt("mlm", teacher="zhen-small").match("no other method has one")
        bad = tmp_path / "bad.npy"
        for rows, message in {
            "short": r"bad\.npy: has 63 rows, and the data 64 texts",
            "long": r"bad\.npy: row 5 has length 2; expected unit vectors",
            "double": r"bad\.npy: holds float64 \(64, 26\); expected float32",
        }.items():
            letters = np.load(files / "letters.npy")
            letters[5] *= 2 if rows == "long" else 1
            np.save(bad, letters[1:] if rows == "short" else letters)
            if rows == "double":
                np.save(bad, np.zeros((64, 26)))
            assert attempt("distill", teacher=bad).match(message)
        bad.write_bytes(b"no array")
        assert attempt("distill", teacher=bad).match("is no .npy file")

    def test_lines_of_examples(self, attempt: Any, tmp_path: Path) -> None:
        bad = tmp_path / "bad.tsv"
        for text, message in {
            "a\n": r"bad\.tsv:1: 1 field\(s\), expected 2",
            "a\tb\tc\na\tb\n": r"bad\.tsv:2: 2 field\(s\), expected 3",
            "a\tb\na\t \n": r"bad\.tsv:2: field 2 is empty",
            "": r"bad\.tsv: no lines",
        }.items():
            bad.write_text(text, "utf-8")
            raised = attempt("contrastive", bad)
            assert raised.type is TaskError
            assert raised.match(message)

    def test_graded_pairs_none_of_which_is_good_enough(self, attempt: Any, files: Path) -> None:
        raised = attempt("contrastive", files / "graded.tsv", least_score=5)
        assert raised.match("no pair has a score of 5; the best has 4")

    def test_a_folder_of_something_else(self, attempt: Any, tmp_path: Path) -> None:
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "mine.txt").write_text("x", "utf-8")
        assert attempt("cosent").match("is not empty; give a new or empty folder")
        assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]

    def test_an_unfinished_training_of_another_recipe(
        self, files: Path, tiny_bert: Path, tmp_path: Path
    ) -> None:
        def kill(done: int, total: int) -> None:
            raise Killed

        with pytest.raises(Killed):
            run("cosent", files, tiny_bert, tmp_path / "a", progress=kill)
        other = FAST.model_copy(update={"epochs": 4})
        with pytest.raises(SettingsError, match=r"another recipe \(settings was \{'epochs': 3"):
            run("cosent", files, tiny_bert, tmp_path / "a", other)

    def test_a_folder_with_a_checkpoint(self, files: Path, tiny_bert: Path, tmp_path: Path) -> None:
        there = shutil.copytree(tiny_bert, tmp_path / "there")
        with pytest.raises(SettingsError, match="holds a checkpoint already"):
            run("cosent", files, tiny_bert, there)

    def test_two_at_once(self, files: Path, tiny_bert: Path, tmp_path: Path) -> None:
        def again(done: int, total: int) -> None:
            run("cosent", files, tiny_bert, tmp_path / "a")

        with pytest.raises(SettingsError, match="another process is training it"):
            run("cosent", files, tiny_bert, tmp_path / "a", progress=again)

    def test_a_rate_that_explodes(self, files: Path, tiny_bert: Path, tmp_path: Path) -> None:
        settings = FAST.model_copy(update={"learning_rate": 1e38})
        with pytest.raises(SettingsError, match=r"the loss of step \d+ is nan; try a smaller"):
            run("mlm", files, tiny_bert, tmp_path / "a", settings)


class TestMemory:
    """Of a batch of 16 texts with 2 to 7 letters, [CLS] and [SEP], in a model of three layers."""

    @pytest.mark.parametrize("accumulate", [1, 4])
    def test_what_a_step_needs(
        self, files: Path, tiny_bert: Path, tmp_path: Path, monkeypatch: Any, accumulate: int
    ) -> None:
        settings = FAST.model_copy(update={"accumulate": accumulate, "epochs": 1})
        lines = (files / "simcse.txt").read_text("utf-8").splitlines()
        order = np.random.default_rng([0, 0]).permutation(64)[:16]
        lengths = [len(lines[i].split()) + 2 for i in order]
        largest = 0.0
        for part in np.split(np.array(lengths), accumulate):
            width, texts = part.max(), 2 * len(part)  # each text twice
            # 12 wide, 20 in between, 3 heads
            largest = max(largest, 4 * 3 * texts * width * (16 * 12 + 4.5 * 20 + 2 * 3 * width))
        shapes = backbone_shapes(load_checkpoint(tiny_bert).architecture)
        fixed = 4 * sum(map(np.prod, shapes.values())) * (5 if accumulate == 1 else 6)
        monkeypatch.setattr(loop, "free_memory", lambda: int(fixed + largest))
        run("simcse", files, tiny_bert, tmp_path / "fits", settings, judged=False)
        monkeypatch.setattr(loop, "free_memory", lambda: int(fixed + largest) - 1)
        with pytest.raises(
            SettingsError, match=r"needs about 0\.0 GiB of memory, and 0\.0 GiB are"
        ):
            run("simcse", files, tiny_bert, tmp_path / "out", settings, judged=False)
        assert not (tmp_path / "out" / "bert_config.json").exists()

    @pytest.mark.parametrize(
        ("free", "remedy"),
        [
            (3_000, "the model alone, with what its optimizer keeps, needs .* train a smaller one"),
            (30_000, "give a smaller --batch-size and --max-length"),
            (300_000, "with --accumulate 8 it would fit"),
            (1_100_000, "with --accumulate 2 it would fit"),
        ],
    )
    def test_what_to_do_about_it(self, tiny_bert: Path, free: int, remedy: str) -> None:
        architecture = load_checkpoint(tiny_bert).architecture
        # 64 texts of 8 tokens: 4 * 3 * 64 * 8 * (16 * 12 + 4.5 * 20 + 2 * 3 * 8) = 2027520
        parts = [{"ids": np.ones((64, 8), np.int32)}]
        settings = TrainSettings(batch_size=64)
        with pytest.raises(SettingsError, match=remedy):
            check_memory(free, architecture, 1000, Squares(), parts, 4, settings)

    def test_passes_dwindle_and_leave_none_out(self) -> None:
        assert pass_ends(100, 1) == [100]
        assert pass_ends(1000, 2) == [588, 1000]  # 1 to 0.7
        for rows, passes in ((128, 8), (256, 8), (33, 2), (3, 8)):
            sizes = np.diff([0, *pass_ends(rows, passes)])
            assert sizes.sum() == rows
            assert (sizes >= 0).all()
            assert (np.diff(sizes) <= 1).all()  # but for rounding

    def test_a_remedy_can_be_carried_out(self, tiny_bert: Path) -> None:
        architecture = load_checkpoint(tiny_bert).architecture
        # in two parts already: sums of gradients are kept anyway, and half of each part fits
        parts = [{"ids": np.ones((32, 8), np.int32)}] * 2
        settings = TrainSettings(batch_size=64)
        free = 4 * 6 * 1000 + 2_027_520 // 4
        with pytest.raises(SettingsError, match="with --accumulate 4 it would fit"):
            check_memory(free, architecture, 1000, Squares(), parts, 2, settings)
        # each of 16 devices has as many rows of each part: two parts of 32 can't be halved twice
        with pytest.raises(SettingsError, match="with --accumulate 4 it would fit"):
            check_memory(free, architecture, 1000, Squares(), parts, 2, settings, 16)
        with pytest.raises(SettingsError, match="give a smaller --batch-size"):
            check_memory(free - 1, architecture, 1000, Squares(), parts, 2, settings, 16)

    def test_a_device_that_runs_out_of_it(
        self, files: Path, tiny_bert: Path, tmp_path: Path, monkeypatch: Any
    ) -> None:
        def full(*args: object) -> float:
            raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")

        monkeypatch.setattr(Step, "__call__", full)
        with pytest.raises(SettingsError, match="step 1 does not fit in the memory of the device"):
            run("cosent", files, tiny_bert, tmp_path / "out")


class TestCommand:
    def test_json_and_messages(self, files: Path, tiny_bert: Path, tmp_path: Path) -> None:
        argv = [
            *("train", "contrastive", "--model", str(tiny_bert), "--out", str(tmp_path / "a")),
            *("--data", str(files / "graded.tsv"), "--least-score", "3", "--json"),
            *("--dev", str(files / "graded.tsv"), "--batch-size", "8", "--pooling", "cls"),
        ]
        result = CliRunner().invoke(cli, argv)
        assert result.exit_code == 0, result.output
        printed = json.loads(result.stdout)
        assert printed == {
            "out": str(tmp_path / "a"),
            "examples": 25,
            "steps": 3,
            "best_step": printed["best_step"],
            "metric": "spearman",
            "first": printed["first"],
            "best": printed["best"],
        }
        assert "step 3: loss" in result.stderr
        assert "trained on 25 examples" in result.stderr
        assert simsearch.SentenceEncoder.load(tmp_path / "a").pooling.name == "cls"

    def test_settings_come_from_a_file_too(
        self, files: Path, tiny_bert: Path, tmp_path: Path
    ) -> None:
        config = tmp_path / "c.yaml"
        config.write_text("train:\n  batch_size: 32\n  epochs: 2\n  seed: 7\n", "utf-8")
        argv = [
            *("train", "simcse", "--model", str(tiny_bert), "--out", str(tmp_path / "a")),
            *("--data", str(files / "simcse.txt"), "--config", str(config), "--epochs", "1"),
        ]
        result = CliRunner().invoke(cli, argv)
        assert result.exit_code == 0, result.output
        recipe = json.loads((tmp_path / "a" / "training.json").read_text("utf-8"))
        settings = recipe["settings"]
        assert (settings["batch_size"], settings["epochs"], settings["seed"]) == (32, 1, 7)
        assert recipe["result"]["steps"] == 2
