from __future__ import annotations

import sys
import unicodedata
import warnings
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simsearch.bert import backend
from simsearch.checkpoint import load_checkpoint
from simsearch.errors import SettingsError
from simsearch.tokenizer import Tokenizer

# after the backend, which sets what bert4keras wants to find; its source has invalid escapes
assert backend.tf
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from bert4keras.tokenizers import Tokenizer as Bert4kerasTokenizer

VOCABULARY = load_checkpoint("zhen-small").vocabulary
PAIRS = {
    lower: (
        Tokenizer(VOCABULARY, lower_case=lower, max_length=100_000),
        Bert4kerasTokenizer(str(VOCABULARY.path), do_lower_case=lower),
    )
    for lower in (True, False)
}


def known_to_differ(c: str) -> bool:
    """Characters that the two treat differently, as the module's docstring says."""
    code = ord(c)
    if 0x2B820 <= code <= 0x2B91F or 0xD800 <= code <= 0xDFFF:
        return True
    if code in (0x166D, 0x1734, 0x1885, 0x1886):  # given another category since Unicode 9
        return True
    category = unicodedata.category(c)
    # Marks, punctuation and format characters that Unicode 9 and later added; Python's own table of
    # Unicode 3.2 tells the old ones, and everything between is left to the sweep below.
    new = unicodedata.ucd_3_2_0.category(c) == "Cn"
    return category in ("Co", "Cn") or (new and category[0] in "MPCS")


ordinary = st.characters(codec="utf-8").filter(lambda c: not known_to_differ(c))
nasty = st.one_of(
    ordinary,
    st.sampled_from("张三请李四吃饭，。！？「」（）ＡＢＣ１２３ｱｲｳ㈱①"),
    st.sampled_from("àéîõüßẞİıŞǅŒΣςσάϋЁйÅÅ"),
    st.sampled_from(
        "\0\x01\x1c\x7f\x85\xa0\u00ad\u200b\u200d\u2028\u2029\u3000\ufeff\ufffd\t\n\r "
    ),
    st.sampled_from("👍🏽👨‍👩‍👧🇨🇳☕️①𠀀𪚥𫝀豈丽々〇ゝｶﾞ한글กำไทย"),
    st.sampled_from(["[CLS]", "[SEP]", "[MASK]", "[PAD]", "##ing", "don't", "U.S.A.", "a" * 250]),
)


@pytest.mark.parametrize("lower", [True, False])
@given(parts=st.lists(nasty, max_size=40))
def test_ids_equal_those_of_bert4keras(lower: bool, parts: list[str]) -> None:
    text = "".join(parts)
    ours, theirs = PAIRS[lower]
    assert ours.encode([text]).ids == [theirs.encode(text)[0]]


@pytest.mark.parametrize("lower", [True, False])
def test_every_character_where_the_two_differ_is_of_a_known_kind(lower: bool) -> None:
    ours, theirs = PAIRS[lower]
    # the great uniform blocks are sampled at their ends
    uniform = [(0x3400, 0x9FFF), (0xAC00, 0xD7A3), (0xD800, 0xF8FF), (0x20000, 0x2B73F)]
    ends = {code for block in uniform for end in block for code in range(end - 3, end + 4)}
    skipped = {code for low, high in uniform for code in range(low, high + 1)} - ends
    chars = [chr(code) for code in range(0x30000) if code not in skipped]
    chars = [c for c in chars if unicodedata.category(c) not in ("Cn", "Cs")]
    encoded = ours.encode([f"a{c}b" for c in chars]).ids
    differing = [
        c for c, ids in zip(chars, encoded, strict=True) if ids != theirs.encode(f"a{c}b")[0]
    ]
    unexpected = [hex(ord(c)) for c in differing if not known_to_differ(c)]
    assert unexpected == []
    # and what people write is not among them
    everyday = [
        *range(0x20, 0x600),
        *range(0x2000, 0x2070),
        *range(0x3000, 0x3100),
        *range(0xFF00, 0xFFEF),
    ]
    assert {ord(c) for c in differing}.isdisjoint(everyday)


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("Running", ["run", "##ning"]),
        ("ÀÉ", ["ae"]),
        ("中文ABC", ["中", "文", "ab", "##c"]),
        ("a\ue000b", ["ab"]),  # private use: dropped
        ("a\ud800b", ["ab"]),  # lone surrogate: dropped
        ("x" * 201, ["[UNK]"]),
        ("", []),
        (" \u3000\t", []),
    ],
)
def test_pieces_that_can_be_checked_by_eye(text: str, pieces: list[str]) -> None:
    tokenizer = PAIRS[True][0]
    (ids,) = tokenizer.encode([text]).ids
    assert "".join(tokenizer.tokens(ids)).replace("##", "") == "".join(
        ["[CLS]", *pieces, "[SEP]"]
    ).replace("##", "")


def test_truncation_keeps_the_beginning_and_is_counted() -> None:
    tokenizer = Tokenizer(VOCABULARY, lower_case=True, max_length=5)
    batch = tokenizer.encode(["张三请", "张三请李", "张三请李四"])
    assert sum(batch.cut) == 2
    assert [tokenizer.tokens(ids)[1:-1] for ids in batch.ids] == [list("张三请")] * 3


def test_marks_in_a_text_are_text_and_only_encode_masked_knows_one() -> None:
    tokenizer = PAIRS[True][0]
    mask = VOCABULARY.ids["[MASK]"]
    assert mask not in tokenizer.encode(["a [MASK] b"]).ids[0]
    assert tokenizer.tokens(tokenizer.encode_masked("第一[MASK]产力").ids[0]) == (
        ["[CLS]", "第", "一", "[MASK]", "产", "力", "[SEP]"]
    )


@pytest.mark.parametrize(
    ("lower_case", "strip_accents", "ids_of"),
    [
        (True, True, "cafe ecole"),
        (True, False, "café école"),
        (False, True, "Cafe Ecole"),
        (False, False, "Café École"),
    ],
)
def test_case_and_accents_are_two_choices(
    lower_case: bool, strip_accents: bool, ids_of: str
) -> None:
    plain = Tokenizer(VOCABULARY, lower_case=False, strip_accents=False, max_length=64)
    chosen = Tokenizer(
        VOCABULARY, lower_case=lower_case, strip_accents=strip_accents, max_length=64
    )
    assert chosen.encode(["Café École"]) == plain.encode([ids_of])


def test_a_length_without_room_for_a_token_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"max_length 2 leaves no token .* expected 3 or more"):
        Tokenizer(VOCABULARY, lower_case=True, max_length=2)


# Chunks


def test_chunks_that_can_be_checked_by_eye() -> None:
    tokenizer = PAIRS[True][0]
    text = "张三请李四吃饭。"
    (spans,) = tokenizer.spans([text], 3, 1)
    assert [text[slice(*span)] for span in spans] == ["张三请", "请李四", "四吃饭", "饭。"]
    (spans,) = tokenizer.spans(["  The dog bit the man. "], 4, 0)
    assert spans == [(0, 18), (18, 23)]
    assert tokenizer.spans(["", " \t", "a"], 1, 0) == [[(0, 0)], [(0, 2)], [(0, 1)]]


def test_a_chunk_begins_with_a_word_where_one_is_near() -> None:
    tokenizer = PAIRS[True][0]
    text = "running skating paddling canoeing bicycling"
    for tokens in range(2, 12):
        (spans,) = tokenizer.spans([text], tokens, 0)
        longest = max(tokenizer.counts(text.split())) - 2
        if tokens >= 2 * longest:
            assert all(start == 0 or text[start - 1] == " " for start, _ in spans)


def test_what_lower_casing_makes_longer_is_cut_where_it_was() -> None:
    text = "İİİİ 张三"  # each İ becomes two characters
    (spans,) = PAIRS[True][0].spans([text], 1, 0)
    assert (spans[0][0], spans[-1][1]) == (0, len(text))
    assert text[slice(*spans[-1])] == "三"


@given(
    parts=st.lists(nasty, max_size=60),
    tokens=st.integers(1, 12),
    data=st.data(),
)
def test_chunks_cover_the_text_and_are_never_too_long(
    parts: list[str], tokens: int, data: st.DataObject
) -> None:
    overlap = data.draw(st.integers(0, tokens - 1))
    tokenizer, text = PAIRS[True][0], " ".join(parts)
    (spans,) = tokenizer.spans([text], tokens, overlap)
    assert (spans[0][0], spans[-1][1]) == (0, len(text))
    for (start, stop), (following, end) in pairwise(spans):
        assert start < following <= stop < end
        shared = tokenizer.counts([text[following:stop]])[0] - tokenizer.frame
        assert shared <= max(overlap, 1)
    if tokenizer.counts([text])[0] - tokenizer.frame <= tokens:
        assert spans == [(0, len(text))]


def test_pythons_unicode_is_known() -> None:
    """A newer Python may know newer characters; then the list of known differences needs a look."""
    assert unicodedata.unidata_version in ("13.0.0", "14.0.0", "15.0.0", "15.1.0"), sys.version


UNITS = Tokenizer(VOCABULARY, lower_case=True, max_length=12)


def test_each_unit_has_the_place_of_its_first_piece() -> None:
    ids, places = UNITS.encode_units(["我", "unbelievableness", " ", "好"])
    tokens = UNITS.tokens(ids)
    assert tokens[0] == "[CLS]"
    assert tokens[-1] == "[SEP]"
    assert [tokens[place] for place in places] == ["我", tokens[2], "[UNK]", "好"]
    pieces = tokens[places[1] : places[2]]
    assert "".join(piece.removeprefix("##") for piece in pieces) == "unbelievableness"


def test_what_does_not_fit_has_no_place() -> None:
    ids, places = UNITS.encode_units(["好"] * 30)
    assert (len(ids), places) == (12, list(range(1, 11)))
    ids, places = UNITS.encode_units(["好"] * 9 + ["unbelievableness", "好"])
    assert (len(ids), places) == (11, list(range(1, 10)))


def test_no_units() -> None:
    ids, places = UNITS.encode_units([])
    assert (UNITS.tokens(ids), places) == (["[CLS]", "[SEP]"], [])


def test_words_are_found_in_the_text_as_it_was_given() -> None:
    texts = ["İstanbul's Unbelievableness 很好", "", " a\ufeffb "]
    words = [
        [text[start:stop] for start, stop in spans]
        for text, spans in zip(texts, UNITS.word_spans(texts), strict=True)
    ]
    assert words[0] == ["İstanbul", "'", "s", "Unbelievableness", "很", "好"]
    assert words[1] == []
    assert [word.strip("\ufeff ") for word in words[2]] == ["a\ufeffb"]
