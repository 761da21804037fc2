"""Training a small model: it learns, it is the same each time, and no kill changes it."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from training_runs import (
    FAST,
    Weights,
    data_of,
    rows_of,
    run,
    same,
    weights,
    without_key_biases,
    write_files,
)

import simsearch
from simsearch import bert
from simsearch.bert.backend import tf
from simsearch.bert.dropout import dropout
from simsearch.bert.trainable import TrainableModel, pass_ends
from simsearch.checkpoint import load_checkpoint
from simsearch.checkpoint.variables import backbone_shapes
from simsearch.cli.commands import cli
from simsearch.config import EncoderSettings, TrainingMethod, TrainSettings
from simsearch.errors import CheckpointError, SettingsError, SimsearchError, TaskError
from simsearch.heads import BIAS, KERNEL, TRANSITIONS
from simsearch.pipeline import train
from simsearch.training import loop
from simsearch.training.memory import check_memory
from simsearch.training.method import Replicas
from simsearch.training.optimization import Optimizer, shares_of
from simsearch.training.step import Step

ROOT = Path(__file__).parent


class Killed(Exception):
    """Stands for a kill: nothing in between may notice."""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_files(tmp_path_factory.mktemp("训练 数据"))


@pytest.fixture(scope="module")
def tuned(files: Path, tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What cosent makes of the model as ``FAST`` says."""
    out = tmp_path_factory.mktemp("结果") / "tuned"
    run("cosent", files, tiny_bert, out)
    return out


class TestSameWeights:
    # of cosent a real kill is below; what else is random in a step is the masks of mlm
    def test_twice_the_second_time_interrupted(
        self, files: Path, tiny_bert: Path, tmp_path: Path
    ) -> None:
        settings = FAST.model_copy(update={"evaluate_every": 3, "accumulate": 2})
        run("mlm", files, tiny_bert, tmp_path / "a", settings)

        def kill(done: int, total: int) -> None:
            if done == 10:
                raise Killed

        with pytest.raises(Killed):
            run("mlm", files, tiny_bert, tmp_path / "b", settings, progress=kill)
        with pytest.raises(CheckpointError):
            load_checkpoint(tmp_path / "b")
        seen: list[int] = []
        run(
            "mlm", files, tiny_bert, tmp_path / "b", settings,
            progress=lambda done, total: seen.append(done),
        )  # fmt: skip
        assert seen == [10, 11, 12]  # the state of step 9 was saved
        first = weights(tmp_path / "a")
        assert same(first, weights(tmp_path / "b"))
        assert rows_of(tmp_path / "a") == rows_of(tmp_path / "b")

    def test_another_seed_gives_others(
        self, files: Path, tiny_bert: Path, tuned: Path, tmp_path: Path
    ) -> None:
        run("cosent", files, tiny_bert, tmp_path / "b", FAST.model_copy(update={"seed": 1}))
        assert not same(weights(tuned), weights(tmp_path / "b"))

    def test_a_real_kill(self, files: Path, tiny_bert: Path, tmp_path: Path) -> None:
        argv = [
            *(sys.executable, "-m", "simsearch", "train", "cosent", "--model", tiny_bert),
            *("--data", files / "cosent.tsv", "--dev", files / "cosent.tsv"),
            *("--epochs", "12", "--batch-size", "16", "--evaluate-every", "2"),
        ]
        killed = [*argv, "--out", tmp_path / "killed"]
        with subprocess.Popen(killed, stderr=subprocess.DEVNULL) as process:
            while not list((tmp_path / "killed").glob("training/state-*[1-9]*")):
                assert process.poll() is None
                time.sleep(0.01)
            process.send_signal(signal.SIGKILL)
        assert not (tmp_path / "killed" / "bert_config.json").exists()
        subprocess.run(killed, check=True, stderr=subprocess.DEVNULL)
        settings = TrainSettings(epochs=12, batch_size=16, evaluate_every=2)
        run("cosent", files, tiny_bert, tmp_path / "whole", settings)
        assert same(weights(tmp_path / "killed"), weights(tmp_path / "whole"))


class Squares:
    """A method whose loss is a mean over rows, so that parts of a batch add up to it."""

    examples = 64
    ids = ("ids",)

    def batch(self, rows: np.ndarray, seed: object) -> dict[str, np.ndarray]:
        random = np.random.default_rng(rows.tolist())
        return {"ids": random.integers(5, 20, (len(rows), 6)).astype(np.int32)}

    def loss(self, model: TrainableModel, batch: Mapping[str, Any], replicas: Replicas) -> Any:
        return tf.reduce_mean(model.pooled(batch["ids"]) ** 2) / replicas.count


def modelled(folder: Path, heads: tuple[str, ...], passes: int) -> TrainableModel:
    checkpoint = load_checkpoint(folder)
    variables = bert.read_variables(checkpoint, backbone_shapes(checkpoint.architecture))
    return TrainableModel(checkpoint, variables, heads, passes=passes)


def stepped(tiny_bert: Path, batches: list[dict[str, np.ndarray]]) -> tuple[float, Weights]:
    """The loss, and what two steps on these parts make of the model, without dropout."""
    model = modelled(tiny_bert, ("mean@3",), 1)
    optimizer = Optimizer(
        model.variables, shares_of(model, 1), rate=1e-3, warmup=0, total=9, weight_decay=0
    )
    step = Step(model, Squares(), optimizer, bert.devices(), parts=len(batches), clip=1.0)
    loss = step(batches, (0, 0))
    step(batches, (0, 1))
    return loss, model.values()


class TestPasses:
    """Texts of like length share a pass: what comes out is that of one pass for all."""

    @pytest.mark.parametrize("count", [1, 3, 10])
    def test_the_heads_are_the_same(self, tiny_bert: Path, count: int) -> None:
        random = np.random.default_rng(count)
        lengths = random.integers(1, 9, count)
        ids = random.integers(5, 20, (count, 9)).astype(np.int32)
        ids *= np.arange(9) < lengths[:, None]
        one, four = (modelled(tiny_bert, ("tokens@3", "cls@2"), passes) for passes in (1, 4))
        (tokens, cls), (same_tokens, same_cls) = (
            [head.numpy() for head in model.heads(tf.constant(ids))] for model in (one, four)
        )
        assert tokens.shape == same_tokens.shape == (count, 9, 12)
        assert np.abs(tokens - same_tokens)[ids != 0].max() < 1e-5
        assert np.abs(cls - same_cls).max() < 1e-5
        assert np.abs(cls).max() > 0.1

    def test_so_are_the_gradients(self, tiny_bert: Path) -> None:
        ids = Squares().batch(np.arange(16), ())["ids"]
        ids *= np.arange(6) < np.arange(16)[:, None] % 6 + 1
        gradients = []
        for passes in (1, 4):
            model = modelled(tiny_bert, ("mean@3",), passes)
            with tf.GradientTape() as tape:
                loss = Squares().loss(model, {"ids": tf.constant(ids)}, Replicas(1))
            found = tape.gradient(loss, model.variables)
            gradients.append([tf.convert_to_tensor(gradient).numpy() for gradient in found])
        for name, a, b in zip(model.values(), *gradients, strict=True):
            assert np.abs(a - b).max() < 1e-5, name
        assert max(np.abs(a).max() for a in gradients[0]) > 1e-3


def test_the_gradients_of_training_are_those_of_the_plain_layers(tiny_bert: Path) -> None:
    """Training has its own form of products and normalizations, and the latter's own gradient."""
    model = modelled(tiny_bert, ("mean@3",), 1)
    ids = tf.constant(Squares().batch(np.arange(8), ())["ids"])
    found = []
    for block in (contextlib.nullcontext(), dropout(tf.constant([0, 0]))):
        with tf.GradientTape() as tape, block:
            loss = Squares().loss(model, {"ids": ids}, Replicas(1))
        gradients = tape.gradient(loss, model.variables)
        found.append([float(loss), *(tf.convert_to_tensor(g).numpy() for g in gradients)])
    plain, trained = found
    assert trained[0] == pytest.approx(plain[0], rel=1e-6)
    for name, a, b in zip(model.values(), plain[1:], trained[1:], strict=True):
        assert np.abs(a - b).max() < 1e-5 * max(1, np.abs(a).max()), name


def test_what_each_variable_learns_at(tiny_bert: Path) -> None:
    checkpoint = load_checkpoint(tiny_bert)
    variables = bert.read_variables(checkpoint, backbone_shapes(checkpoint.architecture))
    head = {name: np.zeros(2, np.float32) for name in (KERNEL, BIAS, TRANSITIONS)}
    model = TrainableModel(checkpoint, variables, ("cls@3",), head=head)
    shares = dict(zip(model.values(), shares_of(model, 0.5), strict=True))
    assert shares["bert/embeddings/word_embeddings"] == 0.125
    assert shares["bert/encoder/layer_0/output/dense/kernel"] == 0.25
    assert shares["bert/encoder/layer_2/output/dense/kernel"] == 1
    assert [shares[name] for name in head] == [10, 10, 100]
    assert len(shares) == len(model.variables)


class TestSteps:
    def test_parts_of_a_batch_count_as_one(self, tiny_bert: Path) -> None:
        ids = Squares().batch(np.arange(64), ())["ids"]
        loss, whole = stepped(tiny_bert, [{"ids": ids}])
        mean, parts = stepped(tiny_bert, [{"ids": part} for part in np.split(ids, 4)])
        assert mean == pytest.approx(loss, rel=1e-5)
        before = weights(tiny_bert)
        for name in without_key_biases(whole):
            assert np.abs(whole[name] - before[name]).max() > 1e-3  # it was two steps
            # what has next to no gradient is moved by its sign, which rounding decides
            differ = np.abs(whole[name] - parts[name]) > 1e-4
            assert differ.mean() < 0.02, name

    def test_patience_ends_it(self, files: Path, tiny_bert: Path, tmp_path: Path) -> None:
        settings = FAST.model_copy(
            update={"learning_rate": 1e-12, "evaluate_every": 1, "patience": 3, "epochs": 5}
        )
        report = run("cosent", files, tiny_bert, tmp_path / "a", settings)
        assert (report.steps, report.best_step) == (3, 0)
        assert report.first == report.best
        before, after = weights(tiny_bert), weights(tmp_path / "a")
        assert all((after[name] == before[name]).all() for name in after)


TWO_DEVICES = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[4])
from simsearch.bert.backend import tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from simsearch import bert
from test_training import UNDROPPED, run
assert bert.devices().count == 2
files, model, out = map(Path, sys.argv[1:4])
for method, settings in UNDROPPED.items():
    run(method, files, model, out / method, settings, judged=False)
"""
_UNDROPPED = TrainSettings(learning_rate=1e-4, dropout=0, weight_decay=0)
UNDROPPED: dict[TrainingMethod, TrainSettings] = {
    "contrastive": _UNDROPPED.model_copy(update={"batch_size": 16, "accumulate": 2}),
    "mlm": _UNDROPPED.model_copy(update={"epochs": 2}),  # enough rows for two passes
}


def test_two_devices_learn_what_one_does(files: Path, tiny_bert: Path, tmp_path: Path) -> None:
    """In a process of their own, as TensorFlow fixes its devices when it begins."""
    argv = [sys.executable, "-c", TWO_DEVICES, files, tiny_bert, tmp_path / "2", ROOT]
    subprocess.run(argv, check=True)
    for method, settings in UNDROPPED.items():
        run(method, files, tiny_bert, tmp_path / "1" / method, settings, judged=False)
    before = weights(tiny_bert)
    for method in UNDROPPED:
        one, two = weights(tmp_path / "1" / method), weights(tmp_path / "2" / method)
        differ = [np.abs(one[name] - two[name]).max() for name in one]
        moved = [np.abs(one[name] - before[name]).max() for name in one]
        assert max(moved) > 1e-4
        assert np.median(differ) < 1e-5, method


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

    def test_a_folder_with_a_checkpoint(self, files: Path, tiny_bert: Path, tuned: Path) -> None:
        with pytest.raises(SettingsError, match="holds a checkpoint already"):
            run("cosent", files, tiny_bert, tuned)

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
