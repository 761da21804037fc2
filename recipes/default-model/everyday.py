"""Everyday sentences in Chinese and English, out of the lexicons and frames of everyday.yaml."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from pathlib import Path

import yaml

_GRAMMAR = Path(__file__).with_name("everyday.yaml")
_SLOT = re.compile(r"\{(?:(\w+):)?(\w+)(?:\.(\w+))?\}")  # {lexicon}, {lexicon.form}, {name:lexicon}

Entry = dict[str, str]


class Everyday:
    """The grammar: ``frames`` by topic, each a template in Chinese and one in English, or one.

    Raises ValueError for a frame that names what isn't there.
    """

    def __init__(self, path: Path = _GRAMMAR) -> None:
        content = yaml.safe_load(path.read_text("utf-8"))
        self._lexicons: dict[str, list[Entry]] = {
            name: [_entry(entry) for entry in entries]
            for name, entries in content["lexicons"].items()
        }
        self.frames: dict[str, list[tuple[str, str]]] = {
            topic: [self._checked(frame) for frame in frames]
            for topic, frames in content["frames"].items()
        }

    def _checked(self, frame: str) -> tuple[str, str]:
        chinese, _, english = frame.partition("|")
        for _, lexicon, form in _SLOT.findall(frame):
            if lexicon not in self._lexicons:
                raise ValueError(f"{frame!r}: there is no lexicon {lexicon!r}")
            if form and any(form not in entry for entry in self._lexicons[lexicon]):
                raise ValueError(f"{frame!r}: not every entry of {lexicon!r} has {form!r}")
        return chinese, english

    def sentences(self, language: str, rng: random.Random) -> Iterator[str]:
        """Sentences without end, each topic and each of its frames as often as the others."""
        topics = list(self.frames)
        while True:
            text = self._sentence(rng.choice(topics), language, rng)
            if text:
                yield text

    def passages(self, rng: random.Random) -> Iterator[str]:
        """Four to ten sentences of one topic, without end, in Chinese or English."""
        topics = list(self.frames)
        while True:
            topic, language = rng.choice(topics), rng.choice(("zh", "en"))
            drawn = [self._sentence(topic, language, rng) for _ in range(rng.randint(4, 10))]
            ends = "。！？…" if language == "zh" else ".!?"
            ended = [text if text[-1] in ends else text + ends[0] for text in drawn if text]
            if len(ended) > 2:
                yield ("" if language == "zh" else " ").join(ended)

    def contrasts(self, rng: random.Random) -> Iterator[tuple[str, str]]:
        """Two fillings of one frame, without end, in Chinese or English."""
        frames = [frame for frames in self.frames.values() for frame in frames]
        while True:
            language = rng.choice(("zh", "en"))
            template = rng.choice(frames)[language == "en"].strip()
            first, second = (self._filled(template, language, rng) for _ in range(2))
            if first != second:
                yield first, second

    def _sentence(self, topic: str, language: str, rng: random.Random) -> str:
        template = rng.choice(self.frames[topic])[language == "en"].strip()
        return self._filled(template, language, rng)

    def _filled(self, template: str, language: str, rng: random.Random) -> str:
        filled: dict[tuple[str, str], Entry] = {}

        def fill(slot: re.Match[str]) -> str:
            name, lexicon, form = slot.groups(default="")
            place = (name, lexicon)
            if place not in filled:
                used = [entry for (_, other), entry in filled.items() if other == lexicon]
                entry = rng.choice(self._lexicons[lexicon])
                while entry in used and len(used) < len(self._lexicons[lexicon]):
                    entry = rng.choice(self._lexicons[lexicon])
                filled[place] = entry
            return filled[place][form or language]

        text = _SLOT.sub(fill, template)
        return text[:1].upper() + text[1:] if language == "en" else text


def _entry(entry: str | Entry) -> Entry:
    if isinstance(entry, dict):
        return entry
    chinese, separator, english = entry.partition("|")
    if not separator:
        raise ValueError(f"{entry!r}: expected Chinese|English")
    return {"zh": chinese.strip(), "en": english.strip()}
