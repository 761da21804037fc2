"""Write pairs of sentences that do and do not mean the same, most of them of the same words.

    python pairs.py --archives packages --zh zh.txt.gz --en en.txt.gz --out pairs

``pairs/train.tsv`` and ``pairs/dev.tsv`` have score<TAB>sentence1<TAB>sentence2, 1 for the same
meaning. What is 1 and what 0 follows from how a pair is made, never from a label that people gave:

* the word-order grammar's train half: sentence and paraphrase 1, sentence and swap 0;
* a time or a reason that moves with its conjunction 1, two clauses that change places 0;
* facts (see ``facts``), the same with a time that moved or sides of "and" that changed places 1,
  with two people, places or numbers in each other's place 0;
* a time or the sides of "and" that move in a sentence of a corpus 1, and two words of one part of
  speech that change places there, moved or not, 0;
* a sentence in other words (see ``rewording``) 1, and the same with two words exchanged 0;
* one frame of everyday.yaml filled with other words 0.

Of the phenomena that only the test half of the word-order suite has, none is made on purpose.
"""

from __future__ import annotations

import argparse
import random
import re
from collections.abc import Callable, Iterator
from functools import cache, partial
from itertools import islice
from pathlib import Path

import wordnet
from everyday import Everyday
from facts import Facts
from rewording import (
    Rewording,
    capital,
    inner,
    names_turned,
    sides_turned,
    time_moved,
)
from sources import Material, all_reviews, corpus_lines, dictionary, shuffled, word_order_triples

Pair = tuple[int, str, str]
_COUNTS = {
    "grammar": 40_000,
    "facts_english": 24_000,
    "facts_chinese": 18_000,
    "clauses_english": 3_000,
    "moved_english": 24_000,
    "moved_chinese": 4_000,
    "coordinated_chinese": 9_000,
    "reworded_english": 8_000,
    "reworded_chinese": 8_000,
    "other_words": 3_000,
}
_DEV = 40  # one of so many pairs is for dev
_LISTED = 8  # items of a list are no further apart
_TITLES = {"Mr", "Mrs", "Miss", "Ms", "Dr", "Sir", "Lady", "Lord", "Captain", "Monsieur", "Madame"}
_CONJUNCTIONS = "because|after|before|since"
_FRONTED = re.compile(rf"({_CONJUNCTIONS}) ([^,;:\"]+), (?!wh|and|but)([^,;:\"]+)\.", re.I)
_DAYS = (
    "今天 昨天 明天 后天 前天 今年 去年 明年 上周 下周 上个月 下个月 周末 早上 晚上 下午 上午 中午 "
    "刚才 现在 最近 以前 后来 平时 周一 周五 星期天 每天 每周"
)
_TIMES = "|".join(_DAYS.split())
_SUBJECTS = (
    "我们|你们|他们|她们|咱们|大家|我|你|他|她|爸爸|妈妈|老师|经理|公司|医生|小[王李张刘陈明红]"
)
_TIMED = re.compile(rf"({_TIMES})({_SUBJECTS})([^，。！？]{{3,}}[。！？]?)")
_CAUSED = re.compile("(?:因为|由于)([^，。]+)，(?:所以|因此|于是)?([^，。]{4,})(。?)")


def grammar(material: Material, rng: random.Random) -> Iterator[Pair]:
    """Four pairs of each triple."""
    for sentence, paraphrase, swap in word_order_triples():
        yield 1, sentence, paraphrase
        yield 1, paraphrase, sentence
        yield 0, sentence, swap
        yield 0, paraphrase, swap


def facts_english(material: Material, rng: random.Random) -> Iterator[Pair]:
    """Of WordNet's people, cities and countries."""
    yield from Facts("en", wordnet.names(material)).pairs(rng)


def facts_chinese(material: Material, rng: random.Random) -> Iterator[Pair]:
    """The same in Chinese."""
    yield from Facts("zh", {}).pairs(rng)


def clauses_english(material: Material, rng: random.Random) -> Iterator[Pair]:
    """After A, B. and B after A. mean the same; After B, A. does not."""
    for line in shuffled(corpus_lines(material.english), rng):
        found = _FRONTED.fullmatch(line.strip(' "'))
        if found is None or len(line) > 160:
            continue
        word, rest, main = found[1].lower(), found[2], found[3]
        yield 1, line.strip(' "'), f"{capital(inner(main))} {word} {inner(rest)}."
        yield 0, line.strip(' "'), f"{capital(word)} {inner(main)}, {inner(rest)}."
        yield 0, line.strip(' "'), f"{capital(inner(rest))} {word} {inner(main)}."


def moved_english(material: Material, rng: random.Random) -> Iterator[Pair]:
    """A time moves, or the sides of "and" and "or" change places; or two other words do."""
    speech = wordnet.parts_of_speech(material)
    moves = [time_moved, names_turned, sides_turned, partial(_peers_turned, speech=speech)]
    for line in shuffled(corpus_lines(material.english), rng):
        moved = line
        for move in rng.sample(moves, len(moves)) if 30 < len(line) < 220 else ():
            moved = move(moved, rng) or moved
        if moved != line:
            yield from _moved_and_exchanged(
                line, moved, lambda text: _exchanged_english(text, speech, rng)
            )


def moved_chinese(material: Material, rng: random.Random) -> Iterator[Pair]:
    """The same of times before and after a subject, and of causes."""
    everyday = islice(Everyday().sentences("zh", rng), 60_000)
    for line in (
        *shuffled([*corpus_lines(material.chinese), *all_reviews(material)], rng),
        *everyday,
    ):
        if len(line) > 80:
            continue
        if found := _TIMED.fullmatch(line):
            time, subject, rest = found.groups()
            yield from _moved_and_exchanged(
                line,
                f"{subject}{time}{rest}",
                lambda text: _exchanged_chinese(text, material, rng),
            )
        if found := _CAUSED.fullmatch(line):
            cause, effect, end = found.groups()
            yield 1, line, f"{effect}，因为{cause}{end}"
            yield 1, line, f"之所以{effect}，是因为{cause}{end}"
            yield 0, line, f"因为{effect}，所以{cause}{end}"


def coordinated_chinese(material: Material, rng: random.Random) -> Iterator[Pair]:
    """Words of one part of speech on both sides of 和, 与 or 、 change places; or two others do."""
    for line in shuffled([*corpus_lines(material.chinese), *all_reviews(material)], rng):
        if len(line) > 80:
            continue
        words = _cut(line, material)
        for i in range(1, len(words) - 1):
            before, after = words[i - 1], words[i + 1]
            same = before[1] == after[1] and before[1][:1] in ("n", "a")
            if words[i][0] in "和与、" and same and min(len(before[0]), len(after[0])) > 1:
                turned = [word for word, _ in words]
                turned[i - 1], turned[i + 1] = turned[i + 1], turned[i - 1]
                yield from _moved_and_exchanged(
                    line, "".join(turned), lambda text: _exchanged_chinese(text, material, rng)
                )
                break


def reworded_english(material: Material, rng: random.Random) -> Iterator[Pair]:
    """A sentence in other words, and the same with two nouns, names, verbs or numbers exchanged."""
    speech = wordnet.parts_of_speech(material)
    rewording = Rewording("en", wordnet.synonyms(material))
    everyday = islice(Everyday().sentences("en", rng), 12_000)
    for line in shuffled([*corpus_lines(material.english)[:300_000], *everyday], rng):
        other = rewording.edited(line, rng) if 30 < len(line) < 200 else None
        swap = other and _exchanged_english(other, speech, rng)
        if other and swap:
            yield 1, line, other
            yield 0, line, swap


def reworded_chinese(material: Material, rng: random.Random) -> Iterator[Pair]:
    """The same in Chinese, by the parts of speech in jieba's dictionary."""
    rewording = Rewording("zh", {})
    everyday = islice(Everyday().sentences("zh", rng), 15_000)
    lines = [*corpus_lines(material.chinese)[:200_000], *all_reviews(material), *everyday]
    for line in shuffled(lines, rng):
        other = rewording.edited(line, rng) if 6 < len(line) < 80 else None
        swap = other and _exchanged_chinese(other, material, rng)
        if other and swap:
            yield 1, line, other
            yield 0, line, swap


def other_words(material: Material, rng: random.Random) -> Iterator[Pair]:
    """Two fillings of one frame, which differ in one slot or more."""
    yield from ((0, first, second) for first, second in Everyday().contrasts(rng))


def _moved_and_exchanged(
    line: str, moved: str, exchanged: Callable[[str], str | None]
) -> Iterator[Pair]:
    """The move, and an exchange with or without it, so that neither tells the other's label."""
    yield 1, line, moved
    swap = exchanged(random.Random(line).choice((line, moved)))
    if swap is not None:
        yield 0, line, swap


def _peers_turned(text: str, rng: random.Random, speech: dict[str, str]) -> str | None:
    """Nouns or adjectives on both sides of "and" or "or" in each other's place."""
    for found in re.finditer(r"\b([a-z]{3,}) (and|or) ([a-z]{3,})\b", text):
        if speech.get(found[1]) == speech.get(found[3]) in ("n", "a") and found[1] != found[3]:
            turned = f"{found[3]} {found[2]} {found[1]}"
            return text[: found.start()] + turned + text[found.end() :]
    return None


def _exchanged_english(text: str, speech: dict[str, str], rng: random.Random) -> str | None:
    words = re.findall(r"\w+|\W+", text)
    kinds = [_kind(word, i, speech) for i, word in enumerate(words)]
    return _exchanged(words, kinds, rng, {"and", "or", ", "})


def _exchanged_chinese(text: str, material: Material, rng: random.Random) -> str | None:
    cut = _cut(text, material)
    kinds = [kind[:2] if kind[:1] in "nva" and len(word) > 1 else "" for word, kind in cut]
    return _exchanged([word for word, _ in cut], kinds, rng, set("和与或、跟同"))


def _kind(word: str, place: int, speech: dict[str, str]) -> str:
    if word.isdigit():
        return "number"
    named = place and word.istitle() and len(word) > 1 and word not in _TITLES
    return "name" if named else speech.get(word, "")


def _exchanged(
    words: list[str], kinds: list[str], rng: random.Random, between: set[str]
) -> str | None:
    """With two words of one kind in each other's place, if there are two that are not listed.

    Near each other with a word of ``between`` among what separates them, they are of one list.
    """
    places = [i for i, kind in enumerate(kinds) if kind]
    pairs = [
        (i, j)
        for i in places
        for j in places
        if i < j and kinds[i] == kinds[j] and words[i].lower() != words[j].lower()
        if j - i > _LISTED or not between & set(words[i + 1 : j])
    ]
    if not pairs:
        return None
    i, j = rng.choice([pair for pair in pairs if kinds[pair[0]] in ("name", "number")] or pairs)
    turned = list(words)
    turned[i], turned[j] = turned[j], turned[i]
    return "".join(turned)


@cache
def _dictionary(material: Material) -> dict[str, str]:
    return {word: kind for word, _, kind in dictionary(material) if len(word) <= 6}


def _cut(text: str, material: Material) -> list[tuple[str, str]]:
    """Words and parts of speech: always the longest word that the dictionary has."""
    known, words, at = _dictionary(material), [], 0
    while at < len(text):
        size = next((n for n in range(6, 1, -1) if text[at : at + n] in known), 1)
        word = text[at : at + size]
        words.append((word, known.get(word, "")))
        at += size
    return words


MADE: dict[str, Callable[[Material, random.Random], Iterator[Pair]]] = {
    made.__name__: made
    for made in (
        grammar,
        facts_english,
        facts_chinese,
        clauses_english,
        moved_english,
        moved_chinese,
        coordinated_chinese,
        reworded_english,
        reworded_chinese,
        other_words,
    )
}


def main() -> None:
    """Write the pairs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--archives", type=Path, required=True)
    parser.add_argument("--zh", type=Path, required=True)
    parser.add_argument("--en", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    material = Material(options.archives, options.zh, options.en)
    options.out.mkdir(parents=True, exist_ok=True)
    pairs: list[Pair] = []
    for name, count in _COUNTS.items():
        found = [
            (score, *(" ".join(text.split()) for text in texts))
            for score, *texts in islice(MADE[name](material, random.Random(name)), count)
        ]
        print(f"{name}: {len(found):,} pairs, {sum(score for score, *_ in found):,} of them 1")
        pairs += found  # type: ignore[arg-type]
    pairs = [pair for pair in dict.fromkeys(pairs) if pair[1] != pair[2]]
    random.Random(0).shuffle(pairs)
    for name, rows in (
        ("dev", pairs[::_DEV]),
        ("train", [p for i, p in enumerate(pairs) if i % _DEV]),
    ):
        lines = (f"{score}\t{first}\t{second}\n" for score, first, second in rows)
        (options.out / f"{name}.tsv").write_text("".join(lines), "utf-8")


if __name__ == "__main__":
    main()
