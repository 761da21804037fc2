from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simsearch import batching
from simsearch.batching import batches, padded
from simsearch.runtime.openvino import compiled
from simsearch.sentence_encoder import SentenceEncoder
from simsearch.tokenizer import TokenBatch


def by_character(texts: list[str]) -> TokenBatch:
    """A token a character, cut at 20."""
    return TokenBatch([[ord(c) for c in t[:20]] for t in texts], [len(t) > 20 for t in texts])


def rows_of(tokens: int) -> int:
    return max(1, 64 // tokens)


@given(texts=st.lists(st.text("abc", min_size=1, max_size=30), max_size=60))
def test_every_text_is_in_one_batch_with_its_ids(texts: list[str]) -> None:
    seen = []
    for batch in batches(texts, by_character, rows_of):
        assert batch.ids.dtype == np.int32
        assert len(batch.rows) <= rows_of(batch.ids.shape[1])
        for row, ids, length, cut in zip(
            batch.rows, batch.ids, batch.lengths, batch.cut, strict=True
        ):
            expected = by_character([texts[row]])
            assert (ids[:length].tolist(), cut) == (expected.ids[0], expected.cut[0])
            assert not ids[length:].any()
        seen += batch.rows
    assert sorted(seen) == list(range(len(texts)))


def test_next_to_nothing_is_padding() -> None:
    rng = np.random.default_rng(0)
    texts = ["a" * int(n) for n in np.minimum(rng.geometric(1 / 12, 5000), 20)]
    made = list(batches(texts, by_character, rows_of))
    real = sum(sum(batch.lengths) for batch in made)
    assert real / sum(batch.ids.size for batch in made) > 0.99


def test_a_block_is_tokenized_while_the_one_before_is_used(monkeypatch) -> None:
    monkeypatch.setattr(batching, "_BLOCK", 2)
    second = threading.Event()
    calls = []

    def tokenize(texts: list[str]) -> TokenBatch:
        calls.append(texts)
        if len(calls) == 2:
            second.set()
        return by_character(texts)

    made = batches(["aaa", "bbb", "cc", "dd", "e", "f"], tokenize, lambda tokens: 2)
    next(made)
    assert second.wait(10)  # without another batch being asked for
    assert [batch.rows for batch in made] == [[2, 3], [4, 5]]


def test_only_the_last_batch_is_not_full(monkeypatch) -> None:
    monkeypatch.setattr(batching, "_BLOCK", 7)
    texts = ["a" * (1 + i % 5) for i in range(100)]
    *full, last = batches(texts, by_character, rows_of)
    assert all(len(batch.rows) == rows_of(batch.ids.shape[1]) for batch in full)
    assert len(last.rows) < rows_of(last.ids.shape[1])


def test_an_error_in_tokenizing_ahead_arrives(monkeypatch) -> None:
    monkeypatch.setattr(batching, "_BLOCK", 1)

    def tokenize(texts: list[str]) -> TokenBatch:
        if texts == ["b"]:
            raise ValueError("no")
        return by_character(texts)

    with pytest.raises(ValueError, match="no"):
        list(batches(["aa", "b"], tokenize, rows_of))


def test_padding_comes_after_the_ids() -> None:
    np.testing.assert_array_equal(padded([[7], [8, 9]]), [[7, 0], [8, 9]])


def test_equal_texts_are_computed_once_and_counted_as_often_as_they_come(tiny_bert) -> None:
    encoder = SentenceEncoder.load(tiny_bert, precision="float32")  # 16 positions
    ((runtime, _),) = encoder.backbone._runtimes(encoder.pooling.heads)
    rows: list[int] = []
    run = runtime.run

    def counting(ids):
        rows.append(len(ids))
        return run(ids)

    runtime.run = counting  # type: ignore[method-assign]
    texts = ["a b", "b", "a b", "a " * 99, "a b", "a " * 99]
    seen: list[int] = []
    vectors = encoder.encode(texts, progress=seen.append)
    assert (sum(rows), sum(seen), encoder.truncated) == (3, 6, 2)
    pooled = encoder.backbone.pooled(texts, encoder.pooling.heads, "document")
    assert pooled.tokens == 3 * 4 + 3 + 2 * 16
    np.testing.assert_array_equal(vectors[[2, 4, 5]], vectors[[0, 0, 3]])
    assert not np.array_equal(vectors[0], vectors[1])


def test_batches_run_at_once_give_what_they_give_one_by_one(tiny_bert, monkeypatch) -> None:
    texts = [f"{'a b c d e'[: i % 9 + 1]} {'abcde'[i % 5]}" for i in range(400)]
    encoder = SentenceEncoder.load(tiny_bert, precision="float32")
    one_by_one = encoder.encode(texts)
    monkeypatch.setattr(compiled, "_BATCH_TOKENS", 32)
    monkeypatch.setattr(compiled, "_MANY_BATCHES", 3)
    np.testing.assert_allclose(encoder.encode(texts), one_by_one, atol=1e-6)
    ((runtime, _),) = encoder.backbone._runtimes(encoder.pooling.heads)
    assert (runtime._most is None) == (runtime._soonest.get_property("INFERENCE_NUM_THREADS") == 1)


def test_threads_are_those_asked_for(tiny_bert) -> None:
    encoder = SentenceEncoder.load(tiny_bert, threads=1)
    ((runtime, _),) = encoder.backbone._runtimes(encoder.pooling.heads)
    assert runtime._soonest.get_property("INFERENCE_NUM_THREADS") == 1
