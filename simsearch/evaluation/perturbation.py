"""The same words in another order: shuffled altogether, or two neighbours exchanged.

The units are Chinese characters and words between spaces; the punctuation at the end stays there.
What comes out depends on the text alone, so that every encoder is asked about the same texts.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Callable

# a Chinese character, or anything else up to the next one or a space; spaces go with what precedes
_UNIT = re.compile(r"[㐀-䶿一-鿿豈-﫿]\s*|[^\s㐀-䶿一-鿿豈-﫿]+\s*")
_END = re.compile(r"[\s.!?…。！？]*$")


def shuffled(text: str) -> str | None:
    """The units in random order, not the given one; ``None`` where there is no other."""
    return _rearranged(text, lambda units, rng: sorted(units, key=lambda _: rng.random()))


def neighbours_swapped(text: str) -> str | None:
    """Two units that stand side by side, chosen at random, exchanged; ``None`` as above."""

    def swapped(units: list[str], rng: random.Random) -> list[str]:
        i = int(rng.random() * (len(units) - 1))
        return [*units[:i], units[i + 1], units[i], *units[i + 2 :]]

    return _rearranged(text, swapped)


def _rearranged(text: str, arrange: Callable[[list[str], random.Random], list[str]]) -> str | None:
    end = _END.search(text)
    assert end is not None  # it matches the empty string
    body = text[: end.start()]
    pieces = _UNIT.findall(body)
    units = [piece.rstrip() for piece in pieces]
    if len(set(units)) < 2:
        return None
    gaps = [piece[len(unit) :] for piece, unit in zip(pieces, units, strict=True)]
    rng = random.Random(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest())
    while (arranged := arrange(units, rng)) == units:
        pass
    spaced = (unit + gap for unit, gap in zip(arranged, gaps, strict=True))
    return "".join(spaced).rstrip() + end[0]
