"""Saved encoders: what sentence-transformers is to read, and that we read it as the same encoder.

The vectors themselves are compared with sentence-transformers' in benchmarks/exported.py.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import checkpoints
import numpy as np
import pytest
from checkpoints import PIECES, TINY_ALBERT, TINY_BERT, TINY_ELECTRA, TINY_NEZHA, TINY_ROFORMER
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import load_file
from tokenizers import Tokenizer as RustTokenizer
from tokenizers import models, pre_tokenizers, processors

from simsearch.checkpoint import load_checkpoint
from simsearch.checkpoint.architecture import Architecture
from simsearch.cli.commands import cli
from simsearch.errors import SettingsError
from simsearch.pooling import resolve_pooling
from simsearch.saving import save_huggingface
from simsearch.saving.tokenizer_files import write_tokenizer
from simsearch.sentence_encoder import SentenceEncoder
from simsearch.tokenizer import Tokenizer

TEXTS = ["the dog bit the man .", "张三请李四吃饭。", "a b c", "d e f", "! , .", ""]
FAMILIES = (TINY_BERT, TINY_ALBERT, TINY_ELECTRA, TINY_ROFORMER)


def written(folder: Path, a: Architecture) -> Path:
    return checkpoints.write_google(folder, a, checkpoints.random_variables(a))


def read(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))


def exported(source: Path, out: Path, **options: Any) -> SentenceEncoder:
    encoder = SentenceEncoder.load(source, precision="float32", **options)
    encoder.export_hf(out)
    return encoder


def saved(source: Path, out: Path, pooling: str = "mean", layers: list[int] | None = None) -> None:
    """As ``exported``, without an encoder, which takes longer."""
    save_huggingface(out, load_checkpoint(source), resolve_pooling(pooling, layers, 3), None)


# The same encoder again


@pytest.mark.parametrize("a", FAMILIES, ids=lambda a: a.family)
def test_an_exported_encoder_loads_as_the_same_encoder(a: Architecture, tmp_path: Path) -> None:
    out = tmp_path / "导出 的" / "encoder"
    encoder = exported(written(tmp_path / "source", a), out)
    loaded = SentenceEncoder.load(out, precision="float32")
    assert loaded.fingerprint == encoder.fingerprint
    np.testing.assert_array_equal(loaded.encode(TEXTS), encoder.encode(TEXTS))
    assert [path.name for path in out.parent.iterdir()] == ["encoder"]


def test_options_and_whitening_are_exported_too(tiny_bert: Path, tmp_path: Path) -> None:
    options = {"pooling": "cls", "layers": [0, 2], "lower_case": False, "max_length": 9}
    plain = SentenceEncoder.load(tiny_bert, **options)
    encoder = exported(
        tiny_bert, tmp_path / "out", **options, whitening=plain.fit_whitening(TEXTS), dim=3
    )
    loaded = SentenceEncoder.load(tmp_path / "out")
    assert (loaded.fingerprint, loaded.dim) == (encoder.fingerprint, 3)


def test_computed_positions_are_as_many_as_a_text_may_have_tokens(tmp_path: Path) -> None:
    encoder = exported(written(tmp_path / "r", TINY_ROFORMER), tmp_path / "out", max_length=300)
    assert SentenceEncoder.load(tmp_path / "out").fingerprint == encoder.fingerprint
    assert read(tmp_path / "out" / "config.json")["max_position_embeddings"] == 300
    positions = load_file(tmp_path / "out" / "model.safetensors")["encoder.embed_positions.weight"]
    # heads of 4: sin p, sin p / 100, cos p, cos p / 100
    assert positions.shape == (300, 4)
    expected = [np.sin(299), np.sin(2.99), np.cos(299), np.cos(2.99)]
    np.testing.assert_allclose(positions[299], expected, atol=1e-7)


@pytest.fixture
def word_level(tmp_path: Path) -> Path:
    """A RoBERTa of whole words: 0 is <s>, padding is 1, and two positions belong to no token."""
    variables = checkpoints.random_variables(TINY_BERT)
    positions = variables["bert/embeddings/position_embeddings"]
    moved = replace(TINY_BERT, max_position_embeddings=18)
    variables["bert/embeddings/position_embeddings"] = np.vstack(
        [np.full((2, 12), 99, np.float32), positions]
    )
    folder = checkpoints.write_huggingface(tmp_path / "words", moved, variables, prefix=False)
    config = {**checkpoints.config_of(moved), "model_type": "xlm-roberta", "pad_token_id": 1}
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    (folder / "vocab.txt").unlink()
    pieces = {"<s>": 0, "<pad>": 1, "<unk>": 2, "</s>": 3}
    pieces |= {piece: i for i, piece in enumerate(PIECES) if i > 3}
    rust = RustTokenizer(models.WordLevel(pieces, unk_token="<unk>"))
    rust.pre_tokenizer = pre_tokenizers.Whitespace()
    rust.post_processor = processors.RobertaProcessing(("</s>", 3), ("<s>", 0))
    rust.save(str(folder / "tokenizer.json"))
    return folder


def test_another_tokenizer_and_its_padding_stay_as_they_are(
    word_level: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    encoder = exported(word_level, out)
    assert SentenceEncoder.load(out).fingerprint == encoder.fingerprint
    assert read(out / "tokenizer.json") == read(word_level / "tokenizer.json")
    config, tokenizer = read(out / "config.json"), read(out / "tokenizer_config.json")
    # a BERT, whose positions begin with 0
    assert (config["model_type"], config["pad_token_id"]) == ("bert", 1)
    assert config["max_position_embeddings"] == tokenizer["model_max_length"] == 16
    assert (tokenizer["pad_token"], tokenizer["unk_token"]) == ("<pad>", "<unk>")
    theirs, ours = load_file(word_level / "model.safetensors"), load_file(out / "model.safetensors")
    words, positions = (f"embeddings.{k}_embeddings.weight" for k in ("word", "position"))
    np.testing.assert_array_equal(ours[words], theirs[words])
    np.testing.assert_array_equal(ours[positions], theirs[positions][2:])
    assert not (out / "vocab.txt").exists()


# The files that transformers reads


@pytest.mark.parametrize("a", FAMILIES, ids=lambda a: a.family)
def test_parameters_have_transformers_names_and_shapes(a: Architecture, tmp_path: Path) -> None:
    saved(written(tmp_path / "source", a), tmp_path / "out")
    variables = checkpoints.random_variables(a)
    expected = {
        theirs.removeprefix(f"{a.family}."): variables[ours].T
        if "kernel" in ours
        else variables[ours]
        for ours, theirs in checkpoints.huggingface_names(a).items()
        # no head of the masked language model, and no pooler where transformers has none
        if "predictions" not in ours and not (a.family == "roformer" and "pooler" in ours)
    }
    file = tmp_path / "out" / "model.safetensors"
    tensors = load_file(file)
    tensors.pop("encoder.embed_positions.weight", None)
    assert tensors.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(tensors[name], value)
    with safe_open(file, "numpy") as opened:
        assert opened.metadata() == {"format": "pt"}


def test_the_config_says_all_that_shapes_the_computation(tmp_path: Path) -> None:
    saved(written(tmp_path / "source", TINY_ALBERT), tmp_path / "out")
    assert read(tmp_path / "out" / "config.json") == {
        "architectures": ["AlbertModel"],
        "model_type": "albert",
        "vocab_size": len(PIECES),
        "embedding_size": 8,
        "hidden_size": 12,
        "num_hidden_layers": 3,
        "num_hidden_groups": 1,
        "inner_group_num": 1,
        "num_attention_heads": 3,
        "intermediate_size": 20,
        "hidden_act": "gelu_new",
        "max_position_embeddings": 16,
        "type_vocab_size": 2,
        "layer_norm_eps": 1e-12,
        "pad_token_id": 0,
        "torch_dtype": "float32",
    }


# The tokenizer


@pytest.mark.parametrize("lower_case", [True, False])
@pytest.mark.parametrize("strip_accents", [True, False])
@given(text=st.text("abcdefABÉé 张三请\t\u3000[SEP]the dogs!,.İΣσ\u0301\u200b", max_size=40))
def test_ids_are_ours_but_for_a_sigma_that_ends_a_word(
    tiny_bert: Path,
    tmp_path_factory: pytest.TempPathFactory,
    lower_case: bool,
    strip_accents: bool,
    text: str,
) -> None:
    text = text.replace("Σ", "") if lower_case else text
    given_ = {"lower_case": lower_case, "strip_accents": strip_accents}
    checkpoint = load_checkpoint(tiny_bert, **given_)
    folder = tmp_path_factory.mktemp("词")
    write_tokenizer(checkpoint, folder)
    rust = RustTokenizer.from_file(str(folder / "tokenizer.json"))
    config = read(folder / "tokenizer_config.json")
    assert config["tokenizer_class"] == "PreTrainedTokenizerFast"  # which takes the file as it is
    rust.encode_special_tokens = config["split_special_tokens"]
    ours = Tokenizer(checkpoint.vocabulary, **given_, max_length=999)
    assert rust.encode(text).ids == ours.encode([text]).ids[0]
    assert config["do_lower_case"] == lower_case


def test_a_word_of_200_characters_is_known_and_a_piece_may_occur_twice(
    tiny_bert: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(tiny_bert, tmp_path / "twice")
    pieces = [{"##s": "##a", "man": "a"}.get(piece, piece) for piece in PIECES]
    (folder / "vocab.txt").write_text("\n".join(pieces), "utf-8")
    write_tokenizer(load_checkpoint(folder), tmp_path)
    rust = RustTokenizer.from_file(str(tmp_path / "tokenizer.json"))
    first, rest = PIECES.index("a"), pieces.index("##a")  # of two ids the last, as Google's loader
    assert rust.encode("a" * 200).ids == [2, first, *[rest] * 199, 3]
    assert rust.encode("a" * 201).ids == [2, 1, 3]
    assert (tmp_path / "vocab.txt").read_bytes() == (folder / "vocab.txt").read_bytes()
    assert capfd.readouterr().out == ""


def test_special_tokens_are_those_that_the_vocabulary_has(tiny_bert: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_bert, tmp_path / "no mask")
    text = (folder / "vocab.txt").read_text("utf-8")
    (folder / "vocab.txt").write_text(text.replace("[MASK]", "mask"), "utf-8")
    write_tokenizer(load_checkpoint(folder), tmp_path)
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]"}
    special["sep_token"] = "[SEP]"
    assert read(tmp_path / "special_tokens_map.json") == special
    added = read(tmp_path / "tokenizer.json")["added_tokens"]
    assert [(token["id"], token["content"], token["special"]) for token in added] == [
        (0, "[PAD]", True),
        (1, "[UNK]", True),
        (2, "[CLS]", True),
        (3, "[SEP]", True),
    ]


# The modules of sentence-transformers


def kinds(folder: Path) -> list[tuple[str, str]]:
    return [(m["path"], m["type"].rpartition(".")[2]) for m in read(folder / "modules.json")]


def dense(folder: Path, vectors: np.ndarray) -> np.ndarray:
    tensors = load_file(folder / "model.safetensors")
    return vectors @ tensors["linear.weight"].T + tensors["linear.bias"]


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_whitening_is_a_dense_module_before_the_last(tiny_bert: Path, tmp_path: Path) -> None:
    plain = SentenceEncoder.load(tiny_bert, precision="float32")
    whitening = plain.fit_whitening(TEXTS)
    encoder = exported(tiny_bert, tmp_path / "out", whitening=whitening, dim=3)
    assert kinds(tmp_path / "out") == [
        ("", "Transformer"),
        ("1_Pooling", "Pooling"),
        ("2_Dense", "Dense"),
        ("3_Normalize", "Normalize"),
    ]
    config = read(tmp_path / "out" / "2_Dense" / "config.json")
    assert (config["in_features"], config["out_features"]) == (12, 3)
    assert config["activation_function"] == "torch.nn.modules.linear.Identity"
    means = np.array([plain.token_vectors(text).vectors.mean(axis=0) for text in TEXTS])
    whitened = dense(tmp_path / "out" / "2_Dense", means)
    np.testing.assert_allclose(whitened, whitening.cut(3).transform(means), atol=1e-5)
    np.testing.assert_allclose(unit(whitened), encoder.encode(TEXTS), atol=1e-5)


def test_the_pooler_is_a_dense_module_on_cls(tiny_bert: Path, tmp_path: Path) -> None:
    encoder = exported(tiny_bert, tmp_path / "out", pooling="pooler")
    assert kinds(tmp_path / "out")[1:3] == [("1_Pooling", "Pooling"), ("2_Dense", "Dense")]
    assert read(tmp_path / "out" / "1_Pooling" / "config.json")["pooling_mode"] == "cls"
    config = read(tmp_path / "out" / "2_Dense" / "config.json")
    assert config["activation_function"] == "torch.nn.modules.activation.Tanh"
    first = np.array([encoder.token_vectors(text).vectors[0] for text in TEXTS])
    pooled = np.tanh(dense(tmp_path / "out" / "2_Dense", first))
    np.testing.assert_allclose(unit(pooled), encoder.encode(TEXTS), atol=1e-5)
    assert SentenceEncoder.load(tmp_path / "out").fingerprint == encoder.fingerprint


@pytest.mark.parametrize(
    ("pooling", "layers", "weights", "mode"),
    [
        ("first_last_mean", None, [0, 1, 0, 1], "mean"),
        ("last2_mean", None, [0, 0, 1, 1], "mean"),
        ("cls", [0, 1, 3], [1, 1, 0, 1], "cls"),
        ("position_weighted_mean", [1, 2], [0, 1, 1, 0], "weightedmean"),
        ("max", [-2], [0, 0, 1, 0], "max"),
    ],
)
def test_other_layers_than_the_last_are_averaged_before_pooling(
    pooling: str,
    layers: list[int] | None,
    weights: list[float],
    mode: str,
    tiny_bert: Path,
    tmp_path: Path,
) -> None:
    out = tmp_path / "out"
    saved(tiny_bert, out, pooling, layers)
    assert kinds(out)[1:3] == [
        ("1_WeightedLayerPooling", "WeightedLayerPooling"),
        ("2_Pooling", "Pooling"),
    ]
    tensors = load_file(out / "1_WeightedLayerPooling" / "model.safetensors")
    assert tensors["layer_weights"].tolist() == weights
    assert read(out / "1_WeightedLayerPooling" / "config.json")["layer_start"] == 0
    assert read(out / "2_Pooling" / "config.json")["pooling_mode"] == mode
    assert read(out / "config.json")["output_hidden_states"] is True


@pytest.mark.parametrize("name", ["cls", "mean", "max", "mean_sqrt_len", "position_weighted_mean"])
def test_our_own_reader_of_such_files_finds_the_pooling(
    name: str, tiny_bert: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    saved(tiny_bert, out, name)
    (out / "simsearch.json").unlink()
    checkpoint = load_checkpoint(out)
    assert (checkpoint.pooling, checkpoint.max_length) == (name, 16)
    # before version 6 it was one flag among others
    config = read(out / "1_Pooling" / "config.json")
    flags = [key for key, value in config.items() if key.startswith("pooling_mode_") and value]
    assert len(flags) == 1
    del config["pooling_mode"]
    (out / "1_Pooling" / "config.json").write_text(json.dumps(config), "utf-8")
    assert load_checkpoint(out).pooling == name


@pytest.mark.parametrize(
    ("ours", "theirs", "default"),
    [
        ({"query": "问：", "document": ""}, {"query": "问：", "document": ""}, None),
        ({"document": "d: "}, {"query": "", "document": "d: "}, "document"),
        ({}, {}, None),
    ],
)
def test_prompts_are_those_of_our_encode(
    ours: dict[str, str],
    theirs: dict[str, str],
    default: str | None,
    tiny_bert: Path,
    tmp_path: Path,
) -> None:
    checkpoint = replace(load_checkpoint(tiny_bert), prompts=ours)
    save_huggingface(tmp_path / "out", checkpoint, resolve_pooling("mean", None, 3), None)
    assert read(tmp_path / "out" / "config_sentence_transformers.json") == {
        "prompts": theirs,
        "default_prompt_name": default,
        "similarity_fn_name": "cosine",
    }
    given = {kind: text for kind, text in ours.items() if text}
    assert load_checkpoint(tmp_path / "out").prompts == given


def test_the_card_says_what_it_is_and_not_where_it_was(tiny_bert: Path, tmp_path: Path) -> None:
    saved(tiny_bert, tmp_path / "out", "last2_mean")
    card = (tmp_path / "out" / "README.md").read_text("utf-8")
    assert card.startswith("---\nlibrary_name: sentence-transformers\n")
    assert "| pooling | last2_mean of hidden state 2, 3 |" in card
    assert "| dimensions | 12 |" in card
    assert "hardly sees the order of words" in card
    assert str(tiny_bert.parent) not in card


# What sentence-transformers would compute otherwise


@pytest.mark.parametrize(
    ("a", "pooling", "layers", "message"),
    [
        (TINY_NEZHA, "mean", None, "transformers 5 has no nezha any more.*SentenceEncoder.save"),
        (
            checkpoints.WIDE_BERT,
            "mean",
            None,
            "attention_key_size is 6, and transformers takes .*4",
        ),
        (replace(TINY_BERT, embedding_size=8), "mean", None, "embedding_size is 8, hidden_size 12"),
        (replace(TINY_ALBERT, embedding_size=12), "mean", None, "always has a matrix between"),
        (TINY_BERT, "static_mean", None, "averages the word vectors.*such as 'mean' or 'cls'"),
        (TINY_BERT, "max", [1, 2], "'max' of layers 1, 2 averages their maxima"),
        (TINY_ROFORMER, "pooler", None, "transformers' roformer has no pooler"),
        (replace(TINY_BERT, pooler_act="linear"), "pooler", None, "no pooler with this activation"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_exact_is_refused_and_nothing_is_written(
    a: Architecture, pooling: str, layers: list[int] | None, message: str, tmp_path: Path
) -> None:
    folder = written(tmp_path / "source", a)
    assert load_checkpoint(folder).architecture == a
    with pytest.raises(SettingsError, match=message):
        saved(folder, tmp_path / "out", pooling, layers)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_a_linear_pooler_is_left_out(tmp_path: Path) -> None:
    folder = written(tmp_path / "source", replace(TINY_BERT, pooler_act="linear"))
    saved(folder, tmp_path / "out")
    assert not [key for key in load_file(tmp_path / "out" / "model.safetensors") if "pooler" in key]


# The command line


def test_the_command_writes_a_model_once(tiny_bert: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "导出")
    arguments = ["export-hf", "--model", str(tiny_bert), "--out", out, "--pooling", "cls", "--json"]
    ran = CliRunner().invoke(cli, arguments)
    assert ran.exit_code == 0
    encoder = SentenceEncoder.load(out)
    assert json.loads(ran.stdout) == {"out": out, "dim": 12, "fingerprint": encoder.fingerprint}
    assert encoder.pooling.name == "cls"
    assert "for sentence-transformers, 12 dimensions" in ran.stderr
    again = CliRunner().invoke(cli, arguments)
    assert isinstance(again.exception, SettingsError)
    assert "exists; give a new or empty folder" in str(again.exception)
