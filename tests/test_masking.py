"""Masking of whole words: which pieces hang together, and how many are hidden."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from simsearch.checkpoint import load_checkpoint
from simsearch.tokenizer import Tokenizer
from simsearch.training.masking import MaskedLanguageModel, whole_words
from simsearch.training.tokens import Tokens

rjieba = pytest.importorskip("rjieba")


@pytest.fixture(scope="module")
def tokens() -> Tokens:
    return Tokens(load_checkpoint("zhen-small"))


def words_of(tokenizer: Tokenizer, text: str, most: int = 1000) -> list[str]:
    """The words as people read them."""
    (ids,) = tokenizer.encode([text]).ids
    (pieces,) = tokenizer.pieces([text])
    names = tokenizer.tokens(ids[1:-1])
    words = whole_words(pieces, most)
    assert sorted(place for word in words for place in word) == list(range(min(most, len(names))))
    return ["".join(names[place] for place in word).replace("##", "") for word in words]


def test_chinese_words_hang_together(tokens: Tokens) -> None:
    assert words_of(tokens.tokenizer, "我们在北京大学学习。") == [
        "我们",
        "在",
        "北京大学",
        "学习",
        "。",
    ]


def test_pieces_of_english_words_hang_together(tokens: Tokens) -> None:
    (pieces,) = tokens.tokenizer.pieces(["Unbelievableness is a word"])
    words = whole_words(pieces, 1000)
    assert len(words) == 4
    assert len(words[0]) > 1
    assert words_of(tokens.tokenizer, "Unbelievableness is a word") == [
        *("unbelievableness", "is", "a", "word"),
    ]


def test_a_mix_with_digits_and_characters_that_change_length_when_lowered(tokens: Tokens) -> None:
    words = words_of(tokens.tokenizer, "İstanbul的人工智能GPT4很好用!")
    assert words[-1] == "!"
    assert "人工智能" in words
    assert "的" in words


def test_what_is_cut_off_is_no_place(tokens: Tokens) -> None:
    assert words_of(tokens.tokenizer, "我们在北京大学学习。", most=5) == ["我们", "在", "北京"]


def test_an_empty_text_has_no_words(tokens: Tokens) -> None:
    assert words_of(tokens.tokenizer, " ") == []


class TestBatch:
    TEXTS = (
        "我们在北京大学学习自然语言处理。",
        "The committee postponed its decision.",
        "",
        "好",
    ) * 50

    def test_targets_are_what_was_there_and_nothing_else_changes(self, tokens: Tokens) -> None:
        method = MaskedLanguageModel(self.TEXTS, tokens, 0.15)
        batch = method.batch(np.arange(200), (0, 1, 2))
        plain = tokens.padded(self.TEXTS, "document")
        asked = batch["targets"] >= 0
        assert (np.where(asked, batch["targets"], batch["ids"]) == plain).all()
        assert not asked[plain <= 0].any()
        cls, sep = plain[0, 0], plain[0][plain[0] > 0][-1]
        assert not asked[(plain == cls) | (plain == sep)].any()

    def test_shares_are_as_the_paper_says(self, tokens: Tokens) -> None:
        texts = self.TEXTS[:2] * 2000
        batch = MaskedLanguageModel(texts, tokens, 0.15).batch(np.arange(4000), (0,))
        asked = batch["targets"] >= 0
        kept = batch["ids"] == batch["targets"]
        masked = batch["ids"] == tokens.tokenizer.mask
        assert (asked & masked).sum() / asked.sum() == pytest.approx(0.8, abs=0.02)
        assert (asked & kept).sum() / asked.sum() == pytest.approx(0.1, abs=0.015)
        words = tokens.padded(texts, "document").astype(bool).sum() - 2 * len(texts)
        # a word at a time, so that a text gets more than its share
        assert 0.15 <= asked.sum() / words <= 0.26

    def test_whole_words_are_hidden(self, tokens: Tokens) -> None:
        texts = ["我们在北京大学学习自然语言处理。"] * 300
        batch = MaskedLanguageModel(texts, tokens, 0.15).batch(np.arange(300), (5,))
        (pieces,) = tokens.tokenizer.pieces(texts[:1])
        seen = set()
        for asked in batch["targets"][:, 1:] >= 0:
            for word in whole_words(pieces, 100):
                assert asked[word].all() or not asked[word].any()
                seen.add((len(word), bool(asked[word].all())))
        assert (4, True) in seen

    def test_it_follows_from_the_seed(self, tokens: Tokens) -> None:
        method = MaskedLanguageModel(self.TEXTS, tokens, 0.15)
        first, again, other = (
            method.batch(np.arange(200), seed) for seed in ((0, 1, 2), (0, 1, 2), (0, 2, 2))
        )
        assert all((first[name] == again[name]).all() for name in first)
        assert any((first[name] != other[name]).any() for name in first)


def test_a_text_without_words_has_no_target(tokens: Tokens, tmp_path: Path) -> None:
    batch = MaskedLanguageModel(["", " "], tokens, 0.15).batch(np.arange(2), (0,))
    assert (batch["targets"] == -1).all()
