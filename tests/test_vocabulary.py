from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer as RustTokenizer
from tokenizers import models, normalizers, pre_tokenizers, processors

from simsearch.checkpoint.vocabulary import Vocabulary, read_vocabulary
from simsearch.errors import CheckpointError
from simsearch.tokenizer import Tokenizer

PIECES = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "caf": 4, "##e": 5, "##é": 6, "中": 7}
SCORES = [
    *(("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)),
    *(("▁", -3.0), ("▁hello", -4.0), ("hello", -5.0), ("▁w", -5.0), ("or", -5.5), ("ld", -6.0)),
    *((c, -9.0) for c in "helowrd张三请李四吃饭。<>/spa"),
    ("<mask>", 0.0),
]


def write_bert(path: Path, **normalizer: Any) -> None:
    """A tokenizer.json as transformers saves a BERT's."""
    rust = RustTokenizer(models.WordPiece(PIECES, unk_token="[UNK]"))
    rust.normalizer = normalizers.BertNormalizer(**normalizer)
    rust.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    rust.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]"])
    rust.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    rust.enable_truncation(4)
    rust.save(str(path))


def unigram() -> RustTokenizer:
    """As XLM-RoBERTa's: <pad> is 1, and 0 is a token that every text begins with."""
    rust = RustTokenizer(models.Unigram(SCORES, unk_id=3))
    rust.normalizer = normalizers.NFKC()
    rust.pre_tokenizer = pre_tokenizers.Metaspace()
    rust.add_special_tokens(["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    rust.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return rust


def bpe() -> RustTokenizer:
    """As RoBERTa's: bytes."""
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokens = ["<s>", "<pad>", "</s>", "<unk>", *sorted(alphabet), "he", "ll", "hell"]
    merges = [("h", "e"), ("l", "l"), ("he", "ll")]
    rust = RustTokenizer(models.BPE({t: i for i, t in enumerate(tokens)}, merges))
    rust.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    rust.add_special_tokens(["<s>", "<pad>", "</s>", "<unk>"])
    rust.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return rust


def saved(rust: RustTokenizer, folder: Path) -> Vocabulary:
    rust.save(str(folder / "tokenizer.json"))
    return read_vocabulary(folder)


# vocab.txt


def test_the_id_is_the_line_number(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_bytes(
        "[PAD]\r\n[UNK]\r\n[CLS]\r\n[SEP]\r\n\u2028\r\na\r\n".encode()
    )
    vocabulary = read_vocabulary(tmp_path)
    assert (vocabulary.size, vocabulary.ids["a"], vocabulary.looks_cased) == (6, 5, False)


def test_the_only_vocabulary_may_have_another_name(tmp_path: Path) -> None:
    (tmp_path / "vocab_chinese.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n", "utf-8")
    assert read_vocabulary(tmp_path).size == 4


def test_capitals_outside_brackets_make_a_cased_vocabulary(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n<S>\n##Ing\n", "utf-8")
    assert read_vocabulary(tmp_path).looks_cased
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n<S>\n##ing\n", "utf-8")
    assert not read_vocabulary(tmp_path).looks_cased


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[PAD]\n[UNK]\n[CLS]\n", r"\[SEP\] not found among its 3 lines"),
        (b"[PAD]\n\xff\xfe\n", "not UTF-8"),
    ],
)
def test_a_broken_vocabulary_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "vocab.txt").write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        read_vocabulary(tmp_path)


def test_padding_may_be_on_any_line_and_is_0_to_the_model(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("a\n[UNK]\n[CLS]\n[SEP]\n[PAD]\n", "utf-8")
    vocabulary = read_vocabulary(tmp_path)
    tokenizer = Tokenizer(vocabulary, lower_case=True, max_length=9)
    assert (vocabulary.padding, tokenizer.encode(["a b"]).ids) == (4, [[2, 4, 1, 3]])
    assert tokenizer.tokens([2, 4, 0]) == ["[CLS]", "a", "[PAD]"]


@pytest.mark.parametrize("name", ["sentencepiece.bpe.model", "spiece.model", "vocab.json"])
def test_a_vocabulary_of_another_kind_is_refused_with_advice(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(CheckpointError, match=rf"{name} alone is not read; make a tokenizer.json"):
        read_vocabulary(tmp_path)


# tokenizer.json of a BERT


@pytest.mark.parametrize("with_vocabulary", [True, False])
@pytest.mark.parametrize("lowercase", [True, False])
@pytest.mark.parametrize("strip_accents", [True, False, None])
def test_berts_tokenizer_json_is_its_vocabulary_and_two_rules(
    tmp_path: Path, with_vocabulary: bool, lowercase: bool, strip_accents: bool | None
) -> None:
    write_bert(tmp_path / "tokenizer.json", lowercase=lowercase, strip_accents=strip_accents)
    if with_vocabulary:
        (tmp_path / "vocab.txt").write_text("\n".join(PIECES), "utf-8")
    vocabulary = read_vocabulary(tmp_path)
    assert (vocabulary.ids, vocabulary.size, vocabulary.program) == (PIECES, 8, None)
    assert (vocabulary.lower_case, vocabulary.strip_accents) == (lowercase, strip_accents)
    (tmp_path / "out").mkdir()
    vocabulary.write(tmp_path / "out")
    again = read_vocabulary(tmp_path / "out")
    assert (again.ids, again.hash) == (vocabulary.ids, vocabulary.hash)


def test_without_a_tokenizer_json_its_config_says_the_rules(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("\n".join(PIECES), "utf-8")
    rules = {"do_lower_case": False, "strip_accents": None}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(rules), "utf-8")
    vocabulary = read_vocabulary(tmp_path)
    assert (vocabulary.lower_case, vocabulary.strip_accents) == (False, None)


def test_chinese_characters_may_stay_together(tmp_path: Path) -> None:
    write_bert(tmp_path / "tokenizer.json", handle_chinese_chars=False)
    vocabulary = read_vocabulary(tmp_path)
    tokenizer = Tokenizer(vocabulary, lower_case=True, max_length=9)
    assert tokenizer.encode(["中 中中"]).ids == [[2, 7, 1, 3]]  # no space between the two
    write_bert(tmp_path / "tokenizer.json")
    assert read_vocabulary(tmp_path).hash != vocabulary.hash
    (tmp_path / "tokenizer.json").unlink()
    (tmp_path / "vocab.txt").write_text("\n".join(PIECES), "utf-8")
    config(tmp_path, tokenize_chinese_chars=False)
    assert read_vocabulary(tmp_path).hash == vocabulary.hash


def config(folder: Path, **values: object) -> None:
    (folder / "tokenizer_config.json").write_text(json.dumps(values), "utf-8")


@pytest.mark.parametrize("name", ["BertTokenizer", "BertTokenizerFast", "ElectraTokenizerFast"])
def test_transformers_goes_by_the_config_for_its_classes_of_bert(tmp_path: Path, name: str) -> None:
    write_bert(tmp_path / "tokenizer.json", lowercase=False, strip_accents=False)
    config(tmp_path, tokenizer_class=name)
    vocabulary = read_vocabulary(tmp_path)
    assert (vocabulary.lower_case, vocabulary.strip_accents) == (True, None)
    config(tmp_path, tokenizer_class=name, do_lower_case=False, strip_accents=True)
    vocabulary = read_vocabulary(tmp_path)
    assert (vocabulary.lower_case, vocabulary.strip_accents) == (False, True)
    config(tmp_path, tokenizer_class="PreTrainedTokenizerFast", do_lower_case=True)
    vocabulary = read_vocabulary(tmp_path)
    assert (vocabulary.lower_case, vocabulary.strip_accents) == (False, False)


def test_of_two_vocabularies_the_one_in_the_tokenizer_json_is_taken(tmp_path: Path) -> None:
    write_bert(tmp_path / "tokenizer.json")
    (tmp_path / "vocab.txt").write_text("\n".join(reversed(PIECES)), "utf-8")
    assert read_vocabulary(tmp_path).ids == PIECES


def test_another_frame_is_put_around_a_text_as_the_file_says(tmp_path: Path) -> None:
    write_bert(tmp_path / "tokenizer.json")
    rust = RustTokenizer.from_file(str(tmp_path / "tokenizer.json"))
    rust.post_processor = processors.TemplateProcessing(
        single="[CLS] [CLS] $A", special_tokens=[("[CLS]", 2)]
    )
    tokenizer = Tokenizer(saved(rust, tmp_path), lower_case=True, max_length=9)
    assert (tokenizer.encode(["中"]).ids, tokenizer.frame) == ([[2, 2, 7]], 2)
    content = json.loads((tmp_path / "tokenizer.json").read_text("utf-8"))
    content["post_processor"] = None
    (tmp_path / "tokenizer.json").write_text(json.dumps(content), "utf-8")
    tokenizer = Tokenizer(read_vocabulary(tmp_path), lower_case=True, max_length=9)
    assert (tokenizer.encode(["中", ""]).ids, tokenizer.frame) == ([[7], [1]], 0)
    config(tmp_path, tokenizer_class="BertTokenizerFast")
    tokenizer = Tokenizer(read_vocabulary(tmp_path), lower_case=True, max_length=9)
    assert tokenizer.encode(["中"]).ids == [[2, 7, 3]]


def test_tokens_that_a_model_was_taught_are_found_in_a_text(tmp_path: Path) -> None:
    write_bert(tmp_path / "tokenizer.json")
    rust = RustTokenizer.from_file(str(tmp_path / "tokenizer.json"))
    rust.add_special_tokens(["<e1>"])
    tokenizer = Tokenizer(saved(rust, tmp_path), lower_case=True, max_length=9)
    assert tokenizer.encode(["中<e1>中"]).ids == [[2, 7, 8, 7, 3]]
    assert 3 not in tokenizer.encode(["中[SEP]"]).ids[0][1:-1]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {"tokenizer_config.json": {"tokenizer_class": "BertJapaneseTokenizer"}},
            "its tokenizer is a BertJapaneseTokenizer",
        ),
        ({"added_tokens.json": {"<e1>": 8}}, "added_tokens.json has '<e1>'"),
    ],
)
def test_a_vocabulary_that_is_not_all_there_is_to_the_tokenizer_is_refused(
    tmp_path: Path, files: dict[str, object], message: str
) -> None:
    (tmp_path / "vocab.txt").write_text("\n".join(PIECES), "utf-8")
    assert read_vocabulary(tmp_path).size == 8
    for name, content in files.items():
        (tmp_path / name).write_text(json.dumps(content), "utf-8")
    with pytest.raises(CheckpointError, match=message):
        read_vocabulary(tmp_path)


@pytest.mark.parametrize(
    ("pieces", "message"),
    [
        ([f"今天{chr(0x4E00 + i)}" for i in range(101)], "has 101 Chinese words such as '今天一'"),
        ([f"▁{chr(0x4E00 + i)}" for i in range(101)], r"its pieces are SentencePiece's \(▁\)"),
    ],
)
def test_pieces_that_wordpiece_would_never_find_are_refused(
    tmp_path: Path, pieces: list[str], message: str
) -> None:
    (tmp_path / "vocab.txt").write_text("\n".join([*PIECES, *pieces]), "utf-8")
    with pytest.raises(CheckpointError, match=message):
        read_vocabulary(tmp_path)


def test_empty_lines_at_the_end_are_no_pieces(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("\n".join(PIECES) + "\n\n\n", "utf-8")
    assert read_vocabulary(tmp_path).size == 8


# tokenizer.json of any other kind


@pytest.mark.parametrize("make", [unigram, bpe])
@given(text=st.text(alphabet="helo wrd张三请é👍🏽\t\n.", max_size=30))
def test_ids_are_those_of_tokenizers_with_padding_at_0(
    make: Any, text: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    rust = make()
    vocabulary = saved(rust, tmp_path_factory.mktemp("words"))
    tokenizer = Tokenizer(vocabulary, lower_case=False, max_length=1000)
    exchanged = {0: 1, 1: 0}
    expected = [exchanged.get(i, i) for i in rust.encode(text).ids]
    assert tokenizer.encode([text]).ids == [expected]
    assert tokenizer.counts([text]) == [len(expected)]
    known = [i for i in rust.encode(text).ids if i != 3]  # of the unknown it shows the text
    assert tokenizer.tokens([exchanged.get(i, i) for i in known]) == [
        rust.id_to_token(i) for i in known
    ]
    (spans,) = tokenizer.spans([text], 3, 1)
    assert (spans[0][0], spans[-1][1]) == (0, len(text))
    assert all(a < c <= b < d for (a, b), (c, d) in pairwise(spans))


def test_special_tokens_in_a_text_are_text(tmp_path: Path) -> None:
    tokenizer = Tokenizer(saved(unigram(), tmp_path), lower_case=False, max_length=99)
    for mark in ("<pad>", "<mask>", "</s>", "<s>"):
        (ids,) = tokenizer.encode([f"hello{mark}hello"]).ids
        assert 0 not in ids  # which would be left out as padding
        assert tokenizer.tokens(ids)[0] == "<s>"
        assert tokenizer.tokens(ids)[-1] == "</s>"
    (ids,) = tokenizer.encode_masked("hello[MASK]").ids
    assert tokenizer.tokens(ids)[-2] == "<mask>"
    assert tokenizer.mask == ids[-2]


def test_truncation_leaves_the_frame(tmp_path: Path) -> None:
    tokenizer = Tokenizer(saved(unigram(), tmp_path), lower_case=False, max_length=4)
    batch = tokenizer.encode(["hello world", "hello"])
    assert [tokenizer.tokens(ids) for ids in batch.ids] == [
        ["<s>", "▁hello", "▁w", "</s>"],
        ["<s>", "▁hello", "</s>"],
    ]
    assert sum(batch.cut) == 1


def test_the_hash_is_of_what_decides_ids(tmp_path: Path) -> None:
    rust = unigram()
    plain = saved(rust, tmp_path)
    rust.enable_truncation(7)
    rust.enable_padding(pad_id=1, pad_token="<pad>")
    assert saved(rust, tmp_path).hash == plain.hash
    rust.normalizer = normalizers.NFC()
    assert saved(rust, tmp_path).hash != plain.hash


def test_a_copy_is_the_same_tokenizer(tmp_path: Path) -> None:
    vocabulary = saved(unigram(), tmp_path)
    (tmp_path / "copy").mkdir()
    vocabulary.write(tmp_path / "copy")
    copy = read_vocabulary(tmp_path / "copy")
    assert (copy.hash, copy.ids) == (vocabulary.hash, vocabulary.ids)


def without(part: str) -> str:
    content = json.loads(unigram().to_str())
    del content[part]
    return json.dumps(content)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{}", "not a tokenizer file"),
        ("[]", "expected a JSON object, got list"),
        ("{", "not readable as JSON"),
        (without("model"), "not a tokenizer file"),
        (unigram().to_str().replace("<pad>", "<fill>"), r"has no token \[PAD\] or <pad>"),
        (unigram().to_str().replace('"Unigram"', '"Trigram"'), "not a tokenizer that can be run"),
        (unigram().to_str().replace('"NFKC"', '"ABC"'), "not a tokenizer that can be run"),
    ],
)
def test_a_broken_tokenizer_json_is_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "tokenizer.json").write_text(content, "utf-8")
    with pytest.raises(CheckpointError, match=message):
        Tokenizer(read_vocabulary(tmp_path), lower_case=False, max_length=9)
