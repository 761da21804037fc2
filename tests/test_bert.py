from __future__ import annotations

from pathlib import Path

import checkpoints
import numpy as np
import pytest
import reference_bert
from checkpoints import TINY_ALBERT, TINY_BERT, random_variables

from simsearch.config import POOLINGS
from simsearch.errors import CheckpointError, SettingsError
from simsearch.sentence_encoder import SentenceEncoder

TEXTS = ["the dog bit the man .", "张三请李四吃饭。", "a", "", "a b c d e f a b c d e f ! the dogs"]
IDS = {
    "the dog bit the man .": [2, 5, 6, 7, 5, 8, 10, 3],
    "": [2, 3],
    "张三请李四吃饭。": [2, 19, 20, 21, 22, 23, 24, 25, 26, 3],
}
REFERENCES = {
    "bert": (reference_bert.bert_states, reference_bert.gelu),
    "albert": (reference_bert.albert_states, reference_bert.gelu_new),
}


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x)


def expected(architecture, name: str, ids: list[int]) -> np.ndarray:
    variables = random_variables(architecture)
    run, act = REFERENCES[architecture.family]
    states = run(
        ids,
        variables,
        layers=architecture.num_hidden_layers,
        heads=architecture.num_attention_heads,
        eps=architecture.layer_norm_eps,
        act=act,
    )
    return unit(reference_bert.pooled(name, states, ids, variables))


@pytest.mark.parametrize("runtime", ["openvino", "tensorflow"])
@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("family", ["bert", "albert"])
def test_vectors_equal_an_independent_numpy_forward_pass(
    request: pytest.FixtureRequest, family: str, pooling: str, runtime: str
) -> None:
    folder = request.getfixturevalue(f"tiny_{family}")
    architecture = TINY_BERT if family == "bert" else TINY_ALBERT
    encoder = SentenceEncoder.load(folder, pooling=pooling, precision="float32", runtime=runtime)
    vectors = encoder.encode(TEXTS)
    assert vectors.dtype == np.float32
    for row, ids in zip(vectors, encoder.token_ids(TEXTS), strict=True):
        np.testing.assert_allclose(row, expected(architecture, pooling, ids), atol=1e-5)


@pytest.mark.parametrize("text", IDS)
def test_the_ids_are_the_ones_that_can_be_read_off_the_vocabulary(
    tiny_bert: Path, text: str
) -> None:
    assert SentenceEncoder.load(tiny_bert).token_ids([text]) == [IDS[text]]


def test_layers_choose_hidden_states(tiny_bert: Path) -> None:
    ids = IDS["the dog bit the man ."]
    variables = random_variables(TINY_BERT)
    states = reference_bert.bert_states(ids, variables, layers=3, heads=3, eps=1e-12)
    encoder = SentenceEncoder.load(
        tiny_bert, pooling="first_last_mean", layers=[0, -1], precision="float32"
    )
    (vector,) = encoder.encode(["the dog bit the man ."])
    np.testing.assert_allclose(vector, unit(states[0].mean(0) + states[3].mean(0)), atol=1e-5)


def test_the_configs_epsilon_is_used(tmp_path: Path) -> None:
    from dataclasses import replace

    architecture = replace(TINY_BERT, layer_norm_eps=0.5)
    variables = random_variables(architecture)
    folder = checkpoints.write_google(tmp_path / "eps", architecture, variables)
    ids = IDS["the dog bit the man ."]
    states = reference_bert.bert_states(ids, variables, layers=3, heads=3, eps=0.5)
    (vector,) = SentenceEncoder.load(folder, precision="float32").encode(["the dog bit the man ."])
    np.testing.assert_allclose(vector, unit(states[3].mean(0)), atol=1e-5)


@pytest.mark.parametrize("architecture", [TINY_BERT, TINY_ALBERT], ids=["bert", "albert"])
@pytest.mark.parametrize("prefix", [True, False], ids=["prefixed", "bare"])
def test_hugging_face_layout_gives_the_vectors_and_fingerprint_of_google_layout(
    request: pytest.FixtureRequest, tmp_path: Path, architecture, prefix: bool
) -> None:
    google = request.getfixturevalue(f"tiny_{architecture.family}")
    variables = random_variables(architecture)
    theirs = checkpoints.write_huggingface(tmp_path / "hf", architecture, variables, prefix)
    ours, other = (SentenceEncoder.load(folder, pooling="pooler") for folder in (google, theirs))
    assert ours.fingerprint == other.fingerprint
    np.testing.assert_array_equal(ours.encode(TEXTS), other.encode(TEXTS))


def test_token_vectors_are_the_last_hidden_state(tiny_bert: Path) -> None:
    text = "张三请李四吃饭。"
    result = SentenceEncoder.load(tiny_bert, precision="float32").token_vectors(text)
    assert result.tokens == ["[CLS]", *text, "[SEP]"]
    variables = random_variables(TINY_BERT)
    states = reference_bert.bert_states(IDS[text], variables, layers=3, heads=3, eps=1e-12)
    np.testing.assert_allclose(result.vectors, states[3], atol=1e-5)


@pytest.mark.parametrize("architecture", [TINY_BERT, TINY_ALBERT], ids=["bert", "albert"])
def test_fill_mask_ranks_the_vocabulary_as_the_reference_does(
    request: pytest.FixtureRequest, architecture
) -> None:
    encoder = SentenceEncoder.load(request.getfixturevalue(f"tiny_{architecture.family}"))
    answers = encoder.fill_mask("the [MASK] bit", top_k=architecture.vocab_size)
    ids, variables = [2, 5, 4, 7, 3], random_variables(architecture)
    run, act = REFERENCES[architecture.family]
    states = run(ids, variables, layers=3, heads=3, eps=1e-12, act=act)
    probabilities = reference_bert.mlm_probabilities(states, variables, 2, eps=1e-12, act=act)
    order = np.argsort(-probabilities)
    assert [a.token for a in answers] == [checkpoints.PIECES[i] for i in order]
    np.testing.assert_allclose([a.probability for a in answers], probabilities[order], atol=1e-5)
    assert sum(a.probability for a in answers) == pytest.approx(1, abs=1e-5)


def test_fill_mask_without_the_head_says_so() -> None:
    with pytest.raises(CheckpointError, match="no masked-language-model head"):
        SentenceEncoder.load().fill_mask("科学技术是第一[MASK]产力")


@pytest.mark.parametrize("text", ["no mask", "[MASK] and [MASK]"])
def test_fill_mask_wants_exactly_one_mask(tiny_bert: Path, text: str) -> None:
    with pytest.raises(SettingsError, match="expected exactly one"):
        SentenceEncoder.load(tiny_bert).fill_mask(text)


def test_a_checkpoint_without_pooler_refuses_pooling_pooler() -> None:
    with pytest.raises(SettingsError, match="has no pooler"):
        SentenceEncoder.load(pooling="pooler")
