"""WordPiece: from texts to the token ids of a checkpoint's vocabulary.

The work is done by Hugging Face ``tokenizers``; the ids equal those of bert4keras' Tokenizer
(lower-casing by Python's ``str.lower``, accents stripped after it, words of more than 200
characters unknown). Where the two differ we keep the former, whose Unicode tables don't change with
the Python version: private-use characters are dropped (bert4keras: unknown), the CJK characters
U+2B820 to U+2B91F do not split words, and marks and punctuation of Unicode 9 and later count as
letters. Lone surrogates are dropped.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer as RustTokenizer
from tokenizers import models, normalizers, pre_tokenizers

from simsearch.errors import CheckpointError

# bert4keras' word_maxlen; Google's and Hugging Face's own default is 100 in places
_LONGEST_WORD = 200
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The word pieces of a checkpoint, read from ``path``; ``ids`` maps a piece to its id."""

    path: Path
    ids: dict[str, int]
    size: int

    @property
    def hash(self) -> str:
        """SHA-256 of the pieces in the order of their ids."""
        pieces = sorted(self.ids.items(), key=lambda item: item[1])
        return hashlib.sha256("\n".join(f"{i}\t{p}" for p, i in pieces).encode()).hexdigest()

    def write(self, path: Path) -> None:
        """Write it as ``vocab.txt``."""
        if self.path.name == "vocab.txt":
            shutil.copyfile(self.path, path)  # pieces that occur twice and all
        else:
            pieces = sorted(self.ids, key=self.ids.__getitem__)
            path.write_text("".join(f"{piece}\n" for piece in pieces), "utf-8")

    @property
    def looks_cased(self) -> bool:
        """Whether a piece has a capital letter; [UNK] and other bracketed marks do not count."""
        return any(re.search("[A-Z]", piece) and piece[0] not in "[<" for piece in self.ids)


def read_vocabulary(folder: Path) -> Vocabulary:
    """Read ``vocab.txt``, else the vocabulary of a WordPiece ``tokenizer.json``.

    In ``vocab.txt`` the id is the line number, counted from 0. Raises CheckpointError if neither is
    there, or if it lacks [PAD] as id 0, [UNK], [CLS] or [SEP].
    """
    path = folder / "vocab.txt"
    if path.is_file():
        ids, size = _lines_of(path)
    elif (folder / "tokenizer.json").is_file():
        path = folder / "tokenizer.json"
        ids = _pieces_of(path)
        size = len(ids)
    else:
        raise CheckpointError(f"{path}: no such file, nor a tokenizer.json; copy it anew")
    missing = [piece for piece in _SPECIAL if piece not in ids]
    if missing:
        raise CheckpointError(
            f"{path}: {', '.join(missing)} not found among its {size} lines; "
            "is this the vocabulary of the checkpoint?"
        )
    if ids["[PAD]"] != 0:
        raise CheckpointError(f"{path}: [PAD] is on line {ids['[PAD]'] + 1}; expected on line 1")
    return Vocabulary(path, ids, size)


def _lines_of(path: Path) -> tuple[dict[str, int], int]:
    try:
        content = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{path}: not UTF-8 ({error.reason} at byte {error.start})") from None
    lines = content.replace("\r\n", "\n").removesuffix("\n").split("\n")
    # Google's loader strips the line; a piece that occurs twice keeps its last id, as there.
    return {line.strip() or line: i for i, line in enumerate(lines)}, len(lines)


def _pieces_of(path: Path) -> dict[str, int]:
    try:
        model = json.loads(path.read_bytes())["model"]
        kind, ids = model["type"], {str(piece): int(i) for piece, i in model["vocab"].items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path}: not a tokenizer file ({error!r}); copy it anew") from None
    if kind != "WordPiece" or sorted(ids.values()) != list(range(len(ids))):
        raise CheckpointError(f"{path}: its model is {kind}; only WordPiece is supported")
    return ids


@dataclass(frozen=True, slots=True)
class TokenBatch:
    """Token ids of each text, [CLS] and [SEP] included, and how many texts had to be cut."""

    ids: list[list[int]]
    truncated: int


class Tokenizer:
    """Turns texts into ids of at most ``max_length`` tokens, [CLS] and [SEP] included."""

    def __init__(self, vocabulary: Vocabulary, *, lower_case: bool, max_length: int) -> None:
        self.vocabulary = vocabulary
        self.lower_case = lower_case
        self.max_length = max_length
        self._pieces = {i: piece for piece, i in vocabulary.ids.items()}
        # Nothing is registered as a special token: "[SEP]" in a text is three ordinary pieces.
        self._rust = RustTokenizer(
            models.WordPiece(
                vocabulary.ids, unk_token="[UNK]", max_input_chars_per_word=_LONGEST_WORD
            )
        )
        self._rust.normalizer = normalizers.BertNormalizer(
            clean_text=True, handle_chinese_chars=True, strip_accents=lower_case, lowercase=False
        )
        self._rust.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        self._cls, self._sep = vocabulary.ids["[CLS]"], vocabulary.ids["[SEP]"]

    def encode(self, texts: Sequence[str]) -> TokenBatch:
        """Ids of each text; a longer text keeps its first ``max_length - 2`` pieces."""
        return self._framed(self._pieces_of(texts))

    def encode_masked(self, text: str) -> TokenBatch:
        """As ``encode`` for one text in which every literal "[MASK]" is the mask token."""
        mask = self.vocabulary.ids.get("[MASK]")
        if mask is None:
            raise CheckpointError(f"{self.vocabulary.path}: has no [MASK], so it cannot fill one")
        first, *rest = self._pieces_of(text.split("[MASK]"))
        return self._framed([[*first, *(i for ids in rest for i in (mask, *ids))]])

    def _pieces_of(self, texts: Sequence[str]) -> list[list[int]]:
        encodings = self._rust.encode_batch_fast([self._clean(text) for text in texts])
        return [encoding.ids for encoding in encodings]

    def _framed(self, pieces: list[list[int]]) -> TokenBatch:
        room = self.max_length - 2
        return TokenBatch(
            ids=[[self._cls, *ids[:room], self._sep] for ids in pieces],
            truncated=sum(len(ids) > room for ids in pieces),
        )

    def tokens(self, ids: Sequence[int]) -> list[str]:
        """The pieces with these ids."""
        return [self._pieces[i] for i in ids]

    def _clean(self, text: str) -> str:
        # U+FFFD is dropped by the normalizer; a lone surrogate could not even be handed to it.
        text = _LONE_SURROGATE.sub("\ufffd", text)
        return text.lower() if self.lower_case else text
