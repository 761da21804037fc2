"""The tasks and their files, with encoders whose vectors can be computed by reading."""

from __future__ import annotations

import copy
import dataclasses
import math
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.neighbors import KNeighborsClassifier

from simsearch.encoder import Encoder, Prompt, Vectors, fingerprint
from simsearch.errors import TaskError
from simsearch.evaluation.files import (
    RetrievalData,
    read_labelled,
    read_pairs,
    read_retrieval,
    read_word_order,
)
from simsearch.evaluation.tasks import (
    ClassificationTask,
    PairsTask,
    RetrievalTask,
    TaskResult,
    WordOrderTask,
    top_rows,
)
from simsearch.records import Document, LabelledText, Qrel, Query, SentencePair, WordOrderTriple


def unit(rows: Any) -> Vectors:
    """The rows divided by their norms, float32."""
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


class Letters:
    """Counts letters, so it is blind to order: "aaab" is (3, 1, 0, ...) before normalisation."""

    def __init__(self, alphabet: str = "abcdefgh") -> None:
        self.units = list(alphabet)
        self.calls: list[tuple[Prompt, list[str]]] = []
        self.token_prompts: list[Prompt] = []

    def split(self, text: str) -> list[str]:
        return list(text)

    @property
    def dim(self) -> int:
        return len(self.units)

    @property
    def identity(self) -> Mapping[str, Any]:
        return {"counts": self.units}

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.identity)

    def encode(self, texts: Sequence[str], prompt: Prompt = "document") -> Vectors:
        self.calls.append((prompt, list(texts)))
        counts = [[self.split(text).count(unit) for unit in self.units] for text in texts]
        return unit(np.array(counts))

    def token_ids(self, texts: Sequence[str], prompt: Prompt = "document") -> list[list[int]]:
        self.token_prompts.append(prompt)
        return [[ord(letter) for letter in text] for text in texts]


class LetterPairs(Letters):
    """Counts pairs of neighbours, so it sees order: "abc" has one "ab" and one "bc"."""

    def __init__(self, alphabet: str = "abcdefgh") -> None:
        super().__init__(alphabet)
        self.units = [a + b for a in alphabet for b in alphabet]

    def split(self, text: str) -> list[str]:
        return [a + b for a, b in pairwise(text)]


class NoisySum(Letters):
    """Adds a float32 vector for each letter in turn: blind to order but for the last bits."""

    def encode(self, texts: Sequence[str], prompt: Prompt = "document") -> Vectors:
        table = np.random.default_rng(0).normal(size=(len(self.units), 16)).astype(np.float32)
        rows = np.zeros((len(texts), 16), dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            for letter in text:
                row += table[self.units.index(letter)]
        return unit(rows)


def close(value: float) -> Any:
    """Equal but for the rounding of float32 vectors."""
    return pytest.approx(value, abs=1e-6)


def triple(
    sentence: str, paraphrase: str, swap: str, group: tuple[str, str] = ("en", "role")
) -> WordOrderTriple:
    return WordOrderTriple(f"{sentence}-{swap}", *group, sentence, paraphrase, swap)


# cosines 1, 4/5, 3/5, 0
LADDER = [("a", "a"), ("a", "aaaabbb"), ("a", "aaabbbb"), ("a", "b")]


def ladder(*labels: float) -> list[SentencePair]:
    return [SentencePair(label, *pair) for label, pair in zip(labels, LADDER, strict=True)]


# pairs


def test_pairs_in_the_order_of_their_cosines_reach_a_spearman_of_1() -> None:
    assert PairsTask("sts", ladder(5, 3, 1, 0)).run(Letters()).metrics == {"spearman": close(1)}


def test_pairs_with_two_labels_swapped_reach_0_8() -> None:
    result = PairsTask("sts", ladder(5, 1, 3, 0)).run(Letters())
    assert result.metrics == {"spearman": close(0.8)}  # 1 - 6 * 2 / (4 * 15)
    low, high = result.intervals["spearman"]
    assert -1 <= low < 0.8 < high <= 1
    assert (result.task, result.notes, result.breakdown) == ("sts", (), {})


def test_yes_and_no_labels_get_auc_and_average_precision_too() -> None:
    result = PairsTask("same", ladder(1, 0, 1, 0)).run(Letters())
    # ranks 4, 2 against 3, 1: three of four wins; precision 1 at rank 1 and 2/3 at rank 3
    assert result.metrics == {
        "spearman": close(1 / math.sqrt(5)),
        "auc": close(3 / 4),
        "average_precision": close((1 + 2 / 3) / 2),
    }
    assert set(result.intervals) == set(result.metrics)


def test_pairs_of_one_label_get_their_mean_cosine_and_the_share_with_the_same_tokens() -> None:
    pairs = [SentencePair(0, "ab", "ba"), SentencePair(0, "a", "b"), SentencePair(0, "a", "aa")]
    result = PairsTask("swapped", pairs).run(Letters())
    assert result.metrics == {"mean_cosine": close(2 / 3), "same_bag_share": close(1 / 3)}
    assert set(result.intervals) == set(result.metrics)
    assert result.notes == ("every label is 0, so there is nothing to correlate with",)


def test_pairs_of_equal_cosines_have_no_spearman_and_say_so() -> None:
    task = PairsTask("flat", [SentencePair(1, "a", "a"), SentencePair(2, "b", "b")])
    result = task.run(Letters())
    assert math.isnan(result.metrics["spearman"])
    assert result.notes == ("every cosine is equal, so spearman is undefined",)


def test_both_sides_of_a_pair_are_queries_and_a_text_is_encoded_once() -> None:
    encoder = Letters()
    PairsTask("sts", ladder(5, 3, 1, 0)).run(encoder)
    assert encoder.calls == [("query", ["a", "aaaabbb", "aaabbbb", "b"])]


# retrieval

FRUIT = RetrievalData(
    documents=[Document("1", "ab"), Document("2", "a"), Document("3", "b"), Document("4", "c")],
    queries=[Query("1", "a"), Query("2", "c"), Query("3", "b")],
    qrels=[Qrel("1", "1", 1), Qrel("2", "4", 1), Qrel("2", "3", 1), Qrel("3", "3", 0)],
)


def test_retrieval_scores_the_judged_queries() -> None:
    result = RetrievalTask("fruit", FRUIT).run(Letters())
    # query 1: ranking 2, 1, ... puts document 1 at rank 2. query 2: document 4 is first, the
    # others tie at 0, by id, so document 3 comes last, at rank 4. query 3 has no relevant document.
    first = 1 / math.log2(3)
    second = (1 + 1 / math.log2(5)) / (1 + 1 / math.log2(3))
    assert result.metrics == {
        "ndcg@10": close((first + second) / 2),
        "recall@10": close(1),
        "mrr@10": close((1 / 2 + 1) / 2),
    }
    assert result.intervals["mrr@10"] == (0.5, 1)
    assert result.notes == ("1 of 3 queries have no relevant document: not scored",)


def test_only_the_first_ten_documents_count() -> None:
    # cosine with "a" falls with each further b: a, ab, abb, ...; the 11th document is relevant
    documents = [Document(str(n), "a" + "b" * n) for n in range(12)]
    data = RetrievalData(documents, [Query("q", "a")], [Qrel("q", "10", 1)])
    assert set(RetrievalTask("deep", data).run(Letters()).metrics.values()) == {0.0}
    data = RetrievalData(documents, [Query("q", "a")], [Qrel("q", "9", 1)])
    assert RetrievalTask("deep", data).run(Letters()).metrics == {
        "ndcg@10": close(1 / math.log2(11)),
        "recall@10": 1,
        "mrr@10": close(1 / 10),
    }


def test_a_graded_judgement_weighs_by_its_grade() -> None:
    documents = [Document("x", "a"), Document("y", "ab")]
    data = RetrievalData(documents, [Query("q", "a")], [Qrel("q", "x", 1), Qrel("q", "y", 3)])
    result = RetrievalTask("graded", data).run(Letters())
    assert result.metrics["ndcg@10"] == close((1 + 3 / math.log2(3)) / (3 + 1 / math.log2(3)))
    assert result.notes == ()


def test_queries_and_documents_get_their_own_prompts() -> None:
    encoder = Letters()
    RetrievalTask("fruit", FRUIT).run(encoder)
    assert encoder.calls == [("query", ["a", "c"]), ("document", ["ab", "a", "b", "c"])]


def test_documents_of_equal_text_are_ranked_by_id() -> None:
    # the relevant one is third of "1" < "10" < "2", whatever the order in the file
    documents = [Document(doc_id, "ab") for doc_id in ("2", "10", "1")]
    data = RetrievalData(documents, [Query("q", "a")], [Qrel("q", "2", 1)])
    assert RetrievalTask("ties", data).run(Letters()).metrics["mrr@10"] == close(1 / 3)


# Four entries of +-1/2: unit vectors whose dot products are exact, with many ties.
half_vectors = st.tuples(
    st.permutations(range(6)), st.lists(st.sampled_from([-0.5, 0.5]), min_size=4, max_size=4)
).map(lambda drawn: [dict(zip(drawn[0], drawn[1], strict=False)).get(i, 0.0) for i in range(6)])


@given(
    st.lists(half_vectors, min_size=1, max_size=4),
    st.lists(half_vectors, min_size=1, max_size=25),
    st.integers(1, 30),
    st.sampled_from([1, 7, 30]),
)
def test_top_rows_equal_a_full_sort(
    queries: list[list[float]], documents: list[list[float]], k: int, times: int
) -> None:
    queries = queries * times  # FAISS computes otherwise for many queries than for few
    ids = [f"d{row * 7 % 101}" for row in range(len(documents))]
    found = top_rows(
        np.array(queries, dtype=np.float32), np.array(documents, dtype=np.float32), ids, k
    )
    for query, rows in zip(queries, found, strict=True):
        cosines = [sum(a * b for a, b in zip(query, doc, strict=True)) for doc in documents]
        best = sorted(range(len(documents)), key=lambda row: (-cosines[row], ids[row]))
        assert rows.tolist() == best[:k]


def test_top_rows_sees_differences_that_a_float32_product_does_not() -> None:
    rng = np.random.default_rng(5)
    documents = unit(rng.normal(size=64) + 1e-7 * rng.normal(size=(300, 64)))
    query = unit(rng.normal(size=(1, 64)))
    ids = [f"{row:03}" for row in range(300)]
    exact = [math.fsum(map(float, query[0].astype(np.float64) * doc)) for doc in documents]
    best = sorted(range(300), key=lambda row: (-exact[row], ids[row]))[:10]
    assert top_rows(query, documents, ids, 10)[0].tolist() == best
    assert np.argsort(-(query @ documents.T)[0], kind="stable")[:10].tolist() != best


# word order

AWARE = [
    triple("abc", "abcd", "cba", ("en", "role")),  # cosines 2/sqrt(6) and 0: right
    triple("abab", "ab", "baba", ("en", "time")),  # cosines 2/sqrt(5) and 4/5: right
    triple("abc", "cde", "bca", ("zh", "role")),  # cosines 0 and 1/2: wrong
]


def test_an_encoder_that_sees_order_is_scored_by_its_cosines() -> None:
    result = WordOrderTask("order", AWARE).run(LetterPairs())
    assert result.metrics == {
        "triplet_accuracy": close(2 / 3),
        "swap_auc": close(6.5 / 9),  # two paraphrases beat all swaps; the third ties with one, at 0
        "same_bag_share": 1,
        "order_blind_ceiling": 0,
        "mean_cosine_paraphrase": close((2 / math.sqrt(6) + 2 / math.sqrt(5)) / 3),
        "mean_cosine_swap": close((4 / 5 + 1 / 2) / 3),
        # the two English sentences with each other: ab, bc and ab, ab, ba; the Chinese one is alone
        "mean_cosine_random": close(2 / math.sqrt(10)),
    }
    assert result.primary == "triplet_accuracy"
    assert result.breakdown == {
        "en": {"triplet_accuracy": 1, "triples": 2},
        "en/role": {"triplet_accuracy": 1, "triples": 1},
        "en/time": {"triplet_accuracy": 1, "triples": 1},
        "zh": {"triplet_accuracy": 0, "triples": 1},
        "zh/role": {"triplet_accuracy": 0, "triples": 1},
    }
    assert [failure.id for failure in result.failures] == ["abc-bca"]
    assert result.failures[0].cosines == {"paraphrase": 0, "swap": close(1 / 2)}
    assert result.notes == ()
    assert set(result.intervals) == set(result.metrics)
    assert result.intervals["order_blind_ceiling"] == (0, 0)


def test_an_order_blind_encoder_scores_0_and_is_told_why() -> None:
    result = WordOrderTask("order", AWARE).run(Letters())
    assert result.metrics["triplet_accuracy"] == 0
    assert result.metrics["mean_cosine_swap"] == close(1)
    assert result.notes == (
        "3 of 3 triples score 0 by construction: these vectors are the same for the same words in "
        "any order, so cos(sentence, swap) = 1 and no paraphrase can be closer",
    )


def test_the_ceiling_is_what_an_order_blind_encoder_can_reach() -> None:
    triples = [triple("abc", "abcd", "cba"), triple("abc", "abcd", "cbe")]
    result = WordOrderTask("mixed", triples).run(Letters())
    assert result.metrics["order_blind_ceiling"] == 1 / 2
    assert result.metrics["triplet_accuracy"] == 1 / 2
    assert result.notes[0].startswith("1 of 2 triples score 0 by construction")


def test_rounding_never_wins_a_triple_for_an_order_blind_encoder() -> None:
    rng = np.random.default_rng(1)
    shuffles = ["".join(rng.permutation(list("abcdefghabcdabef"))) for _ in range(120)]
    triples = [triple(*texts) for texts in np.reshape(shuffles, (40, 3)).tolist()]
    encoder = NoisySum()
    rows = encoder.encode(shuffles).astype(np.float64).reshape(40, 3, 16)
    near, far = (np.sum(rows[:, 0] * rows[:, other], axis=1) for other in (1, 2))
    assert (near > far).any()  # the last bits alone would have won some
    result = WordOrderTask("noise", triples).run(encoder)
    assert result.metrics["triplet_accuracy"] == 0
    assert len(result.notes) == 1


def test_all_texts_of_the_word_order_task_are_queries_and_encoded_once() -> None:
    encoder = LetterPairs()
    WordOrderTask("order", AWARE).run(encoder)
    texts = ["abc", "abcd", "cba", "abab", "ab", "baba", "cde", "bca"]
    assert encoder.calls == [("query", texts)]
    assert set(encoder.token_prompts) == {"query"}


def test_reorderings_are_scored_apart_from_paraphrases() -> None:
    # bcabca has four of the five pairs of neighbours in abcabc, cbacba has none
    kept = triple("abcabc", "bcabca", "cbacba", ("en", "reordering-start"))
    result = WordOrderTask("order", [*AWARE, kept, kept]).run(LetterPairs())
    assert result.metrics["triplet_accuracy"] == close(2 / 3)
    assert result.metrics["reordering_accuracy"] == 1
    assert result.metrics["reordering_auc"] == 1
    assert result.items == 5
    assert len(result.distributions["paraphrase"]) == 3
    assert len(result.distributions["reordering"]) == 2
    assert len(result.distributions["swap"]) == 5


def test_who_calls_every_other_order_another_meaning_wins_one_half_only() -> None:
    class Suspicious(Letters):
        """Tells words apart by their letters, and orders of the same letters altogether."""

        def encode(self, texts: Sequence[str], prompt: Prompt = "document") -> Vectors:
            orders = [hash(text) % 1009 for text in texts]
            bags = super().encode(texts)
            return unit(np.hstack([bags, 9 * np.eye(1009)[orders]]))

    triples = [triple("ab", "abb", "ba"), triple("abc", "bca", "cba", ("en", "reordering-x"))]
    result = WordOrderTask("order", triples).run(Suspicious())
    assert result.metrics["reordering_accuracy"] == 0  # both orders are equally far


def test_only_reorderings_make_them_the_primary_metric() -> None:
    kept = triple("abcabc", "bcabca", "cbacba", ("en", "reordering-start"))
    result = WordOrderTask("order", [kept]).run(LetterPairs())
    assert result.primary == "reordering_accuracy"
    assert result.metrics["same_bag_share"] == 1


def test_sentences_with_their_words_moved_are_measured_too() -> None:
    letters = "张三请李四来。"
    task = WordOrderTask("order", [triple("张三请李四来。", "来。", "李四请张三来。")])
    blind, aware = task.run(Letters(letters)).metrics, task.run(LetterPairs(letters)).metrics
    assert blind["mean_cosine_shuffle"] == blind["mean_cosine_neighbours"] == close(1)
    # of six pairs of neighbours one exchange breaks two or three, and a shuffle at least as many
    assert aware["mean_cosine_neighbours"] in (close(3 / 6), close(4 / 6))
    assert aware["mean_cosine_shuffle"] <= 4 / 6


# classification

COLOURS = [
    LabelledText("aab", "warm"),
    LabelledText("ab", "warm"),
    LabelledText("bbc", "cold"),
    LabelledText("bc", "cold"),
    LabelledText("c", "cold"),
]


def test_a_text_gets_the_label_of_its_nearest_neighbour() -> None:
    asked = [LabelledText("aaab", "warm"), LabelledText("cc", "cold"), LabelledText("b", "warm")]
    result = ClassificationTask("colours", COLOURS, asked).run(Letters())
    # nearest: aab; c; and to b bbc (2/sqrt(5)), which is cold. All five vote cold.
    assert result.metrics == {
        "accuracy@1": close(2 / 3),
        "accuracy@10": close(1 / 3),
        "macro_f1@10": close((2 * 1 / (2 * 1 + 2) + 0) / 2),
    }
    assert result.primary == "accuracy@10"
    (failure,) = result.failures
    assert failure.texts == {"text": "b", "nearest": "bbc"}
    assert failure.facts == {"label": "warm", "label of the nearest": "cold"}


def test_without_a_test_half_no_text_is_its_own_neighbour() -> None:
    twice = [*COLOURS, LabelledText("d", "cold"), LabelledText("d", "warm")]
    result = ClassificationTask("colours", twice).run(Letters())
    # the two texts d have each other, of the other label; the rest are next to their own
    assert result.metrics["accuracy@1"] == close(5 / 7)
    assert result.items == 7
    assert result.notes == ("each text is classified by all others",)


def test_nearest_neighbours_agree_with_scikit_learn() -> None:
    rng = np.random.default_rng(2)
    texts = ["".join(rng.choice(list("abcdefgh"), 9)) for _ in range(300)]
    items = [LabelledText(text, max("abc", key=text.count)) for text in dict.fromkeys(texts)]
    train, test = items[:200], items[200:]
    encoder = Letters()
    known, asked = (encoder.encode([item.text for item in part]) for part in (train, test))
    theirs = KNeighborsClassifier(1).fit(known, [item.label for item in train])
    result = ClassificationTask("letters", train, test).run(encoder)
    # Euclidean and cosine order agree on unit vectors; neighbours at one distance may not
    expected = theirs.score(asked, [item.label for item in test])
    assert result.metrics["accuracy@1"] == pytest.approx(expected, abs=0.03)


def test_one_label_is_nothing_to_learn() -> None:
    with pytest.raises(TaskError, match=r"one: 1 label\(s\) to learn from, expected two"):
        ClassificationTask("one", COLOURS[:2])


# all tasks

TASKS = [
    PairsTask("pairs", ladder(1, 0, 1, 0)),
    RetrievalTask("retrieval", FRUIT),
    WordOrderTask("order", AWARE),
    ClassificationTask("classification", COLOURS, COLOURS[1:3]),
]


def assert_same(first: TaskResult, second: TaskResult) -> None:
    np.testing.assert_equal(dataclasses.asdict(first), dataclasses.asdict(second))


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_a_task_repeats_itself_and_leaves_its_input_alone(task: Any) -> None:
    before = copy.deepcopy(task)
    assert_same(task.run(NoisySum()), task.run(NoisySum()))
    assert task == before


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_block_sizes_change_no_number(task: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    whole: TaskResult = task.run(NoisySum())
    monkeypatch.setattr("simsearch.index.flat.SPARE", 0)
    monkeypatch.setattr("simsearch.index.scoring.SCORED_AT_ONCE", 1)
    monkeypatch.setattr("simsearch.evaluation.tasks.base.ROWS_PER_BLOCK", 1)
    monkeypatch.setattr("simsearch.evaluation.bootstrap._AT_ONCE", 1)
    assert_same(task.run(NoisySum()), whole)


@pytest.mark.parametrize(
    "make",
    [
        lambda: PairsTask("nothing here", []),
        lambda: WordOrderTask("nothing here", []),
        lambda: RetrievalTask("nothing here", RetrievalData(FRUIT.documents, FRUIT.queries, [])),
        lambda: RetrievalTask(
            "nothing here", RetrievalData(FRUIT.documents, FRUIT.queries, [Qrel("3", "3", 0)])
        ),
    ],
)
def test_a_task_with_nothing_to_score_is_refused(make: Callable[[], object]) -> None:
    with pytest.raises(TaskError, match="nothing here: no "):
        make()


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_inputs_are_what_is_encoded_each_text_once(task: Any) -> None:
    encoder = Letters()
    task.run(encoder)
    assert dict(encoder.calls) == {prompt: list(texts) for prompt, texts in task.inputs.items()}
    for texts in task.inputs.values():
        assert len(set(texts)) == len(texts)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_an_encoder_that_gives_nan_is_refused(task: Any) -> None:
    class Broken(Letters):
        def encode(self, texts: Sequence[str], prompt: Prompt = "document") -> Vectors:
            return np.full((len(texts), 3), np.nan, dtype=np.float32)

    encoder: Encoder = Broken()
    with pytest.raises(ValueError, match="nan or infinity"):
        task.run(encoder)


# files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "评测 数据"
    path.mkdir()
    return path


def put(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
    return path


def test_pairs_are_read_as_they_stand(folder: Path) -> None:
    # a quotation mark, a no-break line separator and spaces are text; CRLF ends a line too
    file = put(folder / "一.tsv", '4.5\t"猫\t狗"\r\n-1e0\t a\u2028b \tc\n0\tx\ty')
    assert read_pairs(file) == [
        SentencePair(4.5, '"猫', '狗"'),
        SentencePair(-1.0, " a\u2028b ", "c"),
        SentencePair(0.0, "x", "y"),
    ]


@pytest.mark.parametrize(
    ("second_line", "message"),
    [
        (b"1\ta", "2 field(s), expected 3 fields"),
        (b"1\ta\tb\tc", "4 field(s), expected 3 fields"),
        (b"", "1 field(s), expected 3 fields"),
        (b"yes\ta\tb", "score 'yes', expected a finite number"),
        (b"nan\ta\tb", "score 'nan', expected a finite number"),
        (b"1e999\ta\tb", "score '1e999', expected a finite number"),
        (b"1\t \tb", "sentence1 is empty"),
        (b"1\ta\t\r", "sentence2 is empty"),
        (b"1\ta\t\xc4\xe3", "not UTF-8: byte 0xc4"),
    ],
)
def test_a_bad_pair_is_named_by_path_and_line(
    folder: Path, second_line: bytes, message: str
) -> None:
    file = put(folder / "bad.tsv", b"1\ta\tb\n" + second_line + b"\n1\ta\tb\n")
    with pytest.raises(TaskError, match=re.escape(f"{file}:2: {message}")):
        read_pairs(file)


def test_a_file_that_is_empty_or_cannot_be_read_is_named(folder: Path) -> None:
    with pytest.raises(TaskError, match=re.escape(f"{folder / 'none.tsv'}: there is no such file")):
        read_pairs(folder / "none.tsv")
    with pytest.raises(TaskError, match=re.escape(f"{folder} cannot be read")):
        read_pairs(folder)
    with pytest.raises(TaskError, match=r"empty\.tsv: no rows"):
        read_pairs(put(folder / "empty.tsv", ""))


HEADER = "id\tlanguage\tphenomenon\tsentence\tparaphrase\tswap\n"
ROW = "zh-1\tzh\trole\t猫追狗\t狗被猫追\t狗追猫\n"


def test_word_order_triples_are_read_by_their_header(folder: Path) -> None:
    file = put(folder / "order.tsv", HEADER + ROW)
    assert read_word_order(file) == [
        WordOrderTriple("zh-1", "zh", "role", "猫追狗", "狗被猫追", "狗追猫")
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (ROW, ":1: header 'zh-1"),
        (HEADER.replace("swap", "swapped"), ":1: header 'id"),
        (HEADER + "zh-1\tzh\trole\ta\tb\n", ":2: 5 field(s), expected 6"),
        (HEADER + ROW + ROW, ":3: id 'zh-1' is there twice"),
        (HEADER + ROW.replace("role", ""), ":2: phenomenon is empty"),
        (HEADER, ": no rows"),
        ("", ": no rows"),
    ],
)
def test_a_bad_word_order_file_is_named_by_path_and_line(
    folder: Path, content: str, message: str
) -> None:
    file = put(folder / "order.tsv", content)
    with pytest.raises(TaskError, match=re.escape(f"{file}{message}")):
        read_word_order(file)


BEIR = {
    "corpus.jsonl": '{"_id": "1", "title": "猫", "text": "a"}\n{"_id": "2", "text": "b"}\n'
    '{"_id": "3", "title": "", "text": ""}\n',
    "queries.jsonl": '{"_id": "1", "text": "a", "metadata": {}}\n{"_id": "q", "text": "b"}\n',
    "qrels/test.tsv": "query-id\tcorpus-id\tscore\n1\t2\t3\nq\t1\t0\n",
}


def put_beir(folder: Path, **changes: str | None) -> None:
    """The BEIR folder above, with the files of the given stems changed, or left out if None."""
    for name, content in BEIR.items():
        new = changes.get(Path(name).stem, content)
        if new is not None:
            put(folder / name, new)


def test_a_beir_folder_is_read_with_title_space_text(folder: Path) -> None:
    put_beir(folder)
    data = read_retrieval(folder)
    assert data.documents == [Document("1", "猫 a"), Document("2", "b"), Document("3", "")]
    assert data.queries == [Query("1", "a"), Query("q", "b")]
    assert data.qrels == [Qrel("1", "2", 3), Qrel("q", "1", 0)]


QREL_HEADER = "query-id\tcorpus-id\tscore\n"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("corpus.jsonl", None, ": there is no such file"),
        ("queries.jsonl", None, ": there is no such file"),
        ("qrels/test.tsv", None, ": there is no such file"),
        ("corpus.jsonl", "", ": no rows"),
        ("corpus.jsonl", "{'_id'\n", ":1: Expecting property name"),
        ("corpus.jsonl", "[1]\n", ":1: '[1]', expected one JSON object"),
        ("corpus.jsonl", '{"_id": 1, "text": "a"}\n', ":1: _id 1, expected a string"),
        ("corpus.jsonl", '{"_id": "", "text": "a"}\n', ":1: _id is empty"),
        ("corpus.jsonl", '{"_id": "1"}\n', ":1: text None, expected a string"),
        ("corpus.jsonl", '{"_id": "1", "text": "a", "title": 3}\n', ":1: title 3, expected"),
        ("corpus.jsonl", '{"_id": "1", "text": "a"}\n' * 2, ":2: _id '1' is there twice"),
        ("queries.jsonl", '{"_id": "1", "text": "a"}\n' * 2, ":2: _id '1' is there twice"),
        ("queries.jsonl", '{"_id": "1", "text": " "}\n', ":1: text is empty"),
        ("qrels/test.tsv", "1\t2\t3\n", ":1: header '1"),
        ("qrels/test.tsv", QREL_HEADER + "2\t1\t1\n", ":2: query-id '2' is not an _id of queries"),
        ("qrels/test.tsv", QREL_HEADER + "1\tq\t1\n", ":2: corpus-id 'q' is not an _id of corpus"),
        ("qrels/test.tsv", QREL_HEADER + "1\t2\t0.5\n", ":2: score '0.5', expected a whole"),
        ("qrels/test.tsv", QREL_HEADER + "1\t2\t1\n1\t2\t0\n", ":3: judgement of '2' for '1'"),
        ("qrels/test.tsv", QREL_HEADER, ": no rows"),
    ],
)
def test_a_bad_beir_folder_is_named_by_path_and_line(
    folder: Path, name: str, content: str | None, message: str
) -> None:
    put_beir(folder, **{Path(name).stem: content})
    with pytest.raises(TaskError, match=re.escape(f"{folder / name}{message}")):
        read_retrieval(folder)


# labelled texts


def test_labelled_texts_are_read_from_a_folder_or_one_file(folder: Path) -> None:
    put(folder / "train.csv", 'text,category\n"a, b",x\nc,y\n')
    put(folder / "test.jsonl", '{"text": "d", "label": 3}\n')
    train = [LabelledText("a, b", "x"), LabelledText("c", "y")]
    assert read_labelled(folder) == (train, [LabelledText("d", "3")])
    assert read_labelled(folder / "train.csv") == (train, None)


def test_columns_of_labelled_texts_can_be_named(folder: Path) -> None:
    file = put(folder / "faq.csv", "question,intent,label\na,x,1\n")
    read = read_labelled(file, text_column="question", label_column="intent")
    assert read == ([LabelledText("a", "x")], None)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"train.csv": "text,label\na,b\n"}, "expected one file test.csv"),
        (
            {"train.csv": "text,label\na,b\n", "train.tsv": "", "test.csv": ""},
            "there is train.csv, train.tsv",
        ),
        ({"x.csv": "text,sort\na,b\n"}, "x.csv:2: no column 'label' or 'category'"),
        ({"x.csv": "text,label\n,b\n"}, "x.csv:2: empty text"),
        ({"x.csv": "text,label\na,\n"}, "x.csv:2: label '', expected a name"),
        ({"x.jsonl": '{"text": "a", "label": 1.5}\n'}, "x.jsonl:1: label 1.5, expected a name"),
        ({"x.csv": "text,label\n"}, "x.csv: no rows"),
    ],
)
def test_bad_labelled_texts_are_named_by_path_and_line(
    folder: Path, files: dict[str, str], message: str
) -> None:
    for name, content in files.items():
        put(folder / name, content)
    with pytest.raises(TaskError, match=re.escape(message)):
        read_labelled(next((folder / name for name in files if name[0] == "x"), folder))


def test_bad_rows_of_labelled_texts_can_be_left_out(folder: Path) -> None:
    file = put(folder / "x.csv", "text,label\n,b\na,b\n")
    assert read_labelled(file, on_error="skip") == ([LabelledText("a", "b")], None)
