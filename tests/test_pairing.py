"""Cross-encoding: pairs of texts in a tokenizer, and what is refused before training."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simsearch import pipeline
from simsearch.bert.backend import tf
from simsearch.checkpoint import load_checkpoint
from simsearch.config import EncoderSettings, TrainSettings
from simsearch.errors import SettingsError
from simsearch.tokenizer import Tokenizer
from simsearch.training import objectives

CHECKPOINT = load_checkpoint("zhen-small")


def tokenizer(max_length: int) -> Tokenizer:
    return Tokenizer(CHECKPOINT.vocabulary, lower_case=True, max_length=max_length)


class TestTokens:
    def test_two_texts_are_one(self) -> None:
        whole = tokenizer(64)
        batch = whole.encode_pairs([("狗咬人", "人咬 dog")])
        tokens = ["[CLS]", "人", "咬", "dog", "[SEP]", "狗", "咬", "人", "[SEP]"]
        assert whole.tokens(batch.ids[0]) == tokens  # 人 is before 狗 in Unicode
        assert whole.encode_pairs([("人咬 dog", "狗咬人")]) == batch
        assert batch.cut == [False]

    @pytest.mark.parametrize(
        ("first", "second", "kept"),
        [(9, 9, (5, 5)), (9, 2, (8, 2)), (2, 9, (2, 8)), (5, 5, (5, 5)), (4, 9, (4, 6))],
    )
    def test_the_longer_is_cut(self, first: int, second: int, kept: tuple[int, int]) -> None:
        short = tokenizer(13)  # ten pieces beside [CLS] and two [SEP]
        batch = short.encode_pairs([("人" * first, "狗" * second)])
        tokens = short.tokens(batch.ids[0])
        assert (tokens.count("人"), tokens.count("狗")) == kept
        assert batch.cut == [first + second > 10]

    @given(st.lists(st.tuples(st.text(max_size=30), st.text(max_size=30)), max_size=4))
    def test_any_texts(self, pairs: list[tuple[str, str]]) -> None:
        some = tokenizer(16)
        batch = some.encode_pairs(pairs)
        assert len(batch.ids) == len(batch.cut) == len(pairs)
        for (first, second), ids, cut in zip(pairs, batch.ids, batch.cut, strict=True):
            alone = some.counts([first, second])
            assert len(ids) == min(sum(alone) - 1, 16)  # both have [CLS] and [SEP]
            assert cut == (sum(alone) - 1 > 16)

    def test_no_room(self) -> None:
        with pytest.raises(SettingsError, match="no room for two texts"):
            tokenizer(4).encode_pairs([("a", "b")])


def test_yes_or_no_by_hand() -> None:
    # odds of 3 to 1 for a yes, and even odds for something between
    loss = objectives.yes_or_no(tf.constant([math.log(3), 0.0]), tf.constant([1.0, 0.3]))
    np.testing.assert_allclose(loss, -math.log(0.75) - math.log(0.5), rtol=1e-6)


@pytest.mark.parametrize(
    ("train", "dev", "what"),
    [
        ("1\ta\tb\n3\tc\td\n", None, "the training pair 'c', 'd' has the score 3"),
        ("1\ta\tb\n1\tc\td\n", None, "all pairs have the score 1"),
        ("1\ta\tb\n0\tc\td\n", "0.5\ta\tb\n1\tc\td\n", "not of both scores"),
        ("1\ta\tb\n0\tc\td\n", "-1\ta\tb\n1\tc\td\n", "the dev pair 'a', 'b' has the score -1"),
    ],
)
def test_scores_that_are_none(
    tiny_bert: Path, tmp_path: Path, train: str, dev: str | None, what: str
) -> None:
    (tmp_path / "train.tsv").write_text(train, "utf-8")
    held_out = None if dev is None else tmp_path / "dev.tsv"
    if held_out is not None and dev is not None:
        held_out.write_text(dev, "utf-8")
    with pytest.raises(SettingsError, match=re.escape(what)):
        pipeline.train(
            "rerank",
            [tmp_path / "train.tsv"],
            tmp_path / "out",
            dev=held_out,
            encoder=EncoderSettings(model=str(tiny_bert)),
            settings=TrainSettings(batch_size=2),
        )
