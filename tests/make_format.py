"""Writes the small index that must always open: run once for each new format, and commit it.

python tests/make_format.py tests/data/format-3
"""

from __future__ import annotations

import sys
from pathlib import Path

from test_store import ENCODER, Row, plan_of

from simsearch.config import IndexSettings
from simsearch.store import BuildPlan, IndexEditor, IndexWriter

ROWS = [
    Row(
        Path("c"),
        n,
        f"d{n}",
        "abc好"[n % 4] * (1 + n % 3) + " ab" * (n % 5),
        {"n": n, "even": n % 2 == 0},
    )
    for n in range(48)
]


def plan() -> BuildPlan:
    """An index in cells, however few its documents are."""
    base = plan_of(ENCODER, "format")
    return BuildPlan(
        base.inputs,
        base.identity,
        base.fingerprint,
        base.settings,
        base.dim,
        search=IndexSettings(kind="ivf"),
    )


def main(folder: Path) -> None:
    """Build, then change: deleted, replaced and added documents."""
    with IndexWriter.open(folder, plan(), replace=False) as writer:
        writer.ingest(ROWS, on_error="stop")
        for shard in writer.pending_shards(20):
            writer.commit(shard, ENCODER.encode(shard.texts), {0: 99} if shard.first_row else {})
        writer.finish()
    with IndexEditor.open(folder) as editor:
        editor.delete(["d7", "d8"])
        editor.stage(
            [Row(Path("c"), 1, "d9", "new 退款", {"n": 9}), Row(Path("c"), 2, "x", "bb", {})],
            "stop",
        )
        for batch in editor.batches(None):
            editor.commit(batch, ENCODER.encode(batch.texts))
    (folder / "writer.lock").unlink(missing_ok=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
