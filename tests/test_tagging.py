"""Paths and spans of tags, against all paths tried and spans counted by hand."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from simsearch.tagging import TaggedSpan, best_path, span_f1, spans_of


class TestBestPath:
    @pytest.mark.parametrize("units", [1, 2, 5])
    @pytest.mark.parametrize("seed", [1, 2, 3])
    def test_it_is_the_best_of_all_paths(self, units: int, seed: int) -> None:
        random = np.random.default_rng(seed)
        scores = random.standard_normal((units, 3)).astype(np.float32)
        transitions = (2 * random.standard_normal((3, 3))).astype(np.float32)

        def total(path: tuple[int, ...]) -> float:
            own = sum(scores[i, tag] for i, tag in enumerate(path))
            return float(own + sum(transitions[a, b] for a, b in itertools.pairwise(path)))

        expected = max(itertools.product(range(3), repeat=units), key=total)
        assert best_path(scores, transitions) == list(expected)

    def test_no_units(self) -> None:
        assert best_path(np.empty((0, 3), np.float32), np.zeros((3, 3), np.float32)) == []


@pytest.mark.parametrize(
    ("tags", "spans"),
    [
        ("B-A M-A E-A O S-B", [(0, 3, "A"), (4, 5, "B")]),  # BMES
        ("B-A I-A I-A O B-B", [(0, 3, "A"), (4, 5, "B")]),  # BIO
        ("B-A I-A E-A S-A B-A E-A", [(0, 3, "A"), (3, 4, "A"), (4, 6, "A")]),  # BIOES
        ("B-A I-A L-A U-B", [(0, 3, "A"), (3, 4, "B")]),  # BILOU
        ("B-A B-A E-A", [(0, 1, "A"), (1, 3, "A")]),  # one that does not end
        ("O M-A E-A M-B", [(1, 3, "A"), (3, 4, "B")]),  # ones that do not begin
        ("B-A M-B E-B", [(0, 1, "A"), (1, 3, "B")]),  # another name between
        ("B-A-B M-A-B E-A-B", [(0, 3, "A-B")]),
        ("O O", []),
        ("", []),
    ],
)
def test_spans(tags: str, spans: list[tuple[int, int, str]]) -> None:
    assert spans_of(tags.split()) == [TaggedSpan(*span) for span in spans]


def test_f1() -> None:
    wanted = [["B-A", "E-A", "O", "S-B"], ["S-A", "O"]]
    given = [["B-A", "E-A", "O", "S-A"], ["S-A", "S-A"]]
    # 3 to find, 4 found, 2 of them right
    assert span_f1(wanted, given) == pytest.approx(2 * 2 / (3 + 4))
    assert span_f1(wanted, wanted) == 1
    assert span_f1([["O"]], [["O"]]) == 0
