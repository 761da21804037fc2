from __future__ import annotations

import json
import sys
import unicodedata
import warnings
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simsearch.bert import backend
from simsearch.checkpoint import load_checkpoint
from simsearch.errors import CheckpointError
from simsearch.tokenizer import Tokenizer, read_vocabulary

# after the backend, which sets what bert4keras wants to find; its source has invalid escapes
assert backend.tf
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from bert4keras.tokenizers import Tokenizer as Bert4kerasTokenizer

VOCABULARY = load_checkpoint("zhen-mini").vocabulary
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
    assert batch.truncated == 2
    assert [tokenizer.tokens(ids)[1:-1] for ids in batch.ids] == [list("张三请")] * 3


def test_marks_in_a_text_are_text_and_only_encode_masked_knows_one() -> None:
    tokenizer = PAIRS[True][0]
    mask = VOCABULARY.ids["[MASK]"]
    assert mask not in tokenizer.encode(["a [MASK] b"]).ids[0]
    assert tokenizer.tokens(tokenizer.encode_masked("第一[MASK]产力").ids[0]) == (
        ["[CLS]", "第", "一", "[MASK]", "产", "力", "[SEP]"]
    )


def test_the_id_is_the_line_number(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_bytes(
        "[PAD]\r\n[UNK]\r\n[CLS]\r\n[SEP]\r\n\u2028\r\na\r\n".encode()
    )
    vocabulary = read_vocabulary(tmp_path)
    assert (vocabulary.size, vocabulary.ids["a"], vocabulary.looks_cased) == (6, 5, False)


def test_capitals_outside_brackets_make_a_cased_vocabulary(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n<S>\n##Ing\n", "utf-8")
    assert read_vocabulary(tmp_path).looks_cased
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n<S>\n##ing\n", "utf-8")
    assert not read_vocabulary(tmp_path).looks_cased


def test_a_wordpiece_tokenizer_json_gives_its_vocabulary(tmp_path: Path) -> None:
    pieces = {"a": 4, "[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3}
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps({"model": {"type": "WordPiece", "vocab": pieces}}), "utf-8")
    vocabulary = read_vocabulary(tmp_path)
    assert (vocabulary.ids, vocabulary.size) == (pieces, 5)
    vocabulary.write(tmp_path / "out.txt")
    assert (tmp_path / "out.txt").read_text("utf-8") == "[PAD]\n[UNK]\n[CLS]\n[SEP]\na\n"
    path.write_text(json.dumps({"model": {"type": "Unigram", "vocab": pieces}}), "utf-8")
    with pytest.raises(CheckpointError, match="its model is Unigram; only WordPiece"):
        read_vocabulary(tmp_path)
    path.write_text("{}", "utf-8")
    with pytest.raises(CheckpointError, match="not a tokenizer file"):
        read_vocabulary(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[PAD]\n[UNK]\n[CLS]\n", r"\[SEP\] not found among its 3 lines"),
        (b"[UNK]\n[PAD]\n[CLS]\n[SEP]\n", r"\[PAD\] is on line 2; expected on line 1"),
        (b"[PAD]\n\xff\xfe\n", "not UTF-8"),
    ],
)
def test_a_broken_vocabulary_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "vocab.txt").write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        read_vocabulary(tmp_path)


def test_pythons_unicode_is_known() -> None:
    """A newer Python may know newer characters; then the list of known differences needs a look."""
    assert unicodedata.unidata_version in ("13.0.0", "14.0.0", "15.0.0", "15.1.0"), sys.version
