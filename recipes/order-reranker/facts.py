"""Facts as encyclopedias state them, in another order or with two exchanged: facts.yaml."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import yaml

_PATH = Path(__file__).with_name("facts.yaml")
_SLOT = re.compile(r"\{(\w+):(\w+)\}")
_NUMBERS: dict[str, Callable[[random.Random], str]] = {
    "year": lambda rng: str(rng.randint(1700, 2020)),
    "number": lambda rng: f"{rng.randint(20, 9_999)}",
    "small": lambda rng: str(rng.randint(1, 30)),
}


class Facts:
    """The frames of one language, "en" or "zh".

    ``names`` are further lexicons. Raises ValueError for a frame that names what isn't there.
    """

    def __init__(self, language: str, names: Mapping[str, list[str]], path: Path = _PATH) -> None:
        content = yaml.safe_load(path.read_text("utf-8"))[language]
        self._lexicons: dict[str, list[str]] = {**content["lexicons"], **names}
        self.frames: list[list[str]] = [frame.split(" = ") for frame in content["frames"]]
        for first, *_ in self.frames:
            for _, lexicon in _SLOT.findall(first):
                if lexicon not in _NUMBERS and lexicon not in self._lexicons:
                    raise ValueError(f"{first!r}: there is no lexicon {lexicon!r}")

    def pairs(self, rng: random.Random) -> Iterator[tuple[int, str, str]]:
        """Without end: a fact, the same in another order, and with two slots exchanged."""
        while True:
            yield from self._of(rng.choice(self.frames), rng)

    def _of(self, frame: list[str], rng: random.Random) -> Iterator[tuple[int, str, str]]:
        kinds = dict(_SLOT.findall(frame[0]))
        wordings = [_SLOT.sub(r"{\1}", frame[0]), *frame[1:]]
        values = self._values(kinds, rng)
        peers, others = [], []
        for one in kinds:
            for other in kinds:
                if one < other and kinds[one] == kinds[other]:
                    (peers if one[0] == other[0] else others).append((one, other))
        said = _said(rng.choice(wordings), values)
        turned = _exchanged(values, rng.choice(peers)) if peers else values
        yield from ((1, said, _said(wording, turned)) for wording in wordings)
        if others:
            for wording in wordings:
                yield 0, said, _said(wording, _exchanged(turned, rng.choice(others)))

    def _values(self, kinds: Mapping[str, str], rng: random.Random) -> dict[str, str]:
        """Another one for every slot."""
        values: dict[str, str] = {}
        for slot, kind in kinds.items():
            value = None
            while value is None or value in values.values():
                value = _NUMBERS[kind](rng) if kind in _NUMBERS else self._word(kind, rng)
            values[slot] = value
        years = [slot for slot, kind in kinds.items() if kind == "year"]
        return values | dict(zip(sorted(years), sorted(values[y] for y in years), strict=True))

    def _word(self, lexicon: str, rng: random.Random) -> str:
        if self._lexicons[lexicon]:
            return rng.choice(self._lexicons[lexicon])
        if rng.random() < 0.5:  # a Chinese name, made of its parts
            return rng.choice(self._lexicons["surname"]) + rng.choice(self._lexicons["given"])
        return rng.choice(self._lexicons["foreign"]) + "·" + rng.choice(self._lexicons["family"])


def _exchanged(values: Mapping[str, str], pair: tuple[str, str]) -> dict[str, str]:
    one, other = pair
    return {**values, one: values[other], other: values[one]}


def _said(wording: str, values: Mapping[str, str]) -> str:
    text = wording.format(**values)
    return text[:1].upper() + text[1:]
