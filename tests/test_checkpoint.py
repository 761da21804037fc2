from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import checkpoints
import numpy as np
import pytest
from checkpoints import TINY_ALBERT, TINY_BERT, random_variables

from simsearch.bert.backend import tf
from simsearch.checkpoint import load_checkpoint
from simsearch.checkpoint.architecture import Architecture
from simsearch.checkpoint.names import (
    huggingface_names,
    is_ignored,
    unknown_names,
    without_prefix,
)
from simsearch.checkpoint.variables import all_shapes, backbone_shapes
from simsearch.errors import CheckpointError
from simsearch.sentence_encoder import SentenceEncoder

SHARED = Path(__file__).parent.parent.parent / "shared" / "data" / "checkpoints" / "ckpt_index"


def test_the_embedded_model_is_what_its_readme_says() -> None:
    checkpoint = load_checkpoint("zhen-small")
    a = checkpoint.architecture
    assert (a.family, a.num_hidden_layers, a.hidden_size, a.vocab_size) == ("bert", 6, 384, 14056)
    assert (checkpoint.lower_case, checkpoint.max_length, checkpoint.pooling) == (True, 512, "mean")
    assert (checkpoint.folder / "README.md").is_file()


def test_a_prefix_of_any_name_is_found(tiny_bert: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_bert, tmp_path / "renamed")
    for file in folder.glob("bert_model.ckpt.*"):
        file.rename(folder / file.name.replace("bert_model.ckpt", "model.ckpt-1000000"))
    ours, theirs = SentenceEncoder.load(folder), SentenceEncoder.load(tiny_bert)
    assert ours.fingerprint == theirs.fingerprint


def test_optimizer_slots_and_unused_heads_are_tolerated(tiny_bert: Path, tmp_path: Path) -> None:
    variables = random_variables(TINY_BERT)
    extra = {
        "bert/pooler/dense/kernel/adam_m": np.ones((12, 12), np.float32),
        "cls/seq_relationship/output_weights": np.ones((2, 12), np.float32),
        "global_step": np.float32(7),
    }
    folder = checkpoints.write_google(tmp_path / "trained", TINY_BERT, variables | extra)
    assert SentenceEncoder.load(folder).fingerprint == SentenceEncoder.load(tiny_bert).fingerprint


def edit_config(**changes: object) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        path = folder / "bert_config.json"
        config = json.loads(path.read_text("utf-8"))
        path.write_text(json.dumps({**config, **changes}), "utf-8")

    return edit


def replace_bytes(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        path = folder / name
        path.write_bytes(change(path.read_bytes()))

    return edit


def remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def second_checkpoint(folder: Path) -> None:
    shutil.copy(folder / "bert_model.ckpt.index", folder / "other.ckpt.index")


DATA = "bert_model.ckpt.data-00000-of-00001"
BROKEN = {
    "no config": (remove("bert_config.json"), "neither bert_config.json .* nor config.json"),
    "no index": (remove("bert_model.ckpt.index"), "no file bert_model.ckpt.index; copy"),
    "no data": (remove(DATA), r"none of the files bert_model.ckpt.data-\*-of-00001 found"),
    "no vocabulary": (remove("vocab.txt"), "vocab.txt: no such file"),
    "two checkpoints": (second_checkpoint, r"several checkpoints \(bert_model.ckpt, other.ckpt\)"),
    "cut data": (replace_bytes(DATA, lambda b: b[: len(b) // 2]), "cut short or damaged"),
    "empty data": (replace_bytes(DATA, lambda b: b""), "cut short or damaged"),
    "cut index": (
        replace_bytes("bert_model.ckpt.index", lambda b: b[:100]),
        "cut short or damaged",
    ),
    "flipped bit": (
        replace_bytes(DATA, lambda b: b[:500] + bytes([b[500] ^ 1]) + b[501:]),
        "cut short or damaged",
    ),
    "config not JSON": (
        replace_bytes("bert_config.json", lambda b: b[:-1]),
        "not readable as JSON",
    ),
    "config a list": (replace_bytes("bert_config.json", lambda b: b"[]"), "expected a JSON object"),
    "no hidden_size": (edit_config(hidden_size=None), "hidden_size is None; expected a positive"),
    "heads": (edit_config(num_attention_heads=5), "12 is not a multiple of num_attention_heads 5"),
    "activation": (edit_config(hidden_act="mish"), "hidden_act 'mish' is unknown; we know gelu"),
    "family": (
        edit_config(model_type="t5"),
        "family 't5' is not supported; we read bert, albert, nezha, electra, roformer and RoBERTa",
    ),
    "roberta": (edit_config(model_type="roberta"), "whole-word-masking RoBERTa is a BERT"),
    "positions": (
        edit_config(position_embedding_type="relative_key"),
        "'relative_key', which is not supported; expected 'absolute'",
    ),
    "vocabulary size": (
        replace_bytes("vocab.txt", lambda b: b + b"more\n"),
        r"has 28 lines, but the embedding table has 27 rows",
    ),
    "a layer too many": (
        edit_config(num_hidden_layers=4),
        r"layer_3/attention/output/LayerNorm/beta.* and 13 more missing for a bert of 4 layers",
    ),
    "a layer too few": (
        edit_config(num_hidden_layers=2),
        r"holds bert/encoder/layer_2/\S+, which a bert of 2 layers does not have",
    ),
    "too many layers": (edit_config(num_hidden_layers=10**8), "expected 1000 at most"),
    "no segments": (edit_config(type_vocab_size=None), "type_vocab_size is None; expected a pos"),
    "embedding size": (
        edit_config(model_type="albert", embedding_size="x"),
        "embedding_size is 'x'; expected a positive",
    ),
    "epsilon a word": (edit_config(layer_norm_eps="small"), "layer_norm_eps is 'small'; expected"),
    "epsilon negative": (edit_config(layer_norm_eps=-1.0), r"layer_norm_eps is -1\.0; expected"),
    "groups": (
        edit_config(model_type="albert", embedding_size=8, num_hidden_groups=2),
        "num_hidden_groups is 2, which is not supported; expected 1",
    ),
    "shortest text": (
        lambda folder: (folder / "simsearch.json").write_text('{"max_length": 2}'),
        "simsearch.json: max_length is 2; input should be greater than or equal to 3",
    ),
    "shape": (
        edit_config(intermediate_size=40),
        r"intermediate/dense/kernel has shape \(12, 20\); the config asks for \(12, 40\)",
    ),
    "another family's weights": (
        edit_config(model_type="albert", embedding_size=8),
        "missing for an albert.*It holds names that we don't know",
    ),
    "manifest with a typo": (
        lambda folder: (folder / "simsearch.json").write_text('{"polling": "cls"}'),
        "simsearch.json: unknown setting 'polling'; did you mean 'pooling'",
    ),
    "manifest with a prompt for nothing": (
        lambda folder: (folder / "simsearch.json").write_text('{"prompts": {"querry": "x"}}'),
        "simsearch.json: prompts.querry",
    ),
    "manifest": (
        lambda folder: (folder / "simsearch.json").write_text('{"max_length": "x"}'),
        "simsearch.json: max_length is 'x'; input should be a valid integer",
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_checkpoint_is_refused_with_the_reason(
    kind: str, tiny_bert: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(tiny_bert, tmp_path / "broken")
    damage, message = BROKEN[kind]
    damage(folder)
    with pytest.raises(CheckpointError, match=message):
        SentenceEncoder.load(folder)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no-such-model", "neither a folder, nor an archive, nor a short name"),
        (__file__, "is a file; give the folder"),
    ],
)
def test_a_name_that_is_nothing_is_refused(name: str, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(name)


@pytest.fixture
def hugging_face(tmp_path: Path) -> Path:
    return checkpoints.write_huggingface(tmp_path / "hf", TINY_BERT, random_variables(TINY_BERT))


def test_sentence_transformers_files_set_the_defaults(hugging_face: Path) -> None:
    (hugging_face / "1_Pooling").mkdir()
    (hugging_face / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}')
    (hugging_face / "sentence_bert_config.json").write_text('{"max_seq_length": 9}')
    prompts = {"prompts": {"query": "query: ", "passage": "passage: "}}
    (hugging_face / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    (hugging_face / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    checkpoint = load_checkpoint(hugging_face)
    assert (checkpoint.pooling, checkpoint.max_length, checkpoint.lower_case) == ("cls", 9, False)
    assert checkpoint.prompts == {"query": "query: ", "document": "passage: "}


def test_the_files_of_newer_sentence_transformers_set_the_same_defaults(hugging_face: Path) -> None:
    (hugging_face / "1_Pooling").mkdir()
    pooling = {"embedding_dimension": 12, "pooling_mode": "cls", "include_prompt": True}
    (hugging_face / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    kinds = ["models.transformer.Transformer", "models.Pooling", "base.normalize.Normalize"]
    (hugging_face / "modules.json").write_text(json.dumps([{"type": kind} for kind in kinds]))
    (hugging_face / "tokenizer_config.json").write_text('{"model_max_length": 9}')
    prompts = {"prompts": {"default": "text: "}, "default_prompt_name": "default"}
    (hugging_face / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    checkpoint = load_checkpoint(hugging_face)
    assert (checkpoint.pooling, checkpoint.max_length, checkpoint.lower_case) == ("cls", 9, True)
    assert checkpoint.prompts == {"query": "text: ", "document": "text: "}


def test_the_pooling_is_the_one_that_modules_names(hugging_face: Path) -> None:
    for name, mode in (("1_Pooling", "mean"), ("2_Pooling", "cls")):
        (hugging_face / name).mkdir()
        config = json.dumps({"pooling_mode": mode})
        (hugging_face / name / "config.json").write_text(config, "utf-8")
    assert load_checkpoint(hugging_face).pooling == "mean"
    modules = [{"type": "a.Transformer", "path": ""}, {"type": "a.Pooling", "path": "2_Pooling"}]
    (hugging_face / "modules.json").write_text(json.dumps(modules), "utf-8")
    assert load_checkpoint(hugging_face).pooling == "cls"


def test_a_length_without_room_for_a_token_is_refused(hugging_face: Path) -> None:
    (hugging_face / "sentence_bert_config.json").write_text('{"max_seq_length": 2}')
    with pytest.raises(CheckpointError, match="its files cut a text to 2 tokens; expected 3"):
        load_checkpoint(hugging_face)
    assert load_checkpoint(hugging_face, max_length=5).max_length == 5


def test_a_prompt_that_is_null_is_none(hugging_face: Path) -> None:
    prompts = {"prompts": {"query": "问：", "document": None}}
    (hugging_face / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    assert load_checkpoint(hugging_face).prompts == {"query": "问："}


def test_sentence_transformers_may_lower_before_a_cased_tokenizer(hugging_face: Path) -> None:
    (hugging_face / "sentence_bert_config.json").write_text('{"do_lower_case": true}')
    (hugging_face / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    checkpoint = load_checkpoint(hugging_face)
    assert (checkpoint.lower_case, checkpoint.strip_accents) == (True, False)
    given = load_checkpoint(hugging_face, lower_case=False)
    assert (given.lower_case, given.strip_accents) == (False, False)


def test_a_checkpoint_of_objects_is_refused_with_advice(tiny_bert: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_bert, tmp_path / "objects")
    for file in folder.glob("bert_model.ckpt*"):
        file.unlink()
    tf.train.Checkpoint(v=tf.Variable([1.0])).write(str(folder / "bert_model.ckpt"))
    with pytest.raises(CheckpointError, match=r"is a checkpoint of objects"):
        SentenceEncoder.load(folder)


def test_a_manifest_adds_to_what_the_files_say(hugging_face: Path) -> None:
    (hugging_face / "1_Pooling").mkdir()
    (hugging_face / "1_Pooling" / "config.json").write_text('{"pooling_mode": "cls"}')
    (hugging_face / "simsearch.json").write_text('{"prompts": {"query": "问："}}', "utf-8")
    checkpoint = load_checkpoint(hugging_face)
    assert (checkpoint.pooling, checkpoint.prompts) == ("cls", {"query": "问："})
    (hugging_face / "simsearch.json").write_text('{"pooling": "max"}', "utf-8")
    (hugging_face / "modules.json").write_text('[{"type": "models.Dense"}]')
    assert load_checkpoint(hugging_face).pooling == "max"


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("modules.json", ["x"], "not as sentence-transformers writes it"),
        ("config_sentence_transformers.json", {"prompts": ["x"]}, "not as sentence-transformers"),
        ("modules.json", [{"type": "models.Dense"}], "has a Dense module, which is not supported"),
        ("modules.json", {}, "expected a JSON list, got dict"),
        ("1_Pooling/config.json", {"pooling_mode": "lasttoken"}, "pooling lasttoken is not supp"),
        ("1_Pooling/config.json", {"pooling_mode": ["cls", "mean"]}, r"pooling cls \+ mean is not"),
        ("1_Pooling/config.json", {"pooling_mode_lasttoken": True}, "pooling lasttoken is not"),
    ],
)
def test_what_we_would_compute_otherwise_is_refused(
    hugging_face: Path, file: str, content: object, message: str
) -> None:
    (hugging_face / file).parent.mkdir(exist_ok=True)
    (hugging_face / file).write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(hugging_face)


def test_a_pickle_is_refused_with_advice(hugging_face: Path) -> None:
    (hugging_face / "model.safetensors").rename(hugging_face / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"is a Python pickle, .* convert it"):
        load_checkpoint(hugging_face)


def test_cut_safetensors_are_refused(hugging_face: Path) -> None:
    path = hugging_face / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"model.safetensors cannot be read, as if cut short"):
        SentenceEncoder.load(hugging_face)


@pytest.mark.parametrize("a", [TINY_BERT, TINY_ALBERT], ids=["bert", "albert"])
def test_every_hugging_face_name_maps_onto_googles(a: Architecture) -> None:
    names = huggingface_names(a, all_shapes(a))
    for ours, theirs in checkpoints.huggingface_names(a).items():
        assert names[ours] == without_prefix(theirs)
        assert names[ours] == without_prefix(theirs.removeprefix(f"{a.family}."))


@pytest.mark.parametrize(
    "name",
    [
        "bert/embeddings/word_embeddings/adam_v",
        "bert/encoder/layer_0/output/dense/kernel/AdamWeightDecayOptimizer_1",
        "global_step",
        "cls/seq_relationship/output_bias",
        "embeddings.position_ids",
        "bert.embeddings.position_ids",
        "cls.predictions.decoder.weight",
    ],
)
def test_what_training_leaves_behind_is_ignored(name: str) -> None:
    assert is_ignored(name)


@pytest.mark.parametrize("name", ["bert/encoder/layer_0/output/dense/kernel", "electra/x", "h.0.w"])
def test_nothing_else_is(name: str) -> None:
    assert not is_ignored(name)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the .index files of real checkpoints are not here")
@pytest.mark.parametrize("name", ["hwf87_wwm", "johnny", "llSiddharthll"])
def test_every_variable_of_real_checkpoints_is_known(name: str) -> None:
    names = dict(tf.train.list_variables(str(SHARED / name / "bert_model.ckpt")))
    config = json.loads((SHARED / name / "bert_config.json").read_text("utf-8"))
    base = replace(TINY_BERT, **{k: v for k, v in config.items() if hasattr(TINY_BERT, k)})
    head_size = base.hidden_size // base.num_attention_heads
    a = replace(base, embedding_size=base.hidden_size, attention_key_size=head_size)
    shapes = all_shapes(a)
    assert unknown_names(names, shapes) == []
    assert backbone_shapes(a).keys() <= names.keys()
    assert {n: tuple(s) for n, s in names.items() if n in shapes} == {
        n: shape for n, shape in shapes.items() if n in names
    }
