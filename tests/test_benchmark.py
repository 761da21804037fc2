"""Sweeps over strategies: one pass over the model, kept between runs; and what is made of them."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_disk import files_of_at_most, needs_limits

import simsearch
from simsearch import backbone_cache, pipeline
from simsearch.backbone import Backbone
from simsearch.backbone_cache import Cost, trim_pooled
from simsearch.config import POOLINGS, EncoderSettings, load_settings
from simsearch.errors import SettingsError
from simsearch.evaluation.comparison import compare
from simsearch.evaluation.recommendation import config_lines, recommend
from simsearch.evaluation.report import render_page
from simsearch.evaluation.results import BenchmarkResult, Strategy
from simsearch.evaluation.tasks import Failure, PairsTask, TaskResult
from simsearch.pipeline import Sweep
from simsearch.records import SentencePair
from simsearch.sentence_encoder import SentenceEncoder
from simsearch.whitening import Whitening

WORDS = ("the", "dog", "man", "a", "b", "c", "d", "e", "f")
TEXTS = [f"{a} {b} {c}" for a in WORDS[:3] for b in WORDS[3:6] for c in WORDS[6:]]  # 27 texts
PAIRS = [SentencePair(i % 5, TEXTS[i], TEXTS[-1 - i]) for i in range(13)]
TASK = PairsTask("pairs", PAIRS)  # 26 texts
TRAINING = [f"{a} {b}" for a in WORDS for b in WORDS] + TEXTS[:3]


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_bert: Path) -> EncoderSettings:
    """The tiny BERT, of whose hidden states nothing is known yet."""
    monkeypatch.setattr(backbone_cache, "_root", lambda: tmp_path / "pooled")
    return EncoderSettings(model=str(tiny_bert), precision="float32")


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], list[str]]]:
    """(texts, heads) of every pass over a model."""
    seen: list[tuple[list[str], list[str]]] = []
    plain = Backbone.pooled

    def watched(self: Backbone, texts: Any, heads: Any, *rest: Any) -> Any:
        seen.append((list(texts), list(heads)))
        return plain(self, texts, heads, *rest)

    monkeypatch.setattr(Backbone, "pooled", watched)
    return seen


def loaded(settings: EncoderSettings, **options: Any) -> SentenceEncoder:
    return SentenceEncoder.load(settings.model, precision="float32", **options)


# One pass


def test_nine_poolings_need_one_pass(fresh, passes) -> None:
    results = simsearch.benchmark([TASK], [fresh], Sweep(POOLINGS))
    assert [str(r.strategy) for r in results] == list(POOLINGS)
    ((texts, heads),) = passes
    assert texts == TASK.inputs["query"]
    assert len(heads) == len(set(heads)) == 9  # the two means of two states share a head with mean


def test_a_sweep_finds_what_each_encoder_finds_alone(fresh) -> None:
    for result in simsearch.benchmark([TASK], [fresh], Sweep(POOLINGS)):
        encoder = loaded(fresh, pooling=result.strategy.pooling)
        alone = TASK.run(encoder)
        assert result.result.metrics == pytest.approx(alone.metrics, abs=1e-6)
        assert result.fingerprint == encoder.fingerprint
        assert result.dim == encoder.dim


def test_a_second_run_computes_nothing_and_finds_the_same(fresh, passes) -> None:
    first = simsearch.benchmark([TASK], [fresh], Sweep(POOLINGS))
    passes.clear()
    second = simsearch.benchmark([TASK], [fresh], Sweep(POOLINGS))
    assert passes == []
    for before, after in zip(first, second, strict=True):
        np.testing.assert_equal(before.result.metrics, after.result.metrics)
        assert before.cost == after.cost


def test_another_pooling_computes_its_own_heads_only(fresh, passes) -> None:
    simsearch.benchmark([TASK], [fresh], Sweep(["mean", "cls"]))
    passes.clear()
    simsearch.benchmark([TASK], [fresh], Sweep(["mean", "cls", "last2_mean"]))
    assert [heads for _, heads in passes] == [["mean@2"]]


def test_an_interrupted_run_goes_on(fresh, passes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backbone_cache, "_BLOCK", 8)

    def stop(done: int, total: int | None) -> None:
        if done > 16:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simsearch.benchmark([TASK], [fresh], Sweep(["mean"]), stop)
    assert len(passes) == 3
    passes.clear()
    results = simsearch.benchmark([TASK], [fresh], Sweep(["mean"]))
    assert [len(texts) for texts, _ in passes] == [8, 2]  # the third block was not finished
    expected = TASK.run(loaded(fresh, pooling="mean")).metrics
    assert results[0].result.metrics == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("damage", [b"", b"\x93NUMPY", None])
def test_a_damaged_block_is_computed_again(fresh, passes, damage: bytes | None) -> None:
    (before,) = simsearch.benchmark([TASK], [fresh], Sweep(["mean"]))
    (file,) = backbone_cache._root().glob("*/*/mean@3.npy")
    if damage is None:
        np.save(file, np.zeros((3, 4), np.float32))  # of other texts
    else:
        file.write_bytes(damage)
    passes.clear()
    (after,) = simsearch.benchmark([TASK], [fresh], Sweep(["mean"]))
    assert len(passes) == 1
    assert after.result.metrics == before.result.metrics


@needs_limits
def test_a_full_disk_is_a_message_and_no_half_a_block(fresh, passes) -> None:
    with files_of_at_most(100), pytest.raises(SettingsError, match="the cache cannot be written"):
        simsearch.benchmark([TASK], [fresh], Sweep(["mean", "cls"]))
    passes.clear()
    simsearch.benchmark([TASK], [fresh], Sweep(["mean", "cls"]))
    assert len(passes) == 1


def test_other_weights_and_other_lengths_share_nothing(fresh, passes, tiny_albert: Path) -> None:
    for settings in (
        fresh,
        fresh.model_copy(update={"max_length": 4}),
        fresh.model_copy(update={"model": str(tiny_albert)}),
        fresh.model_copy(update={"runtime": "tensorflow"}),
    ):
        simsearch.benchmark([TASK], [settings], Sweep(["mean"]))
    assert len(passes) == 4


def test_cut_texts_are_counted_from_the_cache_too(fresh) -> None:
    short = fresh.model_copy(update={"max_length": 4})
    for _ in range(2):
        (result,) = simsearch.benchmark([TASK], [short], Sweep(["mean"]))
        assert "cut to the model's length of 4 tokens: 26 of the texts" in result.result.notes


def test_what_was_not_asked_for_the_longest_is_forgotten_first(fresh) -> None:
    tasks = [PairsTask(str(i), PAIRS[i : i + 1]) for i in range(3)]
    for task in [*tasks, tasks[0]]:
        simsearch.benchmark([task], [fresh], Sweep(["mean"]))
    kept = sorted(backbone_cache._root().glob("*/*"), key=lambda f: f.stat().st_mtime_ns)
    assert len(kept) == 3
    size = sum(file.stat().st_size for file in kept[-1].iterdir())
    trim_pooled(1.5 * size / 2**30)
    assert list(backbone_cache._root().glob("*/*")) == kept[-1:]
    trim_pooled(0)
    assert list(backbone_cache._root().glob("*/*")) == []


def test_the_cost_is_that_of_the_one_pass(fresh) -> None:
    results = simsearch.benchmark([TASK], [fresh], Sweep(POOLINGS))
    (cost,) = {r.cost for r in results}
    tokens = sum(map(len, loaded(fresh).token_ids(TASK.inputs["query"])))
    assert (cost.texts, cost.tokens) == (26, tokens)
    assert cost.seconds > 0


def test_progress_counts_all_texts(fresh) -> None:
    seen: list[tuple[int, int | None]] = []
    sweep = Sweep(POOLINGS, whiten_on=TRAINING)
    simsearch.benchmark([TASK], [fresh], sweep, lambda *args: seen.append(args))
    training = set(TRAINING) - set(TASK.inputs["query"])
    assert {total for _, total in seen} == {26 + len(training)}
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1][0] == 26 + len(training)


# Layers


def strategies(settings: EncoderSettings, sweep: Sweep) -> list[str]:
    return [str(r.strategy) for r in simsearch.benchmark([TASK], [settings], sweep)]


def test_each_layer_is_read_besides_the_poolings_own(fresh) -> None:
    sweep = Sweep(["static_mean", "mean", "first_last_mean"], layers=[None, "each"])
    assert strategies(fresh, sweep) == [
        *("static_mean", "mean", "mean @0", "mean @1", "mean @2"),  # mean @3 is mean
        "first_last_mean",  # of one state it is mean
    ]


def test_given_layers_take_the_place_of_the_poolings_own(fresh) -> None:
    assert strategies(fresh, Sweep(["mean", "max"], layers=[(0, -1)])) == [
        "mean @0,-1",
        "max @0,-1",
    ]
    with pytest.raises(SettingsError, match="does not read hidden states"):
        strategies(fresh, Sweep(["static_mean"], layers=[(0,)]))


def test_without_poolings_each_model_has_its_own(fresh) -> None:
    own = fresh.model_copy(update={"pooling": "max", "layers": [1]})
    assert strategies(own, Sweep()) == ["max @1"]


# Whitening


def test_whitening_is_fitted_on_training_texts_that_are_not_scored(fresh) -> None:
    plain, whitened, cut = simsearch.benchmark(
        [TASK], [fresh], Sweep(["mean"], whiten_on=TRAINING, dims=[None, 3])
    )
    kept = [text for text in TRAINING if text not in TASK.inputs["query"]]
    assert plain.whitening is None
    assert whitened.whitening.rows == len(kept) == len(TRAINING) - 3
    expected = loaded(fresh, pooling="mean").fit_whitening(kept)
    np.testing.assert_allclose(whitened.whitening.mean, expected.mean, atol=1e-6)
    assert (str(whitened.strategy), str(cut.strategy)) == ("mean whitened", "mean whitened 3")
    assert (plain.dim, whitened.dim, cut.dim) == (12, whitened.whitening.rank, 3)
    alone = TASK.run(loaded(fresh, pooling="mean", whitening=cut.whitening))
    assert cut.result.metrics == pytest.approx(alone.metrics, abs=1e-5)
    note = "3 of the training texts are texts of these tasks and were left out of the whitening"
    assert note in cut.result.notes
    assert note not in plain.result.notes


# Comparing


def result_of(
    values: Sequence[float], *, name: str = "t", kind: Any = "pairs", **changes: Any
) -> TaskResult:
    """A result whose primary metric is the mean of these values."""
    numbers = np.array(values, np.float64)
    rng = np.random.default_rng(0)
    draws = np.array(
        [numbers[rng.integers(0, len(numbers), len(numbers))].mean() for _ in range(99)]
    )
    mean = float(numbers.mean())
    return TaskResult(
        name, kind, len(values), "m", {"m": mean}, {"m": (mean, mean)}, {"m": draws}, **changes
    )


RIGHT, WRONG = [1.0] * 90 + [0.0] * 10, [1.0] * 30 + [0.0] * 70


def test_the_best_is_compared_with_nobody_and_the_others_with_it() -> None:
    nearly = [*RIGHT[1:], 0.0]
    worse, best, close = compare(
        [("a", result_of(WRONG)), ("b", result_of(RIGHT)), ("c", result_of(nearly))]
    )
    assert best is None
    assert (worse.best, worse.metric) == ("b", "m")
    assert worse.difference.value == pytest.approx(-0.6)
    assert worse.clearly_worse
    assert close.difference.value == pytest.approx(-0.01)
    assert not close.clearly_worse


def test_an_undefined_metric_is_compared_with_nobody() -> None:
    undefined = replace(result_of(RIGHT), metrics={"m": float("nan")})
    assert compare([("a", undefined), ("b", result_of(WRONG))]) == [None, None]
    assert compare([("a", undefined)]) == [None]


def test_pairs_of_one_label_have_no_best() -> None:
    one_label = replace(result_of(RIGHT, name="same"), primary=None)
    assert compare([("a", one_label), ("b", one_label)]) == [None, None]
    plain = outcome("mean", RIGHT)
    results = compared(replace(plain, result=one_label), outcome("max", WRONG), plain)
    assert recommend(results).tasks == ("t",)
    assert "same" in page_of(results).words
    alone = compared(replace(plain, result=one_label))
    assert recommend(alone) is None
    assert "same" in Page(render_page(alone, None, [], [])).words


# Recommending


def outcome(
    pooling: str,
    values: Sequence[float],
    *,
    dim: int = 384,
    depth: int = 6,
    whitening: Whitening | None = None,
    **changes: Any,
) -> BenchmarkResult:
    cut = whitening is not None and whitening.rank < len(whitening.mean) - 2
    strategy = Strategy(pooling, whitened=whitening is not None, dim=dim if cut else None)
    result = result_of(values, **changes)
    return BenchmarkResult(
        "模型", strategy, "f" * 64, dim, depth, result, Cost(1, 2, 3.0), whitening
    )


def compared(*results: BenchmarkResult) -> list[BenchmarkResult]:
    return pipeline.measuring._compared(results, [r.result.task for r in results])


def test_of_equals_the_cheapest_is_recommended() -> None:
    small = Whitening(np.zeros(384, np.float32), np.eye(384, 64, dtype=np.float32), "e", 9)
    nearly = [*RIGHT[1:], 0.0]
    results = compared(
        outcome("mean", RIGHT),
        outcome("cls", nearly, depth=5),
        outcome("max", WRONG, dim=32),
        outcome("mean", nearly, dim=64, whitening=small),
    )
    found = recommend(results)
    assert str(found.choice.strategy) == "mean whitened 64"  # 64 dimensions, and not clearly worse
    assert (found.tied, found.only_word_order) == (3, False)
    assert str(recommend(results[:3]).choice.strategy) == "cls"  # a layer less


def test_a_dimension_that_a_whitening_lost_does_not_make_it_cheaper() -> None:
    whole = Whitening(np.zeros(384, np.float32), np.eye(384, 383, dtype=np.float32), "e", 9)
    nearly = [*RIGHT[1:], 0.0]
    results = compared(outcome("cls", RIGHT), outcome("cls", nearly, dim=383, whitening=whole))
    found = recommend(results)
    assert (str(found.choice.strategy), found.tied) == ("cls", 2)


def test_who_is_beaten_somewhere_is_recommended_only_if_everybody_is() -> None:
    results = compared(
        outcome("mean", RIGHT, name="a"),
        outcome("cls", WRONG, name="a"),
        outcome("mean", WRONG, name="b"),
        outcome("cls", [1.0] * 50 + [0.0] * 50, name="b"),
    )
    found = recommend(results)
    assert (found.choice.strategy.pooling, found.tied) == ("mean", 0)
    assert found.score == pytest.approx((0.9 + 0.3) / 2)


def test_word_order_decides_only_where_nothing_else_was_measured() -> None:
    order = [
        outcome("mean", WRONG, name="word-order", kind="word-order"),
        outcome("cls", RIGHT, name="word-order", kind="word-order"),
    ]
    pairs = [outcome("mean", RIGHT), outcome("cls", WRONG)]
    assert recommend(compared(*order, *pairs)).choice.strategy.pooling == "mean"
    found = recommend(compared(*order))
    assert (found.choice.strategy.pooling, found.only_word_order) == ("cls", True)
    assert recommend([]) is None


@pytest.mark.parametrize(
    "model", ["zhen-small", "hfl/chinese-roberta", "it's here", "模型 一", "123", "null", "a: b"]
)
def test_the_lines_for_config_yaml_are_read_as_they_were_meant(tmp_path: Path, model: str) -> None:
    choice = replace(outcome("max", RIGHT, dim=64), model=model)
    choice = replace(choice, strategy=Strategy("max", (0, -1), whitened=True, dim=64))
    file = tmp_path / "config.yaml"
    file.write_text("\n".join(config_lines(choice, "out/w: 1.npz")), "utf-8")
    encoder = load_settings(file, {}).encoder
    assert (encoder.model, encoder.pooling, encoder.layers) == (model, "max", [0, -1])
    assert (encoder.whitening, encoder.dim) == ("out/w: 1.npz", 64)


# The report


class Page(HTMLParser):
    """Collects what a page would fetch or run, its cells and its headings."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.outside: list[str] = []
        self.tags: list[str] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.outside += [v or "" for k, v in attrs if k in ("src", "href", "xlink:href", "action")]

    def handle_data(self, data: str) -> None:
        self.words.append(data)


HOSTILE = "<script>alert('$x_1$')</script> & 张三"


def page_of(results: Sequence[BenchmarkResult]) -> Page:
    found = recommend(results)
    return Page(render_page(results, found, config_lines(found.choice, None), [("date", "today")]))


def test_the_page_holds_everything_and_escapes_every_text() -> None:
    failure = Failure(
        HOSTILE, {"sentence": HOSTILE, "swap": HOSTILE}, {"swap": 0.25}, {"x": HOSTILE}
    )
    order = result_of(
        RIGHT,
        name=HOSTILE,
        kind="word-order",
        notes=(HOSTILE,),
        failures=(failure,),
        breakdown={"zh": {"triplet_accuracy": 0.5}, f"zh/{HOSTILE}": {"triplet_accuracy": 0.5}},
        distributions={"swap": np.array([0.9, 1.0]), "paraphrase": np.array([0.5, 0.7])},
    )
    base = replace(outcome("mean", RIGHT), model=HOSTILE)
    page = page_of(compared(replace(base, result=order), base, outcome("cls", WRONG)))
    assert "script" not in page.tags
    assert all(link.startswith(("#", "data:image/png;base64,")) for link in page.outside)
    assert page.tags.count("svg") >= 3  # overview, phenomena, distributions
    assert "".join(page.words).count(HOSTILE) >= 5
    assert "cosine 0.2500" in page.words


def test_a_page_of_the_same_results_is_the_same() -> None:
    results = compared(outcome("mean", RIGHT), outcome("cls", WRONG))
    pages = [render_page(results, recommend(results), ["a"], []) for _ in range(2)]
    assert pages[0] == pages[1]


def test_a_benchmark_writes_results_report_and_the_whitening_that_it_recommends(
    fresh, tmp_path: Path
) -> None:
    sweep = Sweep(["static_mean", "mean"], whiten_on=TRAINING, dims=[2])
    results = simsearch.benchmark([TASK], [fresh], sweep)
    out = tmp_path / "报告"
    pipeline.check_report_folder(out)
    jsonl, html = pipeline.write_report(results, out)
    rows = [json.loads(line) for line in jsonl.read_text("utf-8").splitlines()]
    assert [(r["pooling"], r["dim"]) for r in rows] == [
        *(("static_mean", 12), ("static_mean", 2), ("mean", 12), ("mean", 2)),
    ]
    assert [r["comparison"] is None for r in rows].count(True) == 1
    page = html.read_text("utf-8")
    (block,) = re.findall("<pre>(.*?)</pre>", page, re.DOTALL)
    choice = recommend(results).choice
    if choice.whitening is not None:
        saved = Whitening.load(out / "whitening.npz")
        assert saved.hash == choice.whitening.hash
        assert f"dim: {choice.dim}" in block
    assert f"pooling: {choice.strategy.pooling}" in block


def test_a_report_that_cannot_be_written_is_refused_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="file"):
        pipeline.check_report_folder(tmp_path / "file")
