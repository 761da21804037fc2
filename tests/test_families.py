"""Every family against an independent forward pass, in every layout that it comes in."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import checkpoints
import numpy as np
import pytest
import reference_bert
from checkpoints import (
    TINY_ALBERT,
    TINY_BERT,
    TINY_ELECTRA,
    TINY_NEZHA,
    TINY_ROFORMER,
    WIDE_BERT,
    random_variables,
)
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer as RustTokenizer
from tokenizers import models, pre_tokenizers, processors

from simsearch.checkpoint import load_checkpoint
from simsearch.checkpoint.architecture import Architecture
from simsearch.config import RuntimeName
from simsearch.errors import CheckpointError, SettingsError
from simsearch.sentence_encoder import SentenceEncoder
from simsearch.weights import weight_hashes

# the long one is longer than the distance at which NEZHA stops to tell positions apart
LONG = "the dog bit a man . " * 25
TEXTS = ["the dog bit the man .", "张三请李四吃饭。", "a", ""]
FAMILIES = {
    "nezha": (TINY_NEZHA, reference_bert.nezha_states),
    "electra": (TINY_ELECTRA, reference_bert.electra_states),
    "roformer": (TINY_ROFORMER, reference_bert.roformer_states),
    "wide keys": (WIDE_BERT, reference_bert.bert_states),
}


def states_of(name: str, ids: list[int]) -> list[np.ndarray]:
    architecture, run = FAMILIES[name]
    return run(ids, random_variables(architecture), layers=3, heads=3, eps=1e-12)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("家族")
    return {
        name: checkpoints.write_google(root / name, a, random_variables(a))
        for name, (a, _) in FAMILIES.items()
    }


@pytest.mark.parametrize(
    ("runtime", "layers"), [("openvino", [0, 1, 2, 3]), ("tensorflow", [3])], ids=["ov", "tf"]
)
@pytest.mark.parametrize("name", FAMILIES)
def test_every_state_equals_an_independent_numpy_forward_pass(
    folders: dict[str, Path], name: str, runtime: RuntimeName, layers: list[int]
) -> None:
    texts = [*TEXTS, LONG] if name in ("nezha", "roformer") else TEXTS
    for layer in layers:
        encoder = SentenceEncoder.load(
            folders[name], pooling="mean", layers=[layer], precision="float32", runtime=runtime
        )
        for row, ids in zip(encoder.encode(texts), encoder.token_ids(texts), strict=True):
            mean = states_of(name, ids)[layer].mean(0)
            np.testing.assert_allclose(row, mean / np.linalg.norm(mean), atol=1e-5)
    assert max(encoder.token_counts(texts)) == (152 if LONG in texts else 10)


@pytest.mark.parametrize("name", ["nezha", "roformer"])
def test_fill_mask_works_where_the_head_is(folders: dict[str, Path], name: str) -> None:
    (best, *_) = SentenceEncoder.load(folders[name]).fill_mask("the [MASK] bit", top_k=3)
    ids, variables = [2, 5, 4, 7, 3], random_variables(FAMILIES[name][0])
    probabilities = reference_bert.mlm_probabilities(
        states_of(name, ids), variables, 2, eps=1e-12, act=reference_bert.gelu
    )
    assert best.token == checkpoints.PIECES[int(probabilities.argmax())]
    assert best.probability == pytest.approx(probabilities.max(), abs=1e-5)


def test_electra_has_neither_head(folders: dict[str, Path]) -> None:
    with pytest.raises(SettingsError, match="has no pooler"):
        SentenceEncoder.load(folders["electra"], pooling="pooler")
    with pytest.raises(CheckpointError, match="no masked-language-model head"):
        SentenceEncoder.load(folders["electra"]).fill_mask("the [MASK]")


# One model, one fingerprint, in whatever files it comes


@pytest.mark.parametrize("layout", ["safetensors", "prefixed safetensors", "h5", "einsum h5"])
@pytest.mark.parametrize(
    "a", [TINY_BERT, TINY_ALBERT, TINY_ELECTRA, TINY_NEZHA, TINY_ROFORMER], ids=lambda a: a.family
)
def test_hugging_face_layouts_hold_the_same_model(
    a: Architecture, layout: str, tmp_path: Path
) -> None:
    variables = random_variables(a)
    google = checkpoints.write_google(tmp_path / "google", a, variables)
    if layout.endswith("safetensors"):
        prefix = layout != "safetensors"
        theirs = checkpoints.write_huggingface(tmp_path / "hf", a, variables, prefix)
    else:
        einsum = layout == "einsum h5" and a.family in ("bert", "electra")
        theirs = checkpoints.write_tensorflow_h5(tmp_path / "hf", a, variables, einsum=einsum)
    ours, other = load_checkpoint(google), load_checkpoint(theirs)
    assert weight_hashes(ours) == weight_hashes(other)
    assert ours.architecture == other.architecture
    assert other.layout.format == layout.split()[-1]


def test_shards_hold_the_same_model(tiny_bert: Path, tmp_path: Path) -> None:
    folder = checkpoints.write_huggingface(tmp_path / "hf", TINY_BERT, random_variables(TINY_BERT))
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    placed = {key: f"model-0000{1 + i % 2}-of-00002.safetensors" for i, key in enumerate(tensors)}
    for shard in set(placed.values()):
        save_file({k: v for k, v in tensors.items() if placed[k] == shard}, folder / shard)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": placed}), "utf-8")
    assert weight_hashes(load_checkpoint(folder)) == weight_hashes(load_checkpoint(tiny_bert))
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"model-00002-of-00002.safetensors: no such file"):
        load_checkpoint(folder)
    index.write_text("{}", "utf-8")
    with pytest.raises(CheckpointError, match="has no weight_map"):
        load_checkpoint(folder)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_read_as_the_values_that_it_holds(tmp_path: Path, dtype: str) -> None:
    import ml_dtypes

    kind = np.float16 if dtype == "float16" else ml_dtypes.bfloat16
    rounded = {
        name: value.astype(kind).astype(np.float32)
        for name, value in random_variables(TINY_BERT).items()
    }
    whole = checkpoints.write_huggingface(tmp_path / "whole", TINY_BERT, rounded)
    half = checkpoints.write_huggingface(tmp_path / "half", TINY_BERT, rounded)
    tensors = load_file(half / "model.safetensors")
    save_file({k: v.astype(kind) for k, v in tensors.items()}, half / "model.safetensors")
    assert weight_hashes(load_checkpoint(half)) == weight_hashes(load_checkpoint(whole))


# RoBERTa: a BERT of other names, whose positions begin after padding's id


def test_a_roberta_is_a_bert_with_its_positions_and_padding_moved(tmp_path: Path) -> None:
    variables = random_variables(TINY_BERT)
    folder = checkpoints.write_huggingface(tmp_path / "bert", TINY_BERT, variables)
    config = {**checkpoints.config_of(TINY_BERT), "model_type": "xlm-roberta", "pad_token_id": 1}
    config["max_position_embeddings"] = 18
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    tensors = load_file(folder / "model.safetensors")
    tensors = {k.replace("bert.", "roberta.", 1): v for k, v in tensors.items()}
    position = "roberta.embeddings.position_embeddings.weight"
    tensors[position] = np.concatenate([np.full((2, 12), 99, np.float32), tensors[position]])
    table = tensors["roberta.embeddings.word_embeddings.weight"].copy()
    table[[0, 1]] = table[[1, 0]]
    tensors["roberta.embeddings.word_embeddings.weight"] = table
    save_file(tensors, folder / "model.safetensors")
    (folder / "vocab.txt").unlink()
    pieces = {"<s>": 0, "<pad>": 1, "<unk>": 2, "</s>": 3}
    pieces |= {piece: i for i, piece in enumerate(checkpoints.PIECES) if i > 3}
    rust = RustTokenizer(models.WordLevel(pieces, unk_token="<unk>"))
    rust.pre_tokenizer = pre_tokenizers.Whitespace()
    rust.post_processor = processors.RobertaProcessing(("</s>", 3), ("<s>", 0))
    rust.save(str(folder / "tokenizer.json"))
    encoder = SentenceEncoder.load(folder, precision="float32")
    ids = [1, 5, 6, 7, 3]  # <s> and <pad> have changed places, in the ids and in the table
    assert encoder.token_ids(["the dog bit"]) == [ids]
    (mean,) = (s.mean(0) for s in [bert_states(ids, variables)[-1]])
    (vector,) = encoder.encode(["the dog bit"])
    np.testing.assert_allclose(vector, mean / np.linalg.norm(mean), atol=1e-5)
    assert encoder.max_length == 16


def bert_states(ids: list[int], variables: dict[str, np.ndarray]) -> list[np.ndarray]:
    return reference_bert.bert_states(ids, variables, layers=3, heads=3, eps=1e-12)


def test_a_roberta_may_have_berts_wordpiece(tmp_path: Path) -> None:
    """As the Korean ones have: [PAD] is 1, and the positions beyond it are a round number."""
    a = replace(TINY_BERT, max_position_embeddings=18)
    folder = checkpoints.write_huggingface(tmp_path / "klue", a, random_variables(a))
    config = {**checkpoints.config_of(a), "model_type": "roberta", "pad_token_id": 1}
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    pieces = ["[CLS]", "[PAD]", "[UNK]", "[SEP]", *checkpoints.PIECES[4:]]
    (folder / "vocab.txt").write_text("\n".join(pieces), "utf-8")
    checkpoint = load_checkpoint(folder)
    assert (checkpoint.first_position, checkpoint.max_length) == (2, 16)


def test_a_class_may_stand_for_the_model_type(tmp_path: Path) -> None:
    a = TINY_ELECTRA
    folder = checkpoints.write_huggingface(tmp_path / "e", a, random_variables(a))
    config = {**checkpoints.config_of(a), "architectures": ["ElectraForPreTraining"]}
    del config["model_type"]
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    assert load_checkpoint(folder).architecture == a


@pytest.mark.parametrize("prefix", ["model.", "0.auto_model.", "module.bert.", "_orig_mod.bert."])
def test_what_wraps_a_model_may_be_in_its_names(
    tmp_path: Path, tiny_bert: Path, prefix: str
) -> None:
    folder = checkpoints.write_huggingface(
        tmp_path / "hf", TINY_BERT, random_variables(TINY_BERT), prefix=False
    )
    tensors = load_file(folder / "model.safetensors")
    save_file({prefix + k: v for k, v in tensors.items()}, folder / "model.safetensors")
    assert weight_hashes(load_checkpoint(folder)) == weight_hashes(load_checkpoint(tiny_bert))


# Which family it is


def google_config(folder: Path, **changes: object) -> None:
    path = folder / "bert_config.json"
    config = {**json.loads(path.read_text("utf-8")), **changes}
    path.write_text(json.dumps({k: v for k, v in config.items() if v is not None}), "utf-8")


@pytest.mark.parametrize("a", [TINY_BERT, TINY_ALBERT, TINY_ELECTRA], ids=lambda a: a.family)
def test_a_config_that_does_not_say_is_helped_by_the_names_of_the_variables(
    a: Architecture, tmp_path: Path
) -> None:
    folder = checkpoints.write_google(tmp_path / "silent", a, random_variables(a))
    google_config(folder, model_type=None)
    assert load_checkpoint(folder).architecture == a


def test_nezhas_config_speaks_of_relative_positions(tmp_path: Path) -> None:
    folder = checkpoints.write_google(tmp_path / "n", TINY_NEZHA, random_variables(TINY_NEZHA))
    google_config(folder, model_type=None, use_relative_position=True)
    assert load_checkpoint(folder).architecture == TINY_NEZHA


def test_an_option_overrides_the_config(folders: dict[str, Path], tmp_path: Path) -> None:
    a = TINY_ROFORMER
    folder = checkpoints.write_google(tmp_path / "r", a, random_variables(a))
    google_config(folder, model_type=None)
    with pytest.raises(CheckpointError, match=r"NEZHA and RoFormer have none.*--family"):
        SentenceEncoder.load(folder)
    ours = SentenceEncoder.load(folder, family="roformer")
    assert ours.fingerprint == SentenceEncoder.load(folders["roformer"]).fingerprint


def test_a_chinese_roberta_that_calls_itself_one_is_not_taken_for_the_other(tmp_path: Path) -> None:
    a = TINY_BERT
    folder = checkpoints.write_huggingface(tmp_path / "wwm", a, random_variables(a))
    config = {**checkpoints.config_of(a), "model_type": "roberta"}
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    with pytest.raises(CheckpointError, match="whole-word-masking RoBERTa is a BERT"):
        load_checkpoint(folder)
    assert load_checkpoint(folder, family="bert").architecture == a


@pytest.mark.parametrize(
    ("a", "change", "message"),
    [
        (TINY_NEZHA, {"max_relative_position": 32}, "max_relative_position is 32"),
        (TINY_ROFORMER, {"rotary_value": True}, "rotary_value is True"),
        (TINY_ROFORMER, {"norm_type": "rms_norm"}, "norm_type is 'rms_norm'"),
        (TINY_BERT, {"is_decoder": True}, "is_decoder is True"),
        (TINY_BERT, {"attention_head_size": 6}, "attention_head_size is 6.*expected 4"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_what_would_be_computed_otherwise_is_refused(
    a: Architecture, change: dict[str, object], message: str, tmp_path: Path
) -> None:
    folder = checkpoints.write_google(tmp_path / "x", a, random_variables(a))
    google_config(folder, **change)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(folder)


# Options


def test_a_longer_text_may_be_asked_for_where_positions_are_computed(
    folders: dict[str, Path],
) -> None:
    encoder = SentenceEncoder.load(folders["nezha"], max_length=1000)
    assert len(encoder.token_ids([LONG * 5])[0]) == 752
    with pytest.raises(SettingsError, match="max_length 17 is more than the 16 positions"):
        SentenceEncoder.load(folders["wide keys"], max_length=17)
    assert SentenceEncoder.load(folders["wide keys"], max_length=5).max_length == 5


def test_case_and_accents_are_part_of_the_identity_where_they_differ(tiny_bert: Path) -> None:
    plain = SentenceEncoder.load(tiny_bert)
    assert "strip_accents" not in plain.identity
    kept = SentenceEncoder.load(tiny_bert, strip_accents=False)
    assert kept.identity["strip_accents"] is False
    cased = SentenceEncoder.load(tiny_bert, lower_case=False)
    assert cased.identity["lower_case"] is False
    assert len({plain.fingerprint, kept.fingerprint, cased.fingerprint}) == 3
    assert (cased.token_ids(["THE"]), plain.token_ids(["THE"])) == ([[2, 1, 3]], [[2, 5, 3]])


def test_a_tokenizer_with_rules_of_its_own_takes_none(tmp_path: Path) -> None:
    replaced = replace(TINY_BERT, vocab_size=len(checkpoints.PIECES))
    folder = checkpoints.write_huggingface(tmp_path / "u", replaced, random_variables(replaced))
    rust = RustTokenizer(
        models.WordLevel({p: i for i, p in enumerate(checkpoints.PIECES)}, unk_token="[UNK]")
    )
    rust.save(str(folder / "tokenizer.json"))
    assert load_checkpoint(folder).vocabulary.program
    with pytest.raises(SettingsError, match="has rules of its own for accents"):
        load_checkpoint(folder, strip_accents=True)
    assert SentenceEncoder.load(folder).token_ids(["THE"]) == [[1]]
    lowered = SentenceEncoder.load(folder, lower_case=True)
    assert (lowered.token_ids(["THE"]), lowered.identity["lower_case"]) == ([[5]], True)


def test_googles_weights_may_have_hugging_faces_config(tmp_path: Path, tiny_bert: Path) -> None:
    folder = checkpoints.write_google(tmp_path / "g", TINY_BERT, random_variables(TINY_BERT))
    (folder / "bert_config.json").rename(folder / "config.json")
    assert weight_hashes(load_checkpoint(folder)) == weight_hashes(load_checkpoint(tiny_bert))
    (folder / "config.json").rename(folder / "albert_config.json")
    assert load_checkpoint(folder).architecture == TINY_BERT
    (folder / "generator_config.json").write_text("{}", "utf-8")
    with pytest.raises(CheckpointError, match=r"neither bert_config.json"):
        load_checkpoint(folder)


def test_electra_in_the_files_of_its_chinese_release(tmp_path: Path) -> None:
    a = TINY_ELECTRA
    folder = checkpoints.write_google(tmp_path / "electra", a, random_variables(a))
    google_config(folder, model_type=None)
    for file in folder.glob("bert_model.ckpt.*"):
        file.rename(folder / file.name.replace("bert_model.ckpt", "electra_base"))
    (folder / "bert_config.json").rename(folder / "discriminator.json")
    (folder / "generator.json").write_text("{}", "utf-8")
    assert load_checkpoint(folder).architecture == a


def test_where_padding_is_decides_which_weights_these_are(tmp_path: Path) -> None:
    folder = checkpoints.write_huggingface(tmp_path / "a", TINY_BERT, random_variables(TINY_BERT))
    first = weight_hashes(load_checkpoint(folder))
    pieces = ["[UNK]", "[PAD]", *checkpoints.PIECES[2:]]
    (folder / "vocab.txt").write_text("\n".join(pieces), "utf-8")
    assert weight_hashes(load_checkpoint(folder)) != first


def test_a_length_beyond_the_config_is_saved_where_positions_are_computed(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    encoder = SentenceEncoder.load(folders["nezha"], max_length=1000)
    encoder.save(tmp_path / "saved")
    again = SentenceEncoder.load(tmp_path / "saved")
    assert (again.max_length, again.fingerprint) == (1000, encoder.fingerprint)
