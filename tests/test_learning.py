"""Each method of training learns, and what it leaves is a checkpoint that works."""

from __future__ import annotations

import functools
import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from bert4keras.models import build_transformer_model
from checkpoints import PIECES, TINY_BERT, config_of
from click.testing import CliRunner
from training_runs import (
    FAST,
    METHODS,
    data_of,
    rows_of,
    run,
    tagged,
    weights,
    without_key_biases,
    write_files,
)

import simsearch
from simsearch.cli.commands import cli
from simsearch.config import TrainingMethod
from simsearch.errors import CheckpointError, SettingsError
from simsearch.evaluation.files import read_tagged
from simsearch.evaluation.metrics import auc
from simsearch.heads import Head
from simsearch.pipeline import TrainReport
from simsearch.tagging import spans_of


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_files(tmp_path_factory.mktemp("训练 数据"))


# so small a model needs long, tells texts apart less sharply, and not with a part of it left out
LEARNING = {
    "cosent": {"epochs": 12, "learning_rate": 3e-3, "dropout": 0.0},
    "contrastive": {"epochs": 12, "dropout": 0.0, "temperature": 0.2},
    "simcse": {"epochs": 24, "learning_rate": 3e-3},
    "mlm": {"epochs": 12, "learning_rate": 3e-3},
    "distill": {"epochs": 40, "learning_rate": 3e-3, "dropout": 0.0, "temperature": 0.5},
    "classify": {"epochs": 30, "learning_rate": 3e-3, "dropout": 0.0},
    "label": {"epochs": 40, "learning_rate": 3e-3, "dropout": 0.0},
    "rerank": {"epochs": 40, "learning_rate": 3e-3, "dropout": 0.0},
}
Learned = Callable[[TrainingMethod], tuple[Path, TrainReport]]


@pytest.fixture(scope="module")
def learned(files: Path, tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Learned:
    """What each method makes of the model, if it is given time to learn."""

    @functools.cache
    def learned(method: TrainingMethod) -> tuple[Path, TrainReport]:
        out = tmp_path_factory.mktemp("学") / method
        settings = FAST.model_copy(update={**LEARNING[method], "evaluate_every": 12})
        return out, run(method, files, tiny_bert, out, settings)

    return learned


@pytest.fixture(scope="module")
def tuned(learned: Learned) -> Path:
    return learned("cosent")[0]


class TestEachMethod:
    @pytest.mark.parametrize("method", METHODS)
    def test_it_learns_and_the_result_is_a_checkpoint(
        self, method: TrainingMethod, learned: Learned
    ) -> None:
        out, report = learned(method)
        assert report.examples == 64
        assert report.steps == 4 * LEARNING[method]["epochs"]
        rows = rows_of(out)
        losses = [float(row["loss"]) for row in rows if row["loss"]]
        assert np.mean(losses[-len(losses) // 4 :]) < 0.9 * np.mean(losses[: len(losses) // 4])
        metrics = {"mlm": "accuracy", "classify": "accuracy", "label": "f1"}
        assert report.metric == metrics.get(method, "auc")
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
        assert recipe["settings"]["epochs"] == LEARNING[method]["epochs"]
        assert len(recipe["data"][0]) == 64
        assert (out / "head.json").exists() == (method in ("classify", "label", "rerank"))
        assert {path.name for path in (out / "training").iterdir()} == {
            *("lock", "metrics.csv", "recipe.json", "tensorboard"),
        }
        encoder = simsearch.SentenceEncoder.load(out)
        assert encoder.encode(["张 三", "dog"]).shape == (2, 12)
        if method == "mlm":
            assert len(encoder.fill_mask("a [MASK] b")) == 5

    def test_the_best_step_is_what_is_kept(self, files: Path, tuned: Path) -> None:
        """A dev score computed by the encoder itself is the one that the report names."""
        recipe = json.loads((tuned / "training.json").read_text("utf-8"))
        lines = (files / "cosent.tsv").read_text("utf-8").splitlines()
        labels, first, second = zip(*(line.split("\t") for line in lines), strict=True)
        encoder = simsearch.SentenceEncoder.load(tuned, precision="float32")
        cosines = (encoder.encode(first) * encoder.encode(second)).sum(axis=1)
        ones = cosines[np.array(labels) == "1"]
        zeros = cosines[np.array(labels) == "0"]
        auc = np.mean(ones[:, None] > zeros[None, :])
        assert recipe["result"]["best"] == pytest.approx(auc, abs=2e-3)

    def test_bert4keras_alone_loads_the_result(self, tuned: Path) -> None:
        encoder = simsearch.SentenceEncoder.load(tuned, precision="float32", pooling="cls")
        (ids,) = encoder.token_ids(["the dog bit"])
        config, prefix = tuned / "bert_config.json", tuned / "bert_model.ckpt"
        with warnings.catch_warnings():  # bert4keras leaves a file open, for one
            warnings.simplefilter("ignore")
            model = build_transformer_model(str(config), str(prefix))
        states = model.predict([np.array([ids]), np.zeros((1, len(ids)))], verbose=0)
        vector = states[0, 0] / np.linalg.norm(states[0, 0])
        assert encoder.encode(["the dog bit"])[0] == pytest.approx(vector, abs=1e-5)

    def test_a_teacher_that_is_a_model_is_imitated(
        self, files: Path, tiny_bert: Path, tiny_albert: Path, tmp_path: Path
    ) -> None:
        """Their vectors are equally long, so the student's shall become the teacher's."""
        settings = FAST.model_copy(update={"epochs": 20, "learning_rate": 1e-2, "dropout": 0.0})
        out = tmp_path / "a"
        run("distill", files, tiny_bert, out, settings, judged=False, teacher=tiny_albert)
        texts = (files / "distill.txt").read_text("utf-8").splitlines()
        student, before, teacher = (
            simsearch.SentenceEncoder.load(folder, precision="float32").encode(texts)
            for folder in (out, tiny_bert, tiny_albert)
        )
        assert (before * teacher).sum(axis=1).mean() < 0.6
        assert (student * teacher).sum(axis=1).mean() > 0.9
        assert not (out / "training" / "teacher.npy").exists()

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


class TestPrediction:
    def test_classes(self, files: Path, learned: Learned) -> None:
        out, report = learned("classify")
        rows = data_of("classify", files).read_text("utf-8").splitlines()[1:]
        texts, labels = zip(*(row.split(",") for row in rows), strict=True)
        predictor = simsearch.Predictor.load(out, precision="float32")
        assert (predictor.kind, predictor.names) == ("classes", ("a", "没有"))
        found = predictor.classes(texts)
        assert [len(classes) for classes in found] == [2] * 64
        assert all(sum(c.probability for c in classes) == pytest.approx(1) for classes in found)
        assert all(classes[0].probability >= 0.5 for classes in found)
        right = [classes[0].label == label for classes, label in zip(found, labels, strict=True)]
        assert np.mean(right) == report.best
        assert np.mean(right) > 0.9
        assert predictor.classes([]) == []
        with pytest.raises(SettingsError, match="predicts classes, not tags"):
            predictor.entities(["a"])
        one, other = (
            next(
                row.split(",")
                for row, r in zip(rows, right, strict=True)
                if r and row.endswith(end)
            )
            for end in (",a", ",没有")
        )
        result = CliRunner().invoke(cli, ["predict", str(out), one[0], other[0], "--json"])
        first, second = map(json.loads, result.stdout.splitlines())
        assert [first["text"], first["label"]] == one
        assert [second["text"], second["label"]] == other
        assert [c["label"] for c in first["classes"]] == ["a", "没有"]
        plain = CliRunner().invoke(cli, ["predict", str(out)], input=one[0] + "\n")
        assert plain.stdout.split()[1:] == ["a", *one[0].split()]

    def test_entities(self, files: Path, learned: Learned) -> None:
        out, report = learned("label")
        assert report.best == 1
        predictor = simsearch.Predictor.load(out, precision="float32")
        assert (predictor.kind, predictor.names) == ("tags", ("B-对", "E-对", "O", "S-单"))
        texts = [text.units for text in read_tagged(data_of("label", files))]
        wanted = [spans_of([line.split()[1] for line in tagged(" ".join(u))]) for u in texts]
        # a space after each letter, so that letter i is at 2 * i
        for units, spans, found in zip(
            texts, wanted, predictor.entities([" ".join(u) for u in texts]), strict=True
        ):
            assert [(entity.label, entity.span) for entity in found] == [
                (span.name, (2 * span.start, 2 * span.stop - 1)) for span in spans
            ]
            assert [entity.text for entity in found] == [
                " ".join(units[span.start : span.stop]) for span in spans
            ]
        assert predictor.entities(["", "  "]) == [[], []]
        (long,) = predictor.entities(["d " * 100])  # the model reads 14 units
        assert 0 < max(entity.span[1] for entity in long) <= 27
        number = next(i for i, spans in enumerate(wanted) if len(spans) == 1)
        text, (span,) = " ".join(texts[number]), wanted[number]
        start, stop = 2 * span.start, 2 * span.stop - 1
        result = CliRunner().invoke(cli, ["predict", str(out), text, "--json"])
        assert json.loads(result.stdout) == {
            "text": text,
            "entities": [{"label": span.name, "text": text[start:stop], "span": [start, stop]}],
        }
        plain = CliRunner().invoke(cli, ["predict", str(out), text])
        expected = f"{text[:start]}[{text[start:stop]}]{span.name}{text[stop:]}"
        assert plain.stdout == f"{expected}\n"

    def test_pairs(self, files: Path, learned: Learned) -> None:
        out, report = learned("rerank")
        rows = data_of("rerank", files).read_text("utf-8").splitlines()
        labels, *sides = zip(*(row.split("\t") for row in rows), strict=True)
        pairs = list(zip(*sides, strict=True))
        predictor = simsearch.Predictor.load(out, precision="float32")
        assert (predictor.kind, predictor.names) == ("pairs", ("same meaning",))
        found = predictor.same_meaning(pairs)
        turned = predictor.same_meaning([pair[::-1] for pair in pairs])
        np.testing.assert_array_equal(found, turned)
        assert ((found > 0) & (found < 1)).all()
        reached = auc(np.array(labels, float), found)
        assert reached == pytest.approx(report.best, abs=1e-3)
        assert reached > 0.9
        assert len(predictor.same_meaning([])) == 0
        line = "\t".join(pairs[0])
        result = CliRunner().invoke(cli, ["predict", str(out), "--json"], input=line + "\n")
        shown = json.loads(result.stdout)
        assert shown["same_meaning"] == pytest.approx(found[0], abs=1e-3)
        plain = CliRunner().invoke(cli, ["predict", str(out), line])
        assert plain.stdout.split()[:3] == [f"{found[0]:.1%}", "same", "meaning"]
        for wrong in ("a", "a\tb\tc"):
            with pytest.raises(SettingsError, match="expected them with one tab between"):
                simsearch.pipeline.predict(predictor, [wrong])

    def test_a_model_that_predicts_nothing(self, tiny_bert: Path) -> None:
        with pytest.raises(CheckpointError, match="predicts nothing; train a model that does"):
            simsearch.Predictor.load(tiny_bert)

    def test_a_head_that_is_damaged(self, tiny_bert: Path, tmp_path: Path) -> None:
        folder = tmp_path / "a"
        shutil.copytree(tiny_bert, folder)
        values = {
            "head/kernel": np.zeros((12, 2), np.float32),
            "head/bias": np.zeros(2, np.float32),
        }
        Head("classes", ("a", "b"), values).save(folder)
        assert simsearch.Predictor.load(folder).classes(["x"])[0][0].probability == 0.5
        Head("classes", ("a", "b", "c"), values).save(folder)
        with pytest.raises(CheckpointError, match="no layer for 3 names"):
            simsearch.Predictor.load(folder)
        (folder / "head.safetensors").write_bytes(b"nothing")
        with pytest.raises(CheckpointError, match="cannot be read"):
            simsearch.Predictor.load(folder)
