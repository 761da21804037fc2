"""Explain a hit: which of its tokens matched which of the query's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from simsearch.alignment import Alignment, align
from simsearch.errors import SettingsError
from simsearch.files import new_file
from simsearch.records import Hit, passage_of
from simsearch.search import Searcher
from simsearch.sentence_encoder import SentenceEncoder

_MOST_TOKENS = 64  # of a side, in a picture


@dataclass(frozen=True, eq=False)
class Explanation:
    """A document as the hit of a query that it is or would be, and the tokens of both.

    Tokens are without [CLS] and [SEP]. Of a document in chunks it is the best chunk.
    """

    query: str
    hit: Hit
    alignment: Alignment


def explain(searcher: Searcher, query: str, id_: str) -> Explanation:
    """Say what of a document matched a query.

    Raises SettingsError for an id that the index does not have, and for an empty query.
    """
    if not query.strip():
        raise SettingsError("the query is empty; give a text to compare the document with")
    encoder = searcher.encoder
    assert isinstance(encoder, SentenceEncoder)  # open_index gave it
    hit = searcher.compared(query, id_)
    return Explanation(query, hit, aligned(encoder, query, passage_of(hit)))


def aligned(encoder: SentenceEncoder, first: str, second: str) -> Alignment:
    """The tokens of two texts, without [CLS] and [SEP], and how near they are to each other."""
    frame = encoder.backbone.tokenizer.first, encoder.backbone.tokenizer.frame
    sides = [_inner(*encoder.token_vectors(text), *frame) for text in (first, second)]
    return align(*sides[0], *sides[1])


def _inner(
    tokens: list[str], vectors: np.ndarray, first: int, frame: int
) -> tuple[list[str], np.ndarray]:
    stop = len(tokens) - (frame - first)
    return tokens[first:stop], vectors[first:stop]


def write_picture(explanation: Explanation, path: Path) -> None:
    """Write the cosines of all pairs of tokens as an SVG file.

    Raises SettingsError for more tokens than a picture can show, OSError if the system refuses.
    """
    from simsearch.evaluation.report.plots import heat_map  # Matplotlib, which takes a second

    alignment = explanation.alignment
    most = max(len(alignment.first), len(alignment.second))
    if most > _MOST_TOKENS:
        raise SettingsError(
            f"a picture shows texts of up to {_MOST_TOKENS} tokens, and one of these has {most}"
        )
    if not alignment.cosines.size:
        raise SettingsError("one of the two texts has no token, so there is nothing to show")
    picture = heat_map(alignment.first, alignment.second, alignment.cosines, shared_scale=True)
    with new_file(path) as aside:
        aside.write_text(f'<?xml version="1.0" encoding="utf-8"?>\n{picture}\n', "utf-8")
