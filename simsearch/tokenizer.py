"""From texts to the token ids of a checkpoint's vocabulary.

The work is done by Hugging Face ``tokenizers``. For WordPiece the ids equal those of bert4keras'
Tokenizer (lower-casing by Python's ``str.lower``, accents stripped after it, words of more than 200
characters unknown). Where the two differ we keep the former, whose Unicode tables don't change with
the Python version: private-use characters are dropped (bert4keras: unknown), the CJK characters
U+2B820 to U+2B91F do not split words, and marks and punctuation of Unicode 9 and later count as
letters. Lone surrogates are dropped. Any other tokenizer is run as its ``tokenizer.json`` says.

To the model 0 is padding, and nothing else: where a vocabulary has another token there, the two
change places, here in the ids and in the rows of the embedding table as they are read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tokenizers import Encoding, models, normalizers, pre_tokenizers
from tokenizers import Tokenizer as RustTokenizer

from simsearch.checkpoint import Checkpoint
from simsearch.checkpoint.vocabulary import Vocabulary
from simsearch.errors import CheckpointError, SettingsError
from simsearch.records import Span

LONGEST_WORD = 200
"""Characters; bert4keras' word_maxlen. Google's and Hugging Face's own is 100 in places."""
TextPair = tuple[str, str]
"""Two texts that a model reads together."""
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class TokenBatch:
    """Token ids of each text, the frame ([CLS], [SEP]) included, and whether it was cut."""

    ids: list[list[int]]
    cut: list[bool]


class Pieces(NamedTuple):
    """A text as it is tokenized, and of each piece its word's number and where in it it begins.

    Words are what stands between spaces and punctuation; a Chinese character is one of its own.
    """

    text: str
    words: list[int | None]
    starts: list[int]


class Tokenizer:
    """Turns texts into ids of at most ``max_length`` tokens, [CLS] and [SEP] included.

    ``lower_case`` comes before any rule of the tokenizer's own; ``strip_accents`` (by default as
    ``lower_case``) is for WordPiece.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        *,
        lower_case: bool,
        strip_accents: bool | None = None,
        max_length: int,
    ) -> None:
        self.vocabulary = vocabulary
        self.max_length = max_length
        self._lower_case = lower_case
        self._padding = vocabulary.padding
        self._tokens = {self._to_model(i): token for token, i in vocabulary.ids.items()}
        if vocabulary.program is not None:
            self._rust, before, after = _from_program(vocabulary.path, vocabulary.program)
        else:
            strip = lower_case if strip_accents is None else strip_accents
            self._rust = _wordpiece(vocabulary, strip)
            before, after = [vocabulary.ids["[CLS]"]], [vocabulary.ids["[SEP]"]]
        self._before = [self._to_model(i) for i in before]
        self._after = [self._to_model(i) for i in after]
        self.frame = len(before) + len(after)
        self.first = len(before)
        if max_length <= self.frame:
            raise SettingsError(
                f"max_length {max_length} leaves no token of a text beside the {self.frame} that "
                f"frame it; expected {self.frame + 1} or more"
            )

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> Tokenizer:
        """The tokenizer of a checkpoint, as its files and the options given for them say."""
        return cls(
            checkpoint.vocabulary,
            lower_case=checkpoint.lower_case,
            strip_accents=checkpoint.strip_accents,
            max_length=checkpoint.max_length,
        )

    def _to_model(self, i: int) -> int:
        """The model's id for an id of the vocabulary, and the other way round."""
        return self._padding if i == 0 else 0 if i == self._padding else i

    def encode(self, texts: Sequence[str]) -> TokenBatch:
        """Ids of each text; a longer text keeps its first ``max_length - frame`` pieces."""
        return self._framed(self._pieces_of(texts))

    def encode_pairs(self, pairs: Sequence[TextPair]) -> TokenBatch:
        """Ids of two texts as one, [SEP] between them; of two that don't fit the longer is cut.

        The one that sorts first comes first, so that it plays no part which is given first.
        """
        room = self.max_length - self.frame - len(self._after)
        if room < 2:
            raise SettingsError(f"max_length {self.max_length} leaves no room for two texts")
        ordered = [sorted(pair) for pair in pairs]
        firsts, seconds = (self._pieces_of([pair[side] for pair in ordered]) for side in (0, 1))
        ids, cut = [], []
        for first, second in zip(firsts, seconds, strict=True):
            kept = min(len(second), max(room // 2, room - len(first)))
            ids.append(
                [
                    *self._before,
                    *first[: room - kept],
                    *self._after,
                    *second[:kept],
                    *self._after,
                ]
            )
            cut.append(len(first) + len(second) > room)
        return TokenBatch(ids, cut)

    def encode_masked(self, text: str) -> TokenBatch:
        """As ``encode`` for one text in which every literal "[MASK]" is the mask token."""
        first, *rest = self._pieces_of(text.split("[MASK]"))
        return self._framed([[*first, *(i for ids in rest for i in (self.mask, *ids))]])

    @property
    def mask(self) -> int:
        """The id of the mask token. Raises CheckpointError if there is none."""
        mask = self.vocabulary.mask
        if mask is None:
            raise CheckpointError(f"{self.vocabulary.path}: has no [MASK], so it cannot fill one")
        return self._to_model(mask)

    def encode_units(self, units: Sequence[str]) -> tuple[list[int], list[int]]:
        """Ids of a text that is given in units, and where the first piece of each unit is.

        Units that don't fit into ``max_length`` have no place: there are fewer places then. A unit
        that has no piece, such as a space, is the unknown token.
        """
        unknown = self._to_model(self.vocabulary.unknown)
        room, ids, places = self.max_length - self.frame, list[int](), list[int]()
        for pieces in self._pieces_of(units):
            if len(ids) + max(1, len(pieces)) > room:
                break
            places.append(self.first + len(ids))
            ids += pieces or [unknown]
        return [*self._before, *ids, *self._after], places

    def counts(self, texts: Sequence[str]) -> list[int]:
        """How many tokens each text has with nothing cut, the frame included."""
        return [len(ids) + self.frame for ids in self._pieces_of(texts)]

    def unframed(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text alone, with nothing before, after or cut."""
        return self._pieces_of(texts)

    def spans(self, texts: Sequence[str], tokens: int, overlap: int) -> list[list[Span]]:
        """Where to cut each text into chunks of at most ``tokens`` tokens, the frame not counted.

        Chunks share up to ``overlap`` tokens, begin at the start of a word where one is near, and
        together cover every character of the text.
        """
        return [
            _spans(encoding, _origins(text, self._clean(text)), tokens, overlap)
            for text, encoding in zip(texts, self._encodings(texts), strict=True)
        ]

    def pieces(self, texts: Sequence[str]) -> list[Pieces]:
        """Where the pieces of each text come from, with nothing cut."""
        return [
            Pieces(self._clean(text), encoding.word_ids, [start for start, _ in encoding.offsets])
            for text, encoding in zip(texts, self._encodings(texts), strict=True)
        ]

    def word_spans(self, texts: Sequence[str]) -> list[list[Span]]:
        """Where the words of each text are (see ``Pieces``), in its characters."""
        found = []
        for text, encoding in zip(texts, self._encodings(texts), strict=True):
            origins, spans = _origins(text, self._clean(text)), dict[int | None, Span]()
            for word, (start, stop) in zip(encoding.word_ids, encoding.offsets, strict=True):
                first, _ = spans.get(word, (origins[start], 0))
                spans[word] = (first, max(origins[stop], first + 1))
            found.append(list(spans.values()))
        return found

    def _encodings(self, texts: Sequence[str]) -> list[Encoding]:
        """With offsets, which take longer."""
        cleaned = [self._clean(text) for text in texts]
        return self._rust.encode_batch(cleaned, add_special_tokens=False)

    def tokens(self, ids: Sequence[int]) -> list[str]:
        """The tokens with these ids."""
        return [self._tokens[i] for i in ids]

    def _pieces_of(self, texts: Sequence[str]) -> list[list[int]]:
        cleaned = [self._clean(text) for text in texts]
        encodings = self._rust.encode_batch_fast(cleaned, add_special_tokens=False)
        pieces = [encoding.ids for encoding in encodings]
        if self._padding == 0:
            return pieces
        return [self._exchanged(ids) if 0 in ids or self._padding in ids else ids for ids in pieces]

    def _exchanged(self, ids: list[int]) -> list[int]:
        # "<pad>" written in a text is not padding: whatever is not known, then
        unknown = self._to_model(self.vocabulary.unknown)
        return [self._to_model(i) or unknown for i in ids]

    def _framed(self, pieces: list[list[int]]) -> TokenBatch:
        room = self.max_length - self.frame
        framed = [[*self._before, *ids[:room], *self._after] for ids in pieces]
        if not self.frame:  # then an empty text has no token, and no mean
            unknown = self._to_model(self.vocabulary.unknown)
            framed = [ids or [unknown] for ids in framed]
        return TokenBatch(framed, cut=[len(ids) > room for ids in pieces])

    def _clean(self, text: str) -> str:
        # U+FFFD is dropped by the normalizer; a lone surrogate could not even be handed to it.
        text = _LONE_SURROGATE.sub("\ufffd", text)
        return text.lower() if self._lower_case else text


def _wordpiece(vocabulary: Vocabulary, strip_accents: bool) -> RustTokenizer:
    # Nothing is registered as a special token: "[SEP]" in a text is three ordinary pieces.
    rust = RustTokenizer(
        models.WordPiece(
            dict(vocabulary.ids), unk_token="[UNK]", max_input_chars_per_word=LONGEST_WORD
        )
    )
    rust.normalizer = normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=vocabulary.split_chinese,
        strip_accents=strip_accents,
        lowercase=False,
    )
    rust.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return rust


def _from_program(path: Path, program: str) -> tuple[RustTokenizer, list[int], list[int]]:
    """The tokenizer of a ``tokenizer.json``, and the ids that it puts before and after a text."""
    try:
        rust = RustTokenizer.from_str(program)
        framed = rust.encode("a")
    except Exception as error:  # tokenizers raises no narrower one
        raise CheckpointError(
            f"{path}: not a tokenizer that can be run ({error}); copy it anew"
        ) from None
    rust.no_truncation()
    rust.no_padding()
    rust.encode_special_tokens = True  # "</s>" in a text is text
    inner = [i for i, special in enumerate(framed.special_tokens_mask) if not special]
    if not inner:
        raise CheckpointError(f'{path}: gives no token for "a"; copy it anew')
    return rust, framed.ids[: inner[0]], framed.ids[inner[-1] + 1 :]


# Chunks


def _origins(text: str, cleaned: str) -> Sequence[int]:
    """For each character of the cleaned text, and its end, the character of the text it is from."""
    if len(text) == len(cleaned):
        return range(len(text) + 1)
    # lower-casing made two of one: İ
    return [i for i, c in enumerate(text) for _ in c.lower()] + [len(text)]


_INSIDE, _CHARACTER, _WORD = range(3)


def _spans(encoding: Encoding, origins: Sequence[int], tokens: int, overlap: int) -> list[Span]:
    starts = [origins[start] for start, _ in encoding.offsets] + [origins[-1]]
    words = encoding.word_ids
    # what a cut before each token would cut; before the first and after the last it cuts nothing
    cuts = [
        _INSIDE if starts[i] <= starts[i - 1] else _WORD if words[i] != words[i - 1] else _CHARACTER
        for i in range(1, len(words))
    ]
    starts[0] = 0
    spans: list[Span] = []
    for first, end in _windows([_WORD, *cuts, _WORD] if words else [_WORD], tokens, overlap):
        stop = starts[end] if words else origins[-1]
        if not spans or stop > spans[-1][1]:  # a last token may stand for no character
            spans.append((starts[first], stop))
    return spans


def _windows(cuts: Sequence[int], tokens: int, overlap: int) -> Iterator[Span]:
    """Windows of at most ``tokens`` over the tokens, cut where ``cuts`` is best.

    They begin and end later each than the one before, and no character is ever cut, even if that
    takes a window of more tokens.
    """
    count, first, end = len(cuts) - 1, 0, 0
    while True:
        end = _best_end(cuts, first, max(first, end), min(first + tokens, count))
        yield first, end
        if end == count:
            return
        # forward to the start of a word, so that no more than the overlap is shared
        shared = range(max(end - overlap, first + 1), end)
        inside_word = next((i for i in shared if cuts[i] >= _CHARACTER), end)
        first = next((i for i in shared if cuts[i] == _WORD), inside_word)


def _best_end(cuts: Sequence[int], first: int, after: int, limit: int) -> int:
    """Back to the start of a word, but not past the middle of the window; else of a character."""
    if limit == len(cuts) - 1:
        return limit
    whole = [i for i in range(after + 1, limit + 1) if cuts[i] >= _CHARACTER]
    words = [i for i in whole if cuts[i] == _WORD and i > (first + limit) // 2]
    for found in (words, whole):
        if found:
            return found[-1]
    return next(i for i in range(limit, len(cuts)) if cuts[i] >= _CHARACTER)
