"""Training a small model: it learns, it is the same each time, and no kill changes it."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bert4keras.models import build_transformer_model
from checkpoints import PIECES, TINY_BERT, config_of
from click.testing import CliRunner

import simsearch
from simsearch import bert
from simsearch.bert.backend import tf
from simsearch.bert.trainable import TrainableModel
from simsearch.checkpoint import load_checkpoint
from simsearch.checkpoint.variables import backbone_shapes
from simsearch.cli.commands import cli
from simsearch.config import EncoderSettings, TrainingMethod, TrainSettings
from simsearch.errors import CheckpointError, SettingsError, SimsearchError, TaskError
from simsearch.pipeline import TrainReport, train
from simsearch.training.method import Replicas
from simsearch.training.optimization import Optimizer
from simsearch.training.step import Step

LETTERS = [piece for piece in PIECES if len(piece) == 1 and piece.isalpha()]
METHODS: tuple[TrainingMethod, ...] = ("cosent", "contrastive", "simcse", "mlm")
FAST = TrainSettings(epochs=3, batch_size=16, learning_rate=1e-3, dropout=0.1)
Weights = dict[str, np.ndarray]


class Killed(Exception):
    """Stands for a kill: nothing in between may notice."""


def sentences(count: int, seed: int) -> list[str]:
    random = np.random.default_rng(seed)
    return [" ".join(random.choice(LETTERS, random.integers(2, 8))) for _ in range(count)]


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data for each method: texts are alike that have the same letters, in any order."""
    folder = tmp_path_factory.mktemp("训练 数据")
    random = np.random.default_rng(4)
    first, others = sentences(64, 1), sentences(64, 2)
    alike = [" ".join(random.permutation(text.split())) for text in first]
    second = [x if i % 2 else y for i, (x, y) in enumerate(zip(alike, others, strict=True))]
    lines = {
        "cosent.tsv": [f"{i % 2}\t{a}\t{b}" for i, (a, b) in enumerate(zip(first, second))],  # noqa: B905
        "graded.tsv": [f"{i % 5}\t{a}\t{b}" for i, (a, b) in enumerate(zip(first, alike))],  # noqa: B905
        "contrastive.tsv": list(map("\t".join, zip(first, alike, others, strict=True))),
        "simcse.txt": sentences(64, 3),
        "mlm.txt": [" ".join([random.choice(LETTERS)] * (3 + i % 5)) for i in range(64)],
    }
    for name, content in lines.items():
        (folder / name).write_text("\n".join(content) + "\n", "utf-8")
    return folder


def data_of(method: TrainingMethod, files: Path) -> Path:
    return files / (f"{method}.txt" if method in ("simcse", "mlm") else f"{method}.tsv")


def run(
    method: TrainingMethod,
    files: Path,
    model: Path,
    out: Path,
    settings: TrainSettings = FAST,
    judged: bool = True,
    **options: Any,
) -> TrainReport:
    dev = data_of("mlm" if method == "mlm" else "cosent", files) if judged else None
    encoder = EncoderSettings(model=str(model))
    return train(
        method,
        [data_of(method, files)],
        out,
        dev=dev,
        encoder=encoder,
        settings=settings,
        **options,
    )


def weights(folder: Path) -> Weights:
    return bert.checkpoint_variables(load_checkpoint(folder))


def same(a: Weights, b: Weights) -> bool:
    return a.keys() == b.keys() and all(a[name].tobytes() == b[name].tobytes() for name in a)


def without_key_biases(values: Weights) -> list[str]:
    """The names of all that learns: a key's bias adds the same to all scores of a softmax."""
    return [name for name in values if not name.endswith("key/bias")]


def rows_of(out: Path) -> list[dict[str, str]]:
    with (out / "training" / "metrics.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


class TestEachMethod:
    @pytest.mark.parametrize("method", METHODS)
    def test_it_learns_and_the_result_is_a_checkpoint(
        self, method: TrainingMethod, files: Path, tiny_bert: Path, tmp_path: Path
    ) -> None:
        out = tmp_path / "结果 a"
        # so small a model cannot tell so many texts apart as sharply, nor with half of it left out
        settings = FAST.model_copy(
            update={"epochs": 12, "learning_rate": 3e-3}
            if method != "contrastive"
            else {"epochs": 12, "dropout": 0.0, "temperature": 0.2}
        )
        report = run(method, files, tiny_bert, out, settings)
        assert report.examples == 64
        assert report.steps == 48
        rows = rows_of(out)
        losses = [float(row["loss"]) for row in rows if row["loss"]]
        assert np.mean(losses[-8:]) < 0.9 * np.mean(losses[:4])
        assert report.metric == ("accuracy" if method == "mlm" else "auc")
        assert report.best is not None
        assert report.first is not None
        assert report.best > report.first
        measured = {int(row["step"]): row[f"dev_{report.metric}"] for row in rows}
        assert float(measured[0]) == report.first
        assert float(measured[report.best_step]) == report.best
        assert report.best == max(float(value) for value in measured.values() if value)
        recipe = json.loads((out / "training.json").read_text("utf-8"))
        assert recipe["method"] == method
        assert recipe["result"]["best"] == report.best
        assert recipe["settings"] == settings.model_dump()
        assert len(recipe["data"][0]) == 64
        assert {path.name for path in (out / "training").iterdir()} == {
            *("lock", "metrics.csv", "recipe.json", "tensorboard"),
        }
        encoder = simsearch.SentenceEncoder.load(out)
        assert encoder.encode(["张 三", "dog"]).shape == (2, 12)
        if method == "mlm":
            assert len(encoder.fill_mask("a [MASK] b")) == 5

    def test_the_best_step_is_what_is_kept(
        self, files: Path, tiny_bert: Path, tmp_path: Path
    ) -> None:
        """A dev score computed by the encoder itself is the one that the report names."""
        report = run("cosent", files, tiny_bert, tmp_path / "a")
        lines = (files / "cosent.tsv").read_text("utf-8").splitlines()
        labels, first, second = zip(*(line.split("\t") for line in lines), strict=True)
        encoder = simsearch.SentenceEncoder.load(tmp_path / "a", precision="float32")
        cosines = (encoder.encode(first) * encoder.encode(second)).sum(axis=1)
        ones = cosines[np.array(labels) == "1"]
        zeros = cosines[np.array(labels) == "0"]
        auc = np.mean(ones[:, None] > zeros[None, :])
        assert report.best == pytest.approx(auc, abs=2e-3)

    def test_bert4keras_alone_loads_the_result(
        self, files: Path, tiny_bert: Path, tmp_path: Path
    ) -> None:
        run("cosent", files, tiny_bert, tmp_path / "a")
        encoder = simsearch.SentenceEncoder.load(tmp_path / "a", precision="float32", pooling="cls")
        (ids,) = encoder.token_ids(["the dog bit"])
        config, prefix = tmp_path / "a" / "bert_config.json", tmp_path / "a" / "bert_model.ckpt"
        with warnings.catch_warnings():  # bert4keras leaves a file open, for one
            warnings.simplefilter("ignore")
            model = build_transformer_model(str(config), str(prefix))
        states = model.predict([np.array([ids]), np.zeros((1, len(ids)))], verbose=0)
        vector = states[0, 0] / np.linalg.norm(states[0, 0])
        assert encoder.encode(["the dog bit"])[0] == pytest.approx(vector, abs=1e-5)

    def test_albert(self, files: Path, tiny_albert: Path, tmp_path: Path) -> None:
        settings = FAST.model_copy(update={"layer_decay": 0.9, "epochs": 1})
        report = run("mlm", files, tiny_albert, tmp_path / "a", settings, judged=False)
        assert (report.best_step, report.metric, report.first, report.best) == (4, None, None, None)
        before, after = weights(tiny_albert), weights(tmp_path / "a")
        assert after.keys() == before.keys() - {
            "bert/pooler/dense/kernel",
            "bert/pooler/dense/bias",
        }
        assert all((after[name] != before[name]).any() for name in without_key_biases(after))

    def test_from_scratch_needs_no_weights(self, files: Path, tmp_path: Path) -> None:
        folder = tmp_path / "new"
        folder.mkdir()
        (folder / "bert_config.json").write_text(json.dumps(config_of(TINY_BERT)), "utf-8")
        (folder / "vocab.txt").write_text("\n".join(PIECES) + "\n", "utf-8")
        settings = FAST.model_copy(update={"learning_rate": 1e-9, "epochs": 1})
        run("mlm", files, folder, tmp_path / "a", settings, from_scratch=True)
        begun = weights(tmp_path / "a")
        table = begun["bert/embeddings/word_embeddings"]
        assert np.abs(table).max() <= 0.0401
        assert table.std() == pytest.approx(0.02 * 0.88, rel=0.1)  # of a normal cut off at 2
        assert (begun["bert/embeddings/LayerNorm/gamma"] > 0.999).all()
        with pytest.raises(CheckpointError, match=r"no file bert_model\.ckpt"):
            run("mlm", files, folder, tmp_path / "b", settings)


class TestSameWeights:
    @pytest.mark.parametrize("method", METHODS)
    def test_twice_the_second_time_interrupted(
        self, method: TrainingMethod, files: Path, tiny_bert: Path, tmp_path: Path
    ) -> None:
        settings = FAST.model_copy(update={"evaluate_every": 3, "accumulate": 2})
        run(method, files, tiny_bert, tmp_path / "a", settings)

        def kill(done: int, total: int) -> None:
            if done == 10:
                raise Killed

        with pytest.raises(Killed):
            run(method, files, tiny_bert, tmp_path / "b", settings, progress=kill)
        with pytest.raises(CheckpointError):
            load_checkpoint(tmp_path / "b")
        seen: list[int] = []
        run(
            method, files, tiny_bert, tmp_path / "b", settings,
            progress=lambda done, total: seen.append(done),
        )  # fmt: skip
        assert seen == [10, 11, 12]  # the state of step 9 was saved
        first = weights(tmp_path / "a")
        assert same(first, weights(tmp_path / "b"))
        assert rows_of(tmp_path / "a") == rows_of(tmp_path / "b")

    def test_another_seed_gives_others(self, files: Path, tiny_bert: Path, tmp_path: Path) -> None:
        run("cosent", files, tiny_bert, tmp_path / "a")
        run("cosent", files, tiny_bert, tmp_path / "b", FAST.model_copy(update={"seed": 1}))
        assert not same(weights(tmp_path / "a"), weights(tmp_path / "b"))

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

    def batch(self, rows: np.ndarray, seed: object) -> dict[str, np.ndarray]:
        random = np.random.default_rng(rows.tolist())
        return {"ids": random.integers(5, 20, (len(rows), 6)).astype(np.int32)}

    def loss(self, model: TrainableModel, batch: Mapping[str, Any], replicas: Replicas) -> Any:
        return tf.reduce_mean(model.pooled(batch["ids"]) ** 2) / replicas.count


def stepped(tiny_bert: Path, batches: list[dict[str, np.ndarray]]) -> tuple[float, Weights]:
    """The loss, and what two steps on these parts make of the model, without dropout."""
    checkpoint = load_checkpoint(tiny_bert)
    variables = bert.read_variables(checkpoint, backbone_shapes(checkpoint.architecture))
    model = TrainableModel(checkpoint, variables, ("mean@3",))
    optimizer = Optimizer(
        model.variables, model.depths, rate=1e-3, warmup=0, total=9, decay=1, weight_decay=0
    )
    step = Step(model, Squares(), optimizer, bert.devices(), parts=len(batches), clip=1.0)
    loss = step(batches, (0, 0))
    step(batches, (0, 1))
    return loss, model.values()


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
from simsearch.bert.backend import tf
if sys.argv[4] == "2":
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from simsearch import bert
from simsearch.config import EncoderSettings, TrainSettings
from simsearch.pipeline import train
assert bert.devices().count == int(sys.argv[4])
model, files, out = map(Path, sys.argv[1:4])
for method in ("cosent", "contrastive", "mlm"):
    data = files / (f"{method}.txt" if method == "mlm" else f"{method}.tsv")
    train(
        method, [data], out / method, encoder=EncoderSettings(model=str(model)),
        settings=TrainSettings(
            batch_size=16, accumulate=2, learning_rate=1e-4, dropout=0, weight_decay=0
        ),
    )
"""


def test_two_devices_learn_what_one_does(files: Path, tiny_bert: Path, tmp_path: Path) -> None:
    """In processes of their own, as TensorFlow fixes its devices when it begins."""
    for count in ("1", "2"):
        argv = [sys.executable, "-c", TWO_DEVICES, tiny_bert, files, tmp_path / count, count]
        subprocess.run(argv, check=True)
    before = weights(tiny_bert)
    for method in ("cosent", "contrastive", "mlm"):
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
        run("cosent", files, tiny_bert, tmp_path / "a")
        with pytest.raises(SettingsError, match="holds a checkpoint already"):
            run("cosent", files, tiny_bert, tmp_path / "a")

    def test_two_at_once(self, files: Path, tiny_bert: Path, tmp_path: Path) -> None:
        def again(done: int, total: int) -> None:
            run("cosent", files, tiny_bert, tmp_path / "a")

        with pytest.raises(SettingsError, match="another process is training it"):
            run("cosent", files, tiny_bert, tmp_path / "a", progress=again)

    def test_a_rate_that_explodes(self, files: Path, tiny_bert: Path, tmp_path: Path) -> None:
        settings = FAST.model_copy(update={"learning_rate": 1e38})
        with pytest.raises(SettingsError, match=r"the loss of step \d+ is nan; try a smaller"):
            run("mlm", files, tiny_bert, tmp_path / "a", settings)


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
