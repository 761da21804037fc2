from __future__ import annotations

import numpy as np
import pytest

from simsearch.bert.backend import tnp
from simsearch.config import POOLINGS
from simsearch.errors import SettingsError
from simsearch.pooling import STRATEGIES, all_heads, resolve_pooling

# one sentence of two tokens and one of three; the third row of the first is padding
STATES = np.array(
    [[[1, 4], [3, 0], [99, -99]], [[0, 1], [2, -1], [4, -6]]],
    np.float32,
)
MASK = np.array([[1, 1, 0], [1, 1, 1]], np.float32)
BY_HAND = {
    "cls": [[1, 4], [0, 1]],
    "mean": [[2, 2], [2, -2]],
    "mean_sqrt_len": [[4 / 2**0.5, 4 / 2**0.5], [6 / 3**0.5, -6 / 3**0.5]],
    "max": [[3, 4], [4, 1]],
    # (1·1 + 2·3) / 3 and (1·4 + 2·0) / 3; (0 + 4 + 12) / 6 and (1 - 2 - 18) / 6
    "position_weighted_mean": [[7 / 3, 4 / 3], [16 / 6, -19 / 6]],
}


@pytest.mark.parametrize("namespace", [np, tnp], ids=["numpy", "tensorflow"])
@pytest.mark.parametrize("name", STRATEGIES)
def test_strategies_by_hand_in_both_array_namespaces(name: str, namespace) -> None:
    states, mask = (namespace.asarray(x) for x in (STATES, MASK))
    result = np.asarray(STRATEGIES[name](namespace, states, mask))
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, BY_HAND[name], rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "layers", "heads"),
    [
        ("cls", None, ["cls@6"]),
        ("mean", None, ["mean@6"]),
        ("mean", [-1], ["mean@6"]),
        ("max", [2, 3], ["max@2", "max@3"]),
        ("first_last_mean", None, ["mean@1", "mean@6"]),
        ("first_last_mean", [0, -1], ["mean@0", "mean@6"]),
        ("last2_mean", None, ["mean@5", "mean@6"]),
        ("pooler", None, ["pooler"]),
        ("static_mean", None, ["static_mean"]),
    ],
)
def test_a_pooling_name_stands_for_outputs_of_the_graph(name, layers, heads) -> None:
    assert list(resolve_pooling(name, layers, 6).heads) == heads


def test_every_pooling_is_among_the_outputs() -> None:
    offered = all_heads(6, pooler=True)
    assert len(set(offered)) == len(offered)
    for name in POOLINGS:
        assert set(resolve_pooling(name, None, 6).heads) <= set(offered)


@pytest.mark.parametrize(
    ("name", "layers", "message"),
    [
        ("average", None, "'average' is unknown; choose one of cls, pooler, mean"),
        ("mean", [7], "hidden state 7 does not exist: this model has states 0"),
        ("mean", [-8], "hidden state -8 does not exist"),
        ("mean", [6, -1], "or one twice"),
        ("mean", [], "name no layer"),
        ("static_mean", [1], "does not read hidden states"),
    ],
)
def test_what_cannot_be_pooled_is_refused(name, layers, message) -> None:
    with pytest.raises(SettingsError, match=message.replace("(", r"\(")):
        resolve_pooling(name, layers, 6)
