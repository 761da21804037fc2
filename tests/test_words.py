"""The word index: what its terms are, and BM25 against a computation of its own."""

from __future__ import annotations

import itertools
import math
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import apsw
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simsearch.errors import CorruptIndexError
from simsearch.store import words
from simsearch.store.bm25 import WordIndex
from simsearch.store.database import create_database, open_database, transaction
from simsearch.store.terms import terms
from simsearch.store.words import delete_words, insert_words

Found = tuple[list[int], list[float]]


@contextmanager
def word_database() -> Iterator[apsw.Connection]:
    """An empty database, which is thrown away."""
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(create_database(Path(folder) / "index.sqlite")) as connection,
    ):
        connection.pragma("synchronous", "OFF")
        yield connection


def add(connection: apsw.Connection, documents: Mapping[int, str]) -> None:
    with transaction(connection):
        insert_words(connection, documents.items())


def delete(connection: apsw.Connection, numbers: Sequence[int]) -> None:
    with transaction(connection):
        delete_words(connection, numbers)


def search(
    connection: apsw.Connection, text: str, k: int = 100, allowed: Sequence[int] | None = None
) -> Found:
    wanted = None if allowed is None else np.array(allowed, np.int64)
    numbers, scores = WordIndex(connection, Path("index.sqlite")).search(text, k, wanted)
    assert (numbers.dtype, scores.dtype) == (np.int64, np.float64)
    return numbers.tolist(), scores.tolist()


def found(documents: Sequence[str], text: str) -> list[int]:
    with word_database() as connection:
        add(connection, dict(enumerate(documents)))
        return search(connection, text)[0]


def batch_sizes(connection: apsw.Connection) -> list[int]:
    sizes = connection.execute("SELECT terms FROM word_batches ORDER BY batch")
    return [size for (size,) in sizes]


def postings(connection: apsw.Connection) -> dict[str, list[int]]:
    """The documents of each term, as they are stored."""
    documents: dict[str, list[int]] = {}
    for term, stored in connection.execute("SELECT term, documents FROM words ORDER BY batch"):
        documents.setdefault(term, []).extend(np.frombuffer(stored, "<u2").tolist())
    return documents


def bm25(documents: Mapping[int, str], text: str) -> dict[int, float]:
    """The score of each document with a term of the text, one at a time."""
    bags = {number: Counter(terms(document)) for number, document in documents.items()}
    average = sum(bag.total() for bag in bags.values()) / max(1, len(bags))
    scores = {}
    for number, bag in bags.items():
        score = 0.0
        for term in set(terms(text)) & set(bag):
            frequency = sum(term in other for other in bags.values())
            idf = math.log(1 + (len(bags) - frequency + 0.5) / (frequency + 0.5))
            length = 1 - 0.75 + 0.75 * bag.total() / average
            score += idf * bag[term] * 2.2 / (bag[term] + 1.2 * length)
        if score:
            scores[number] = score
    return scores


class TestTerms:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("北京大学", ["北", "京", "大", "学", "北京", "京大", "大学"]),
            ("北京，大学", ["北", "京", "北京", "大", "学", "大学"]),
            ("A股", ["股", "a"]),
            ("ラーメン", ["ラ", "ー", "メ", "ン", "ラー", "ーメ", "メン"]),
            ("한국", ["한", "국", "한국"]),
            ("𠀀𪚥", ["𠀀", "𪚥", "𠀀𪚥"]),
            ("हिन्दी में", ["हिन्दी", "में"]),
            ("ＡＢＣ １２ ﬁ", ["abc", "12", "fi"]),
            ("Straße STRASSE", ["strass", "strass"]),
            ("café cafe\u0301 CAFÉ", ["cafe"] * 3),
            ("don't 3.5% C++ a_b", ["don", "t", "3", "5", "c", "a", "b"]),
            ("👍🏽 ok ☀", ["👍", "🏽", "ok", "☀"]),
            ("\ud800 a\0b \ufffd", ["a", "b"]),
            ("x" * 70, ["x" * 64, "x" * 6]),
            ("", []),
            (" \t，。!?—… \0", []),
        ],
    )
    def test_of_texts(self, text: str, expected: list[str]) -> None:
        assert sorted(terms(text)) == sorted(expected)

    def test_english_words_are_cut_to_their_stem(self) -> None:
        # Porter's own examples, and SQLite's reading of his later "logi"
        text = "caresses ponies cats agreed plastered motoring relational hopefulness analogies"
        stems = "caress poni cat agre plaster motor relat hope analog"
        assert terms(text) == stems.split()

    @given(st.text())
    def test_of_any_text_can_be_written(self, text: str) -> None:
        for term in terms(text):
            assert term
            assert b"\0" not in term.encode()


class TestScores:
    def test_by_hand(self) -> None:
        # N = 3, f = 1, c = 1, l = 2, a = 4/3
        expected = math.log(1 + 2.5 / 1.5) * 2.2 / (1 + 1.2 * (0.25 + 0.75 * 1.5))
        with word_database() as connection:
            add(connection, {0: "red sky", 1: "red", 2: "blue"})
            assert search(connection, "sky") == ([0], [pytest.approx(expected, rel=1e-12)])

    def test_a_term_of_every_document_still_finds_them_all_shorter_ones_first(self) -> None:
        assert found(["red sky over the sea", "red", "red sky"], "red") == [1, 2, 0]

    def test_rare_terms_outweigh_common_ones(self) -> None:
        assert found(["sea sky", "sea sky", "sea moon"], "sea moon") == [2, 0, 1]

    def test_two_characters_in_a_row_outweigh_them_apart(self) -> None:
        assert found(["京沪北线", "北京沪线"], "北京") == [1, 0]

    def test_a_word_that_is_asked_for_twice_counts_once(self) -> None:
        with word_database() as connection:
            add(connection, {0: "red sky", 1: "blue sea"})
            assert search(connection, "red red sea") == search(connection, "sea red")

    def test_of_no_documents(self) -> None:
        assert found([], "red") == []
        assert found(["", "，。"], "red") == []

    @pytest.mark.parametrize(
        "text",
        [
            *("red AND sky", "red OR NOT", "NEAR(red sky, 2)", "text:red", "^red", "red*"),
            *('"red', "'red'; DROP TABLE words --", 're"d" red', "{red} (red", "red\0sky", "%red_"),
        ],
    )
    def test_nothing_in_a_query_is_syntax(self, text: str) -> None:
        documents = dict(enumerate(["red", "sky", "blue", "and or not near"]))
        with word_database() as connection:
            add(connection, documents)
            numbers, scores = search(connection, text)
        assert dict(zip(numbers, scores, strict=True)) == pytest.approx(bm25(documents, text))
        assert 0 in numbers

    @pytest.mark.parametrize("text", ["𠀀", "👍", "हिन्दी", "ᏣᎳᎩ", "ภาษา", "𞤀𞤣𞤤𞤢𞤥", "ⵜⴰⵎ", "한"])
    def test_rare_scripts_and_emoji_are_found(self, text: str) -> None:
        assert found(["red", f"red {text}!", "sky"], text) == [1]


# Few words, so that many documents share them and scores tie.
texts = st.lists(st.sampled_from(["red", "sky", "京", "北京", "👍"]), max_size=6).map(" ".join)
steps = st.lists(
    st.one_of(
        # texts to add, and how many numbers to leave out before
        st.tuples(st.lists(texts, max_size=8), st.sampled_from([0, 1, 1500, 30_000, 70_000])),
        # a document to delete, as a share of all there ever were
        st.floats(0, 1),
    ),
    max_size=12,
)


class TestAnyHistory:
    @given(
        steps=steps,
        text=texts,
        k=st.integers(1, 12),
        allowed=st.none() | st.sets(st.floats(0, 1.2)),
        most_terms=st.sampled_from([words._MOST_TERMS, 7]),
    )
    def test_equals_bm25_of_the_documents_that_are_left(
        self,
        steps: Sequence[tuple[list[str], int] | float],
        text: str,
        k: int,
        allowed: set[float] | None,
        most_terms: int,
    ) -> None:
        documents: dict[int, str] = {}
        stop = 0
        with word_database() as connection, pytest.MonkeyPatch.context() as patch:
            patch.setattr(words, "_MOST_TERMS", most_terms)
            for step in steps:
                if isinstance(step, float):
                    gone = round(step * stop)
                    delete(connection, [gone])
                    documents.pop(gone, None)
                else:
                    added = dict(enumerate(step[0], start=stop + step[1]))
                    add(connection, added)
                    documents |= added
                    stop = max(added, default=stop - 1) + 1
            wanted = None if allowed is None else sorted({round(a * stop) for a in allowed})
            numbers, scores = search(connection, text, k, wanted)
        expected = bm25(documents, text)
        if wanted is not None:
            expected = {number: s for number, s in expected.items() if number in wanted}
        assert numbers == sorted(numbers, key=lambda n: (-scores[numbers.index(n)], n))
        assert scores == pytest.approx([expected[number] for number in numbers], rel=1e-12)
        # the best k, and what ties with the last of them
        assert len(numbers) >= min(k, len(expected))
        left_out = [score for number, score in expected.items() if number not in numbers]
        assert all(score <= scores[-1] * (1 + 1e-12) for score in left_out)
        assert all(score == scores[k - 1] for score in scores[k:])


class TestChanges:
    def test_one_by_one_is_as_all_at_once_in_few_batches(self) -> None:
        documents = {i: f"red {'sky ' * (i % 7)}{i % 50}" for i in range(500)}
        with word_database() as together, word_database() as apart:
            add(together, documents)
            before = apart.total_changes()
            for number, text in documents.items():
                add(apart, {number: text})
            written = apart.total_changes() - before
            assert search(apart, "red sky 7", 30) == search(together, "red sky 7", 30)
            assert postings(apart) == postings(together)
            sizes = batch_sizes(apart)
        assert all(before > 2 * size for before, size in itertools.pairwise(sizes))
        assert written < 500 * 20  # records, of three terms a document

    @pytest.mark.parametrize("at_once", [1, 40])
    def test_batches_are_bounded(self, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(words, "_MOST_TERMS", 8)
        with word_database() as connection:
            for start in range(0, 40, at_once):
                add(connection, dict.fromkeys(range(start, start + at_once), "red sky sea"))
            assert max(batch_sizes(connection)) <= 9  # a document above which they are full
            assert search(connection, "sea", 40)[0] == [*range(40)]

    def test_equal_documents_tie_in_whatever_batch(self) -> None:
        with word_database() as connection:
            for number in [0, 10, 70_000, 140_000]:
                add(connection, {number: "red sky, blue sea", number + 5: "red"})
            numbers, scores = search(connection, "blue red sky", k=2)
        assert numbers == [0, 10, 70_000, 140_000]
        assert len(set(scores)) == 1

    def test_deleting_writes_no_word(self) -> None:
        with word_database() as connection:
            add(connection, dict.fromkeys(range(3000), "red sky"))
            before = connection.total_changes()
            delete(connection, [5, 7, 2999, 3000, 99_999])
            assert connection.total_changes() - before == 2  # records of counts
            assert search(connection, "red", k=3000)[0] == sorted({*range(2999)} - {5, 7})

    def test_a_number_is_given_once(self) -> None:
        with word_database() as connection:
            add(connection, {3: "red"})
            delete(connection, [3])
            with pytest.raises(ValueError, match="document 3: expected 4 or more"):
                add(connection, {3: "sky"})
            with pytest.raises(ValueError, match="document 4: expected 6 or more"):
                add(connection, {5: "sky", 4: "sea"})
            assert search(connection, "red sky sea") == ([], [])

    def test_a_rollback_takes_words_back(self) -> None:
        with word_database() as connection:
            add(connection, {0: "red"})
            before = search(connection, "red sky")
            with pytest.raises(ValueError, match="document 2"):  # when the first two are written
                add(connection, {1: "red sky", 70_000: "red", 2: "red"})
            assert search(connection, "red sky") == before


class TestDamage:
    def test_an_altered_word_is_an_error_and_no_answer(self, tmp_path: Path) -> None:
        path = tmp_path / "index.sqlite"
        with closing(create_database(path)) as connection:
            add(connection, {0: "red sky", 1: "blue sea"})
        content = bytearray(path.read_bytes())
        content[content.index(b"blue")] ^= 1
        path.write_bytes(content)
        with (
            closing(open_database(path, "ro")) as connection,
            pytest.raises(CorruptIndexError, match="its checksum is wrong"),
        ):
            WordIndex(connection, path).search("sky", 1)

    def test_a_document_that_never_was_is_an_error(self) -> None:
        with word_database() as connection:
            add(connection, {0: "red"})
            connection.execute("UPDATE words SET documents = x'0500'")
            with pytest.raises(CorruptIndexError, match="its word index has a document 5"):
                search(connection, "red")
