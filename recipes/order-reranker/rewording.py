"""Edits of a sentence that keep what it says: other words, other places of what may stand anywhere.

Those that no other resource says follow from lists in ``rewording.yaml``, a word and what may stand
for it.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import yaml

Edit = Callable[[str, random.Random], str | None]
"""Another sentence of the same meaning, or None where there is nothing to edit."""

_PATH = Path(__file__).parent / "rewording.yaml"
_MONTHS = "January|February|March|April|May|June|July|August|September|October|November|December"
_DAYS = "Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday"
_PARTS = "morning|evening|night|noon|midnight|day|week|month|year|moment|hour|minute|season|summer"
_MORE_PARTS = "winter|spring|autumn|century|afternoon|time|dinner|supper|breakfast|lunch|war"
_TIME = rf"(?:{_MONTHS}|{_DAYS}|(?:{_PARTS}|{_MORE_PARTS})s?|\d{{4}})"
_TIMED = rf"(?:(?:in|on|at|for|by|since|until) [^,;:\"]*\b{_TIME}\b|during [^,;:\"]+)"
"""A prepositional phrase that says when."""
_LAST = re.compile(rf"([^,;:\"]{{15,}}) ({_TIMED})\.")
_FIRST = re.compile(rf"({_TIMED}),? ([^,;:\"]{{15,}})\.", re.I)
_OWNED = re.compile(r"\bthe ([a-z]{3,}) of ([A-Z][a-z]+)\b(?! [A-Z])")
_OWNER = re.compile(r"\b([A-Z][a-z]+)'s (?!own)([a-z]{3,})\b(?=[,.;]| (?:was|is|had|has|and)\b)")
_SIDE = r"((?:the |a |an |his |her |their |my |our )?[a-z]{3,})"
_BEFORE_SIDES = r"\b(with|of|for|between|by|from|to|the|his|her)"
_COORDINATED = re.compile(rf"{_BEFORE_SIDES} {_SIDE} (and|or) {_SIDE}(?=[,.;])")
_NAMES = re.compile(r"\b([A-Z][a-z]+) and ([A-Z][a-z]+)\b")
_CAPITALS = {"The", "A", "An", "His", "Her", "Their", "My", "Our"}


def capital(text: str) -> str:
    """With a capital at its beginning."""
    return text[:1].upper() + text[1:]


def inner(text: str) -> str:
    """As it stands within a sentence: only "I" and names keep a capital, where it can be known."""
    first = text.split(" ")[0]
    common = _CAPITALS | {"He", "She", "It", "They", "We", "You", "There", "This", "That"}
    common |= {"No", "All", "These", "Those", "Some", "In", "On", "At", "For", "By", "Since"}
    common |= {"Until", "During"}
    return text[:1].lower() + text[1:] if first in common else text


def time_moved(text: str, rng: random.Random) -> str | None:
    """In the morning, he came: he came in the morning."""
    if found := _FIRST.fullmatch(text):
        return f"{capital(inner(found[2]))} {inner(capital(found[1]))}."
    if found := _LAST.fullmatch(text):
        return f"{capital(found[2])}, {inner(found[1])}."
    return None


def owner_turned(text: str, rng: random.Random) -> str | None:
    """The father of John: John's father."""
    if found := _OWNED.search(text):
        turned = f"{found[2]}'s {found[1]}"
    elif found := _OWNER.search(text):
        turned = f"the {found[2]} of {found[1]}"
    else:
        return None
    return capital(text[: found.start()] + turned + text[found.end() :])


def names_turned(text: str, rng: random.Random) -> str | None:
    """John and Mary: Mary and John."""
    found = _NAMES.search(text)
    if found is None or found[1] == found[2] or found[1] in _CAPITALS:
        return None
    return f"{text[: found.start()]}{found[2]} and {found[1]}{text[found.end() :]}"


def sides_turned(text: str, rng: random.Random) -> str | None:
    """With bread and salt: with salt and bread."""
    found = _COORDINATED.search(text)
    if found is None or found[2] == found[4]:
        return None
    turned = f"{found[1]} {found[4]} {found[3]} {found[2]}"
    return text[: found.start()] + turned + text[found.end() :]


class Rewording:
    """The edits of one language, "en" or "zh"."""

    def __init__(
        self, language: str, more: Mapping[str, Sequence[str]], path: Path = _PATH
    ) -> None:
        self._words = {word: list(others) for word, others in more.items()}
        listed = set()
        for line in yaml.safe_load(path.read_text("utf-8"))[language]:
            word, either, other = re.split(" (=|>) ", line)
            pairs = ((word, other), (other, word)) if either == "=" else ((word, other),)
            for old, new in pairs:
                self._words.setdefault(old, []).append(new)
                listed.add(old)
        edge = r"\b" if language == "en" else ""
        # the longest first, and beside them whole words, which a dictionary finds faster
        phrases = "|".join(map(re.escape, sorted(listed, key=len, reverse=True)))
        self._listed = re.compile(f"{edge}(?:{phrases}){edge}")
        moves = (time_moved, owner_turned, names_turned, sides_turned)
        self._edits: list[Edit] = [self.replaced, *(moves if language == "en" else ())]

    def replaced(self, text: str, rng: random.Random) -> str | None:
        """With another word for one of the listed ones."""
        found = list(self._listed.finditer(text))
        found += [word for word in re.finditer(r"\b[a-z]+\b", text) if word[0] in self._words]
        if not found:
            return None
        at = rng.choice(found)
        return text[: at.start()] + rng.choice(self._words[at[0]]) + text[at.end() :]

    def edited(self, text: str, rng: random.Random, most: int = 3) -> str | None:
        """After one to ``most`` edits, or None where there is nothing to edit."""
        new = text
        wanted = rng.randint(1, most)
        for edit in rng.sample(self._edits * 2, len(self._edits) * 2):
            changed = edit(new, rng)
            if changed is not None and changed != text:
                new, wanted = changed, wanted - 1
            if not wanted:
                break
        return new if new != text else None
