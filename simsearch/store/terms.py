"""From a text to the terms that the word index knows it by.

A word is a term, in lower case, without accents, cut to its English stem. In scripts that put no
space between words, of Chinese, Japanese, Thai and others, and in Korean, every character is a
term, and so are every two in a row; so is an emoji. Punctuation is none. Terms are the same under
every encoder: a model's word pieces would lack the rarer characters.
"""

from __future__ import annotations

import re
import threading
import unicodedata

import apsw

_ACCENTS = re.compile("[\u0300-\u036f]")
# Thai to Myanmar, Khmer, kana, Chinese characters (three ranges), Korean syllables
_SOLID = (
    "\u0e00-\u109f\u1780-\u17ff\u3005-\u3007\u3041-\u30fa\u30fc-\u30ff"
    "\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff\uac00-\ud7af"
)
_INDIC = "\u0900-\u0963\u0966-\u0dff"  # their vowels are marks, which \w leaves out
_EMOJI = "\u2600-\u27bf\U0001f000-\U0001faff"
_TERM = re.compile(
    # a word without end is no word; 64 is also what the stemmer takes
    f"[^\\W_{_SOLID}{_INDIC}]{{1,64}}|[{_INDIC}]{{1,64}}|(?P<solid>[{_SOLID}]+)|[{_EMOJI}]"
)


def terms(text: str) -> list[str]:
    """The terms of a text, each as often as it occurs.

    >>> terms("The dogs’ 北京ＡＢＣ")
    ['北', '京', '北京', 'the', 'dog', 'abc']
    """
    found: list[str] = []
    words: list[str] = []
    for term in _TERM.finditer(_folded(text)):
        characters = term["solid"]
        if characters is None:
            words.append(term[0])
        else:
            found += characters
            found += map(str.__add__, characters, characters[1:])
    return found + _stems(words)


def _folded(text: str) -> str:
    """In lower case, without accents, letters of full width and the like as ordinary ones."""
    plain = _ACCENTS.sub("", unicodedata.normalize("NFKD", text).casefold())
    return unicodedata.normalize("NFKC", plain)


class _Stemmer(threading.local):
    """SQLite's Porter stemmer, which a thread must have to itself."""

    def __init__(self) -> None:
        self.tokenize = apsw.Connection(":memory:").fts5_tokenizer("porter", ["ascii"])


_stemmer = _Stemmer()


def _stems(words: list[str]) -> list[str]:
    """Each word's stem, by Porter (1980) as SQLite has it; of other than ASCII, the word."""
    stems = _stemmer.tokenize(
        " ".join(words).encode(),
        apsw.FTS5_TOKENIZE_DOCUMENT,
        None,
        include_offsets=False,
        include_colocated=False,
    )
    return [str(stem) for stem in stems]
