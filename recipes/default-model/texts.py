"""Write the texts of the recipe: one file for each source, a text a line.

    python texts.py recipe.yaml --archives packages --zh zh.txt.gz --en en.txt.gz --out texts

No text occurs twice in all files, and none that --without names, a file of evaluation texts: what
is left of a text without punctuation and case is compared.
"""

from __future__ import annotations

import argparse
import itertools
import random
import re
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path

import yaml
from sources import SOURCES, Material

_LONGEST = 1600  # characters
_PATIENCE = 40  # texts drawn in vain for each one wanted, before a source counts as used up


def main() -> None:
    """Write the texts."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--archives", type=Path, required=True)
    parser.add_argument("--zh", type=Path, required=True)
    parser.add_argument("--en", type=Path, required=True)
    parser.add_argument("--without", type=Path, nargs="*", default=[])
    parser.add_argument("--only", nargs="*", choices=SOURCES)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    recipe = yaml.safe_load(options.recipe.read_text("utf-8"))
    material = Material(options.archives, options.zh, options.en)
    seen = {_bare(text) for path in options.without for text in _evaluated(path)}
    options.out.mkdir(parents=True, exist_ok=True)
    for name, count in recipe["texts"].items():
        if options.only and name not in options.only:
            continue
        rng = random.Random(f"{recipe['seed']} {name}")
        texts = list(_new(SOURCES[name](material, rng), seen, count))
        (options.out / f"{name}.txt").write_text("".join(f"{text}\n" for text in texts), "utf-8")
        print(f"{name}: {len(texts):,} texts, {sum(map(len, texts)):,} characters", flush=True)


def _new(texts: Iterator[str], seen: set[str], count: int) -> Iterator[str]:
    for text in itertools.islice(texts, count * _PATIENCE):
        text = " ".join(text.split())[:_LONGEST]
        bare = _bare(text)
        if bare and bare not in seen and "\ufffd" not in text:
            seen.add(bare)
            yield text
            count -= 1
            if count == 0:
                return


def _bare(text: str) -> str:
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", text).casefold())


def _evaluated(path: Path) -> Iterable[str]:
    """The texts of a file of evaluation data: columns of a TSV, values of JSON lines."""
    for line in path.read_text("utf-8").splitlines():
        if path.suffix == ".jsonl":
            yield from re.findall(r'"(?:text|title)": "((?:[^"\\]|\\.)*)"', line)
        else:
            yield from line.split("\t")


if __name__ == "__main__":
    main()
