"""Training a small model: it learns, it is the same each time, and no kill changes it."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from training_runs import (
    FAST,
    Killed,
    Squares,
    Weights,
    rows_of,
    run,
    same,
    weights,
    without_key_biases,
    write_files,
)

from simsearch import bert
from simsearch.bert.backend import tf
from simsearch.bert.dropout import dropout
from simsearch.bert.trainable import TrainableModel
from simsearch.checkpoint import load_checkpoint
from simsearch.checkpoint.variables import backbone_shapes
from simsearch.config import TrainingMethod, TrainSettings
from simsearch.errors import CheckpointError
from simsearch.heads import BIAS, KERNEL, TRANSITIONS
from simsearch.training.method import Replicas
from simsearch.training.optimization import Optimizer, shares_of
from simsearch.training.step import Step

ROOT = Path(__file__).parent


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
