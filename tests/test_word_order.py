"""The word-order suite, its grammar, and sentences with their words moved."""

from __future__ import annotations

import re
import sys
from collections import Counter
from itertools import chain
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_tasks import Letters

from simsearch.evaluation import files
from simsearch.evaluation.files import builtin_word_order, read_word_order
from simsearch.evaluation.perturbation import neighbours_swapped, shuffled
from simsearch.evaluation.tasks import WordOrderTask
from simsearch.records import WordOrderTriple

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tools"))
import make_word_order  # noqa: E402

SEEN = {
    *("agent-patient", "attribute-binding", "before-after", "cause-effect", "comparison"),
    *("from-to", "possession"),
}
UNSEEN = {
    *("focus", "giver-receiver", "negation-scope", "passive", "quantifier-scope"),
    *("relative-position", "reported-speech"),
}
REORDERED = {"reordering-conjuncts", "reordering-passive", "reordering-time-adverb"}
REORDERED_UNSEEN = {"reordering-clauses", "reordering-fronting", "reordering-place-adverb"}


def half(name: str) -> list[WordOrderTriple]:
    return read_word_order(Path(files.__file__).parent / f"word_order_{name}.tsv")


TEST, TRAIN = half("test"), half("train")


def bag(text: str, language: str) -> Counter[str]:
    """Characters of Chinese; words and punctuation marks of English, capitals told apart."""
    return Counter(text if language == "zh" else re.findall(r"[\w'-]+|[^\w\s]", text))


def test_the_built_in_suite_is_the_test_half() -> None:
    assert builtin_word_order() == TEST


def test_each_phenomenon_has_100_triples_in_each_language() -> None:
    groups = Counter((t.language, t.phenomenon) for t in TEST)
    phenomena = SEEN | UNSEEN | REORDERED | REORDERED_UNSEEN
    assert groups == {(language, p): 100 for language in ("en", "zh") for p in phenomena}


def test_half_of_the_phenomena_are_kept_from_training() -> None:
    groups = Counter((t.language, t.phenomenon) for t in TRAIN)
    assert groups == {(language, p): 100 for language in ("en", "zh") for p in SEEN | REORDERED}


def test_every_swap_has_the_words_of_its_sentence() -> None:
    for t in TEST + TRAIN:
        assert bag(t.swap, t.language) == bag(t.sentence, t.language), t


def test_only_a_reordering_has_a_paraphrase_of_the_same_words() -> None:
    for t in TEST + TRAIN:
        if bag(t.paraphrase, t.language) == bag(t.sentence, t.language):
            assert t.phenomenon.startswith("reordering-"), t


def test_no_sentence_stands_in_the_suite_twice() -> None:
    texts = Counter(chain.from_iterable((t.sentence, t.paraphrase, t.swap) for t in TEST + TRAIN))
    assert [text for text, count in texts.items() if count > 1] == []


def test_sentences_are_written_as_sentences() -> None:
    for t in TEST + TRAIN:
        for text in (t.sentence, t.paraphrase, t.swap):
            assert text == text.strip(), t
            assert not re.search("  |[{}]", text), t
            assert re.search("[。？！]”?$" if t.language == "zh" else '[.?!]"?$', text), t
            assert not re.search("[,.?!]" if t.language == "zh" else "[，。？！]", text), t


def test_english_articles_agree_with_what_follows() -> None:
    # by their sound: "an hour", "a used car"
    vowel = re.compile(
        r"\ba (?!(?:one|once|uni|use|user|used|usual|euro|ufo)\w*)[aeiou]\w*|"
        r"\ban (?!(?:hour|honest|heir|honou?r)\w*)[^aeiou\W]\w*",
        re.IGNORECASE,
    )
    texts = [x for t in TEST + TRAIN if t.language == "en" for x in (t.sentence, t.paraphrase)]
    assert [text for text in texts if vowel.search(text)] == []


def test_no_word_of_the_train_lexicons_is_in_a_test_sentence() -> None:
    for language in ("en", "zh"):
        triples = [
            make_word_order.Triple(language, t.phenomenon, (t.sentence, t.paraphrase, t.swap))
            for t in TEST
            if t.language == language
        ]
        assert make_word_order.leaks(language, triples) == []


def test_the_files_are_what_the_grammar_gives() -> None:
    for name, triples in make_word_order.suite().items():
        path = Path(files.__file__).parent / f"word_order_{name}.tsv"
        assert make_word_order.as_tsv(triples) == path.read_text("utf-8")


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        ({"swap": "{b}请{a}喝茶。"}, "the swap has"),
        ({"paraphrase": "{b}请{a}吃饭。"}, "two of three are equal"),
        ({"paraphrase": "吃饭请{a}{b}。"}, "has the words of the sentence"),
        ({"sentence": "{a}请{c}吃饭。"}, "no slot"),
        ({"sentence": "{a.cl}请{b}吃饭。"}, "does not fit the entry"),
        ({"slots": {"a": "persn", "b": "person"}}, "no lexicon"),
    ],
)
def test_a_grammar_that_breaks_a_rule_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, frame: dict[str, object], message: str
) -> None:
    good = {
        "sentence": "{a}请{b}吃饭。",
        "paraphrase": "{b}受{a}的邀请去吃饭。",
        "swap": "{b}请{a}吃饭。",
        "slots": {"a": "person", "b": "person"},
    }
    people = [f"{family}{name}" for family in "赵钱孙李周吴郑王" for name in "一二三"]
    content = {"lexicons": {"person": people}, "phenomena": {"agent": [{**good, **frame}]}}
    text = make_word_order.yaml.safe_dump(content, allow_unicode=True)
    (tmp_path / "zh-test.yaml").write_text(text, "utf-8")
    monkeypatch.setattr(make_word_order, "GRAMMAR", tmp_path)
    with pytest.raises(make_word_order.GrammarError, match=message):
        make_word_order.generate("zh", "test", set())


def test_an_order_blind_encoder_scores_0_on_the_built_in_suite() -> None:
    some = TEST[::5]
    texts = chain.from_iterable((t.sentence, t.paraphrase, t.swap) for t in some)
    result = WordOrderTask("word-order", some).run(Letters("".join(sorted(set("".join(texts))))))
    assert result.metrics["triplet_accuracy"] == result.metrics["reordering_accuracy"] == 0
    assert result.intervals["triplet_accuracy"] == (0, 0)
    assert result.metrics["same_bag_share"] == 1
    assert len(result.breakdown) == 2 + 40


# Words moved


def test_chinese_moves_by_characters_and_english_by_words_and_the_end_stays() -> None:
    for text, units in (
        ("张三请李四吃饭。", "张三请李四吃饭"),
        ("The dog bit the man.", ["The", "dog", "bit", "the", "man"]),
        ("用GPT写诗！", ["用", "GPT", "写", "诗"]),
    ):
        for moved in (shuffled(text), neighbours_swapped(text)):
            assert moved not in (None, text)
            assert moved[-1] == text[-1]
            body = moved[:-1]
            found = body.split() if " " in body else re.findall("[A-Z]+|.", body)
            assert sorted(found) == sorted(units)


def test_two_neighbours_are_exchanged() -> None:
    moved = neighbours_swapped("a b c d.")
    assert moved in {"b a c d.", "a c b d.", "a b d c."}


def test_what_has_no_other_order_is_left_out() -> None:
    for text in ("", "。", "好。", "no", "the the", "哈哈哈"):
        assert shuffled(text) is None
        assert neighbours_swapped(text) is None


@given(st.text(st.sampled_from("ab 张三，. \n"), max_size=12))
def test_moving_words_keeps_every_character(text: str) -> None:
    for moved in (shuffled(text), neighbours_swapped(text)):
        if moved is not None:
            assert moved != text
            assert sorted("".join(moved.split())) == sorted("".join(text.split()))
    assert shuffled(text) == shuffled(text)
