"""Hits with the query's words are looked at again, by a comparer whose verdicts are known."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from test_changes import row
from test_store import ENCODER, build

import simsearch
from simsearch.cli.commands import cli
from simsearch.cli.render import print_hits
from simsearch.errors import SettingsError
from simsearch.evaluation.files import RetrievalData
from simsearch.evaluation.tasks import PairsTask, RetrievalTask, WordOrderTask
from simsearch.records import (
    Document,
    Hit,
    Qrel,
    Query,
    SentencePair,
    WordOrderTriple,
    hits_as_json,
)
from simsearch.reranking import OrderReranker, demoted, kept_order
from simsearch.search import Searcher
from simsearch.store import StoredIndex

# of "abc" and "cba": odds of 0.1 to 0.9, and a third of the letters in the same order, not 0.7
CBA = pytest.approx(1 / (1 + 9 * math.exp(3 * (0.7 - 1 / 3))))


class FirstLetter:
    """Says that texts mean the same if they begin alike; every letter is a word."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    def words(self, texts: Sequence[str]) -> list[list[str]]:
        return [[letter for letter in text if letter.isalpha()] for text in texts]

    def same_meaning(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        self.asked += pairs
        return np.array([0.9 if a[0] == b[0] else 0.1 for a, b in pairs])


def hit(text: str, score: float, rank: int = 1) -> Hit:
    return Hit(rank, text, score, 50.0, text)


def longest_common_subsequence(a: str, b: str) -> int:
    """By the recursion that defines it."""
    table = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, j in itertools.product(range(len(a)), range(len(b))):
        same = a[i] == b[j]
        table[i + 1][j + 1] = table[i][j] + 1 if same else max(table[i][j + 1], table[i + 1][j])
    return table[-1][-1]


class TestKeptOrder:
    @pytest.mark.parametrize(
        ("first", "second", "share"),
        [
            ("abc", "abc", 1),
            ("abcd", "dbca", 0.5),  # b and c
            ("abcde", "bcdea", 0.8),  # one that moved
            ("aab", "ab", 0.8),
            ("ab", "cd", 0),
            ("", "ab", 0),
            ("", "", 1),
        ],
    )
    def test_by_hand(self, first: str, second: str, share: float) -> None:
        assert kept_order(first, second) == pytest.approx(share)

    @given(st.text("abc", max_size=70), st.text("abc", max_size=70))
    def test_it_is_the_longest_common_subsequence(self, first: str, second: str) -> None:
        length = longest_common_subsequence(first, second)
        share = 2 * length / max(1, len(first) + len(second)) if first or second else 1
        assert kept_order(first, second) == kept_order(second, first) == pytest.approx(share)


class TestReranker:
    def test_the_same_words_in_another_order_go_down(self) -> None:
        comparer = FirstLetter()
        hits = [hit("cba", 0.99, 1), hit("abc!", 0.98, 2), hit("abcc", 0.7, 3), hit("b", 0.5, 4)]
        found = OrderReranker(comparer).rerank("abc", hits)
        assert [(h.rank, h.text, h.same_words, h.order_score) for h in found] == [
            (1, "abc!", True, 1.0),  # word for word
            (2, "abcc", False, None),
            (3, "cba", True, CBA),  # ordered as by 0.99 * 0.52
            (4, "b", False, None),
        ]
        assert [h.score for h in found] == [0.98, 0.7, 0.99, 0.5]
        assert comparer.asked == [("abc", "cba")]

    def test_what_has_other_words_stays(self) -> None:
        comparer = FirstLetter()
        hits = [hit("xyz", 0.9, 1), hit("uvw", 0.8, 2)]
        found = OrderReranker(comparer).rerank("abc", hits)
        assert found == [replace(h, same_words=False) for h in hits]
        assert comparer.asked == []
        assert OrderReranker(comparer).rerank("abc", []) == []

    def test_of_a_long_document_the_best_chunk_is_read(self) -> None:
        comparer = FirstLetter()
        long = replace(hit("zzzz cba zzzz", 0.9), span=(5, 8))
        (found,) = OrderReranker(comparer).rerank("abc", [long])
        assert (found.same_words, found.order_score) == (True, CBA)
        assert comparer.asked == [("abc", "cba")]

    def test_a_doubt_never_lifts(self) -> None:
        for score in (-0.5, 0.0, 0.3, 12.0):
            assert demoted(score, None) == demoted(score, 1.0) == score
            assert demoted(score, 0.2) <= score
            assert demoted(score, 0.2) <= demoted(score, 0.6)
        assert demoted(0.8, 0.5) == pytest.approx(0.6)


class TestSearch:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        folder = tmp_path / "i"
        build(folder, [row(str(i), text) for i, text in enumerate(["cba", "abc", "abcc", "ccc"])])
        return folder

    def test_in_a_search(self, folder: Path) -> None:
        with Searcher(ENCODER, StoredIndex.open(folder), OrderReranker(FirstLetter())) as searcher:
            plain = searcher.query("abc", k=2)
            assert [(h.text, h.same_words) for h in plain] == [("cba", None), ("abc", None)]
            found = searcher.query("abc", k=2, rerank="order")
            # "cba", the first of equals, was put behind what is beyond k without
            assert [(h.text, h.rank) for h in found] == [("abc", 1), ("abcc", 2)]
            assert searcher.query("  ", rerank="order") == []
            with pytest.raises(SettingsError, match="rerank is 'words'; give one of order"):
                searcher.query("abc", rerank="words")  # type: ignore[arg-type]

    def test_without_a_reranker(self, folder: Path) -> None:
        with (
            Searcher(ENCODER, StoredIndex.open(folder)) as searcher,
            pytest.raises(SettingsError, match="a Searcher that was given a reranker"),
        ):
            searcher.query("abc", rerank="order")


def test_the_embedded_reranker_puts_swapped_roles_down(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("The dog bit the man.\nThe man bit the dog.\n今天天气很好。\n", "utf-8")
    simsearch.build(corpus, tmp_path / "i")
    with simsearch.open_index(tmp_path / "i") as searcher:
        plain = searcher.query("the man bit the dog", k=3)
        assert plain[0].score - plain[1].score < 0.02
        found = searcher.query("the man bit the dog", k=3, rerank="order")
    by_text = {h.text: (h.rank, h.same_words) for h in found}
    assert by_text["The man bit the dog."] == (1, True)
    assert by_text["The dog bit the man."] == (3, True)
    (swap,) = (h for h in found if h.text == "The dog bit the man.")
    assert swap.order_score is not None
    assert swap.order_score < 0.1


class TestEvaluation:
    """An encoder that sees no order, with a comparer that does."""

    def test_pairs(self) -> None:
        pairs = [
            SentencePair(1, "abc", "acb"),
            SentencePair(0, "abc", "bca"),
            SentencePair(1, "cab", "cba"),
            SentencePair(0, "cab", "abc"),
        ]
        task = PairsTask("p", pairs)
        assert task.run(ENCODER).metrics["auc"] == 0.5
        assert task.run(ENCODER, OrderReranker(FirstLetter())).metrics["auc"] == 1

    def test_word_order(self) -> None:
        # the paraphrase has a letter more, so that its cosine is lower than the swap's
        triples = [
            WordOrderTriple("1", "en", "t", "abc", "abcca", "bac"),
            WordOrderTriple("2", "en", "t", "cab", "cabba", "acb"),
        ]
        task = WordOrderTask("w", triples)
        assert task.run(ENCODER).metrics["triplet_accuracy"] == 0
        assert task.run(ENCODER, OrderReranker(FirstLetter())).metrics["triplet_accuracy"] == 1

    def test_retrieval(self) -> None:
        documents = [Document("1", "cba"), Document("2", "abc"), Document("3", "xyz")]
        data = RetrievalData(documents, [Query("q", "acb")], [Qrel("q", "2", 1)])
        task = RetrievalTask("r", data)
        assert task.run(ENCODER).metrics["mrr@10"] == 0.5
        assert task.run(ENCODER, OrderReranker(FirstLetter())).metrics["mrr@10"] == 1


class TestShown:
    def test_as_json(self) -> None:
        hits = OrderReranker(FirstLetter()).rerank("abc", [hit("cba", 0.9), hit("xyz", 0.2)])
        first, second = json.loads(json.dumps(hits_as_json("abc", hits)))["hits"]
        assert (first["same_words"], first["order_score"]) == (True, CBA)
        assert second["same_words"] is False
        assert "order_score" not in second
        (plain,) = hits_as_json("abc", [hit("cba", 0.9)])["hits"]
        assert not {"same_words", "order_score"} & set(plain)

    def test_as_a_table(self, capsys: pytest.CaptureFixture[str]) -> None:
        print_hits("abc", OrderReranker(FirstLetter()).rerank("abc", [hit("cba", 0.9)]))
        assert "cba (the same words, another meaning)" in capsys.readouterr().out
        print_hits("abc", OrderReranker(FirstLetter()).rerank("abc", [hit("acb", 0.9)]))
        assert "another meaning" not in capsys.readouterr().out

    def test_the_option_is_listed(self) -> None:
        shown = CliRunner().invoke(cli, ["query", "--help"]).output
        assert "--rerank [order]" in shown
        assert "--reranker M" in shown
