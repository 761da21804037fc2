"""The word pieces of the default model: Chinese characters, English pieces, digits, signs."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_SIGNS = "，。！？；：、“”‘’（）《》〈〉【】「」『』…—～·￥°℃×÷±≈≠≤≥→←↑↓★☆●○■□△▲▼◆§€£©®™"


def vocabulary(
    texts: Iterable[str], frequencies: dict[str, int], characters: int, pieces: int
) -> list[str]:
    """All pieces, in the order of their ids.

    ``frequencies`` are those of Chinese words in general; a character counts by them and, a fifth
    as much, by ``texts``, and what GB 2312 has goes before what it has not.
    """
    counts: Counter[str] = Counter()
    words: Counter[str] = Counter()
    for text in texts:
        plain = _plain(text)
        counts.update(plain)
        words.update(re.findall("[a-z]+", plain))
    chinese = _chinese(counts, frequencies, characters)
    other = sorted(
        character
        for character, count in counts.items()
        if count >= 20 and not _is_chinese(character) and _stands_alone(character)
    )
    signs = dict.fromkeys([*map(chr, range(33, 127)), *_SIGNS, *other])
    signs = {sign: None for sign in signs if not re.match("[A-Za-z0-9]", sign)}
    digits = [*map(str, range(10)), *(f"{number:02}" for number in range(100))]
    digits += [f"{1900 + number}" for number in range(130)]
    return list(
        dict.fromkeys(
            [
                *SPECIAL,
                *signs,
                *(f"##{sign}" for sign in signs if sign.isalpha()),
                *digits,
                *(f"##{digit}" for digit in digits[:110]),
                *chinese,
                *_english(words, pieces),
            ]
        )
    )


def _plain(text: str) -> str:
    """As BERT's uncased tokenizer sees it: lower case, without accents."""
    decomposed = unicodedata.normalize("NFD", text.lower())
    return "".join(c for c in decomposed if unicodedata.category(c) != "Mn")


def _is_chinese(character: str) -> bool:
    return "\u4e00" <= character <= "\u9fff"


def _stands_alone(character: str) -> bool:
    return unicodedata.category(character) not in ("Cc", "Cf", "Zs", "Cn", "Co", "Zl", "Zp")


def _chinese(counts: Counter[str], frequencies: dict[str, int], number: int) -> list[str]:
    general: Counter[str] = Counter()
    for word, frequency in frequencies.items():
        for character in word:
            general[character] += frequency
    all_general, all_counted = (
        general.total(),
        sum(count for character, count in counts.items() if _is_chinese(character)),
    )

    def score(character: str) -> float:
        common = 1e-6 if _in_gb2312(character) else 0.0
        return general[character] / all_general + 0.2 * counts[character] / all_counted + common

    candidates = {c for c in (*general, *counts) if _is_chinese(c)}
    return sorted(candidates, key=lambda c: (-score(c), c))[:number]


def _in_gb2312(character: str) -> bool:
    try:
        character.encode("gb2312")
    except UnicodeEncodeError:
        return False
    return True


def _english(words: Counter[str], number: int) -> Iterator[str]:
    """WordPiece pieces (Schuster and Nakajima 2012), and each letter alone."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.WordPieceTrainer(
        vocab_size=number,
        min_frequency=5,
        special_tokens=["[UNK]"],
        continuing_subword_prefix="##",
        show_progress=False,
    )
    corpus = (" ".join([word] * min(count, 2000)) for word, count in words.items())
    tokenizer.train_from_iterator(corpus, trainer)
    ids = tokenizer.get_vocab()
    yield from (piece for piece in sorted(ids, key=ids.__getitem__) if piece != "[UNK]")
    for letter in _LETTERS:
        yield from (letter, f"##{letter}")
