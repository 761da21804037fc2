"""Write the word-order suite out of its grammar: ``tools/word_order/*.yaml`` to two TSV files.

    python tools/make_word_order.py            # simsearch/evaluation/word_order_{test,train}.tsv
    python tools/make_word_order.py --check zh  # say what is wrong with a language's grammar

A grammar file, one for each language and split, has lexicons and, by phenomenon, frames::

    lexicons:
      person: [张三, 李四]                        # an entry is a text …
      animal: [{n: 狗, cl: 只}, {n: 猫, cl: 只}]   # … or its forms, for agreement
    phenomena:
      agent-patient:
        - sentence:   "{a}请{b}吃饭。"
          paraphrase: "{b}受{a}的邀请去吃饭。"
          swap:       "{b}请{a}吃饭。"
          slots: {a: person, b: person}          # a lexicon, or a list of entries

Slots of one lexicon are filled by different entries; ``{x.cl}`` is a form of an entry. A frame
without slots is one triple. Every phenomenon gets the same number of triples, spread over its
frames, and within a frame over the entries, so that no word is met more often than it must be.

What is checked: the swap has the words of the sentence (Chinese: its characters), capitals
included; a paraphrase does not, unless the phenomenon is a ``reordering-…``; no sentence stands in
the suite twice; every phenomenon has enough triples; no entry of a train lexicon occurs in a test
sentence.
"""

from __future__ import annotations

import argparse
import itertools
import random
import re
import string
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from simsearch.evaluation.files import WORD_ORDER_COLUMNS
from simsearch.evaluation.tasks import REORDERING

GRAMMAR = Path(__file__).parent / "word_order"
OUTPUT = Path(__file__).parents[1] / "simsearch" / "evaluation"
LANGUAGES = ("zh", "en")
SPLITS = ("test", "train")
ROLES = WORD_ORDER_COLUMNS[3:]
TRIPLES = 100  # of each phenomenon
_CANDIDATES = 24  # fillings among which the one with the least used entries is taken
_TRIES = 4000  # fillings drawn before a frame counts as used up

Entry = str | dict[str, str]


@dataclass(frozen=True)
class Triple:
    """A row of the suite but its id."""

    language: str
    phenomenon: str
    texts: tuple[str, str, str]


@dataclass(frozen=True)
class Frame:
    """Three templates, and for each slot the name of its lexicon and the entries."""

    templates: tuple[str, str, str]
    slots: Mapping[str, tuple[str, list[Entry]]]


class GrammarError(Exception):
    """The grammar breaks a rule; the message says which and where."""


def words(text: str, language: str) -> list[str]:
    """What a bag of words holds: characters in Chinese, else words and punctuation."""
    return list(text) if language == "zh" else re.findall(r"[\w'-]+|[^\w\s]", text)


def render(template: str, filling: Mapping[str, Entry]) -> str:
    """Fill a template, and begin it with a capital."""
    parts = []
    for literal, slot, _, _ in string.Formatter().parse(template):
        parts.append(literal)
        if slot is not None:
            name, _, form = slot.partition(".")
            if name not in filling:
                raise GrammarError(f"{template!r}: no slot {name!r}")
            entry = filling[name]
            if isinstance(entry, str) == bool(form) or (form and form not in entry):
                raise GrammarError(f"{template!r}: {slot!r} does not fit the entry {entry!r}")
            parts.append(entry[form] if isinstance(entry, dict) else entry)
    text = "".join(parts)
    return text[:1].upper() + text[1:]


def read_grammar(
    language: str, split: str
) -> tuple[dict[str, list[Entry]], dict[str, list[Frame]]]:
    """The lexicons, and the frames of each phenomenon."""
    path = GRAMMAR / f"{language}-{split}.yaml"
    content = yaml.safe_load(path.read_text("utf-8"))
    lexicons = content["lexicons"]
    for name, entries in lexicons.items():
        spelt = Counter(map(repr, entries))
        if twice := [entry for entry, count in spelt.items() if count > 1]:
            raise GrammarError(f"{path.name}: lexicon {name}: {', '.join(twice)} twice")

    def frame(phenomenon: str, raw: dict[str, Any]) -> Frame:
        if set(raw) - {*ROLES, "slots"} or not set(ROLES) <= set(raw):
            raise GrammarError(f"{path.name}: {phenomenon}: a frame has the keys {sorted(raw)}")
        slots = {}
        for slot, source in (raw.get("slots") or {}).items():
            if isinstance(source, str) and source not in lexicons:
                raise GrammarError(f"{path.name}: {phenomenon}: no lexicon {source!r}")
            slots[slot] = (
                (source, lexicons[source]) if isinstance(source, str) else (repr(source), source)
            )
        return Frame(tuple(raw[role] for role in ROLES), slots)

    return lexicons, {
        phenomenon: [frame(phenomenon, raw) for raw in frames]
        for phenomenon, frames in content["phenomena"].items()
    }


def fillings(frame: Frame, rng: random.Random) -> Iterator[dict[str, Entry]]:
    """Different fillings without end of what is possible, entries that were used least first."""
    used: Counter[tuple[str, str]] = Counter()
    seen = set[str]()
    for _ in range(_TRIES):
        drawn = []
        for _ in range(_CANDIDATES):
            filling = {slot: _one(entries, rng) for slot, (_, entries) in frame.slots.items()}
            if repr(filling) not in seen and not _repeats(frame, filling):
                drawn.append(filling)
        if not drawn:
            continue
        filling = min(drawn, key=lambda f: sum(used[s, repr(entry)] ** 2 for s, entry in f.items()))
        seen.add(repr(filling))
        used.update((slot, repr(entry)) for slot, entry in filling.items())
        yield filling


def _one(entries: list[Entry], rng: random.Random) -> Entry:
    return entries[int(rng.random() * len(entries))]  # random() alone is the same in every Python


def _repeats(frame: Frame, filling: Mapping[str, Entry]) -> bool:
    """Whether two slots of one lexicon hold the same entry."""
    held = Counter((frame.slots[slot][0], repr(entry)) for slot, entry in filling.items())
    return max(held.values()) > 1


def generate(language: str, split: str, taken: set[str]) -> list[Triple]:
    """All triples of a language and split; their texts are added to ``taken``."""
    _, phenomena = read_grammar(language, split)
    triples: list[Triple] = []
    problems: list[str] = []
    for phenomenon, frames in phenomena.items():
        rng = random.Random(f"{language} {split} {phenomenon}")
        found = list(_spread(frames, rng, language, phenomenon, taken, problems))
        if len(found) < TRIPLES:
            problems.append(f"{phenomenon}: {len(found)} triples, expected {TRIPLES}")
        triples += found
    if problems:
        listed = "\n  ".join(dict.fromkeys(problems))
        raise GrammarError(f"{language}-{split}.yaml:\n  {listed}")
    return triples


def _spread(
    frames: list[Frame],
    rng: random.Random,
    language: str,
    phenomenon: str,
    taken: set[str],
    problems: list[str],
) -> Iterator[Triple]:
    """Triples of the frames in turn, one without slots first, until there are enough."""
    count = 0
    sources = {
        index: iter(fillings(frame, rng) if frame.slots else [{}])
        for index, frame in sorted(enumerate(frames), key=lambda pair: bool(pair[1].slots))
    }
    while sources and count < TRIPLES:
        for index in list(sources):
            if count == TRIPLES:
                return
            for filling in sources[index]:
                texts = tuple(render(template, filling) for template in frames[index].templates)
                if taken.isdisjoint(texts):
                    break
                if not frames[index].slots:
                    problems.append(f"{phenomenon}: twice in the suite: {' | '.join(texts)}")
            else:
                del sources[index]
                continue
            problems += _wrong(language, phenomenon, texts)
            taken.update(texts)
            count += 1
            yield Triple(language, phenomenon, texts)


def _wrong(language: str, phenomenon: str, texts: tuple[str, str, str]) -> Iterator[str]:
    sentence, paraphrase, swap = (Counter(words(text, language)) for text in texts)
    shown = " | ".join(texts)
    if len(set(texts)) < 3:
        yield f"{phenomenon}: two of three are equal: {shown}"
    if swap != sentence:
        more, less = swap - sentence, sentence - swap
        yield f"{phenomenon}: the swap has {dict(more)} for {dict(less)}: {shown}"
    if paraphrase == sentence and not phenomenon.startswith(REORDERING):
        yield f"{phenomenon}: the paraphrase has the words of the sentence: {shown}"


def leaks(language: str, test: list[Triple]) -> list[str]:
    """Entries of train lexicons that a test sentence holds."""
    lexicons, _ = read_grammar(language, "train")
    texts = [text for triple in test for text in triple.texts]
    known = "\n".join(texts).lower()
    found = []
    for name, entries in lexicons.items():
        for entry in entries:
            # the forms of one entry share its stem, and a classifier is not a content word
            text = entry if isinstance(entry, str) else next(iter(entry.values()))
            edge = "" if language == "zh" else r"\b"
            if re.search(edge + re.escape(text.lower()) + edge, known):
                found.append(f"{language}-train.yaml: lexicon {name}: {text!r} is in the test half")
    return found


def suite(languages: Sequence[str] = LANGUAGES) -> dict[str, list[Triple]]:
    """The triples of each split; GrammarError for a grammar that breaks a rule."""
    halves: dict[str, list[Triple]] = {split: [] for split in SPLITS}
    problems = []
    for language in languages:
        taken = set[str]()
        for split in SPLITS:
            try:
                halves[split] += generate(language, split, taken)
            except GrammarError as error:
                problems.append(str(error))
        problems += leaks(language, [t for t in halves["test"] if t.language == language])
    if problems:
        raise GrammarError("\n".join(problems))
    return halves


def as_tsv(triples: list[Triple]) -> str:
    """The text of a file of the suite."""
    lines = ["\t".join(WORD_ORDER_COLUMNS)]
    for (language, phenomenon), group in itertools.groupby(
        triples, key=lambda t: (t.language, t.phenomenon)
    ):
        for number, triple in enumerate(group, 1):
            row = (f"{language}-{phenomenon}-{number:03}", language, phenomenon, *triple.texts)
            lines.append("\t".join(row))
    return "".join(f"{line}\n" for line in lines)


def main() -> None:
    """Write the suite, or only check a grammar."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--check", choices=LANGUAGES, help="only check this language, and print some of its triples"
    )
    checked = parser.parse_args().check
    try:
        halves = suite(LANGUAGES if checked is None else [checked])
    except GrammarError as error:
        sys.exit(str(error))
    for split, triples in halves.items():
        if checked is None:
            path = OUTPUT / f"word_order_{split}.tsv"
            path.write_text(as_tsv(triples), "utf-8", newline="\n")
        else:
            for triple in random.sample(triples, 20):
                print(triple.phenomenon, *triple.texts, sep="\n    ")
        print(f"{split}: {len(triples)} triples")


if __name__ == "__main__":
    main()
