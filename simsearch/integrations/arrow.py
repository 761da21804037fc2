"""Arrow and pandas: documents from tables, hits as a table.

::

    frame = pandas.read_parquet("faq.parquet")
    simsearch.build_documents(documents(frame, text_column="question"), "indexes/faq")
    with simsearch.open_index("indexes/faq") as searcher:
        found = hits_table(queries, searcher.search(queries)).to_pandas()
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from simsearch.corpus import content_id
from simsearch.errors import CorpusError
from simsearch.records import Document, Hit

if TYPE_CHECKING:
    import pandas

_HITS = pa.schema(
    [
        pa.field("query", pa.string(), nullable=False),
        pa.field("rank", pa.int32(), nullable=False),
        pa.field("id", pa.string(), nullable=False),
        pa.field("score", pa.float64(), nullable=False),
        pa.field("percentile", pa.float64()),
        pa.field("text", pa.string(), nullable=False),
        pa.field("metadata", pa.string(), nullable=False),  # JSON
        pa.field("same_words", pa.bool_()),
        pa.field("order_score", pa.float64()),
    ]
)


def documents(
    data: pa.Table | pa.RecordBatchReader | pandas.DataFrame,
    *,
    text_column: str = "text",
    id_column: str | None = None,
) -> Iterator[Document]:
    """The rows of a table as documents, batch by batch; other columns are metadata.

    Without an id column the id is a hash of the text, as in ``build``; of equal texts there is one
    document. Columns that are null in a row are left out of its metadata. Raises CorpusError for a
    column that is not there, and for a row without a text.
    """
    if not isinstance(data, (pa.Table, pa.RecordBatchReader)):
        data = pa.Table.from_pandas(data, preserve_index=False)
    for column in (text_column, id_column):
        if column is not None and column not in data.schema.names:
            raise CorpusError(
                f"the table has no column {column!r}; it has {', '.join(data.schema.names)}"
            )
    batches = data.to_batches() if isinstance(data, pa.Table) else data
    seen: set[str] = set()
    for row in (row for batch in batches for row in batch.to_pylist()):
        text = row.pop(text_column)
        if not isinstance(text, str):
            raise CorpusError(f"column {text_column!r} has {text!r}; give strings")
        id_ = content_id(text) if id_column is None else str(row.pop(id_column))
        if id_column is not None or id_ not in seen:
            seen.add(id_)
            yield Document(id_, text, {key: _plain(v) for key, v in row.items() if v is not None})


def hits_table(queries: Sequence[str], answers: Sequence[Sequence[Hit]]) -> pa.Table:
    """The hits of queries as a table, a row a hit; metadata is JSON."""
    rows = [
        {
            "query": query,
            **{name: getattr(hit, name) for name in _HITS.names if name != "query"},
            "metadata": json.dumps(dict(hit.metadata), ensure_ascii=False),
        }
        for query, hits in zip(queries, answers, strict=True)
        for hit in hits
    ]
    return pa.Table.from_pylist(rows, schema=_HITS)


def _plain(value: Any) -> Any:
    """Dates and times as ISO 8601; what JSON has as it is."""
    return value.isoformat() if hasattr(value, "isoformat") else value
