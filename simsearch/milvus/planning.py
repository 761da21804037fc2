"""Which kind of index Milvus is to build, and how much it must look at to find enough."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from simsearch.config import IndexSettings
from simsearch.errors import SettingsError
from simsearch.index.flat import FlatIndex
from simsearch.index.planner import plan_index
from simsearch.index.scoring import exact_scores
from simsearch.index.vectors import Vectors
from simsearch.milvus.layout import SearchPlan
from simsearch.search import live_rows
from simsearch.store import StoredIndex

_LINKS = 16
_EFFORTS = (32, 64, 128, 256, 512)
_QUERIES, _NEIGHBOURS = 64, 10
_MOST_VALUES = 1 << 33  # to compare for the measurement: 32 GiB of vectors
_MIB = 1 << 20


def plan_search(rows: int, dim: int, settings: IndexSettings) -> SearchPlan:
    """The kind that the planner's choice for so many vectors corresponds to.

    FLAT while comparing with all is fast; then HNSW, whose memory is that of the vectors and of
    ``2 * M`` links of 4 bytes each; or IVF_SQ8, a byte a coordinate, where the budget is less.
    Raises SettingsError where not even that fits.
    """
    plan = plan_index(rows, dim, settings)
    if plan.kind == "flat":
        return SearchPlan("FLAT", {}, {}, 1.0)
    memory = rows * (dim * 4 + 2 * _LINKS * 4)
    if settings.memory_budget is None or memory <= settings.memory_budget * _MIB:
        return SearchPlan("HNSW", {"M": _LINKS, "efConstruction": 200}, {}, None)
    assert plan.cells is not None
    memory = rows * (dim + 8) + plan.cells * dim * 4
    if memory > settings.memory_budget * _MIB:
        raise SettingsError(
            f"index.memory_budget is {settings.memory_budget:g} MiB; in Milvus {rows:,} "
            f"vectors of {dim} dimensions need {math.ceil(memory / _MIB):,} MiB or more"
        )
    return SearchPlan("IVF_SQ8", {"nlist": plan.cells}, {}, None)


def build_index(client: Any, name: str, plan: SearchPlan, *, empty: bool = False) -> None:
    """Let Milvus index the vectors of a collection, and load it.

    Until they are indexed is waited for, but for a collection that is ``empty``.
    """
    parameters = client.prepare_index_params()
    parameters.add_index("vector", index_type=plan.kind, metric_type="IP", params=dict(plan.build))
    client.release_collection(name)
    if client.list_indexes(name):
        client.drop_index(name, "vector")
    client.create_index(name, parameters, sync=not empty)
    client.load_collection(name)


def tuned_plan(
    client: Any, name: str, stored: StoredIndex, plan: SearchPlan, target: float
) -> SearchPlan:
    """The plan with the least effort whose recall@10 is ``target``, or with the most there is.

    Measured with vectors of the index itself, which all others are compared with.
    """
    effort = "ef" if plan.kind == "HNSW" else "nprobe"
    if stored.rows * stored.dim > _MOST_VALUES:
        return replace(plan, search={effort: _EFFORTS[-2]})
    rows = np.unique(np.random.default_rng(0).integers(0, stored.rows, _QUERIES))
    queries = stored.vectors(rows)
    exact = FlatIndex(stored.segments).search(queries, _NEIGHBOURS, live_rows(stored))
    least = [scores[:_NEIGHBOURS].min() for _, scores in exact]
    recall = 0.0
    for value in _EFFORTS:
        answers = client.search(
            name,
            queries.tolist(),
            limit=_NEIGHBOURS,
            output_fields=["vector"],
            search_params={"params": {effort: value}},
        )
        found = [
            np.count_nonzero(exact_scores(_vectors(hits), query) >= score)
            for hits, query, score in zip(answers, queries, least, strict=True)
        ]
        recall = float(np.mean(found)) / _NEIGHBOURS
        plan = replace(plan, search={effort: value}, recall_at_10=recall)
        if recall >= target:
            break
    return plan


def _vectors(hits: Any) -> Vectors:
    return np.array([hit["entity"]["vector"] for hit in hits], np.float32)
