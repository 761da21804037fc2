"""The one writer of an index folder: finds out what is there, resumes it, never loses the old."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Literal

from simsearch.corpus import Row, RowProblem
from simsearch.encoder import SHARD, fingerprint
from simsearch.errors import CorruptIndexError, StoreError
from simsearch.store.building import Building, Shard, ingest
from simsearch.store.database import FORMAT, made_by_simsearch, open_database
from simsearch.store.documents import IngestReport
from simsearch.store.folder import BUILDING, INDEX, MANIFEST, FolderLock, sweep, write_whole
from simsearch.store.meta import BuildPlan, Meta, load_meta, plan_differences
from simsearch.store.segments import Segment, Vectors, read_segments


class IndexWriter:
    """The one writer of an index folder, from ``open`` to ``close``.

    ::

        with IndexWriter.open(folder, plan, replace=False) as writer:
            if not writer.finished:
                if not writer.ingested:
                    writer.ingest(rows, on_error="stop")
                for shard in writer.pending_shards():
                    writer.commit(shard, encoder.encode(shard.texts))
                writer.finish()

    ``finished``: the folder holds an index of this very plan. ``ingested``: the documents are
    stored, in this run or an interrupted one. ``done`` of ``total`` documents have vectors;
    ``truncated`` of their texts were longer than the encoder takes.
    """

    def __init__(self, folder: Path, plan: BuildPlan, lock: FolderLock) -> None:
        """For ``open``, which holds the lock."""
        self.folder = folder
        self.finished = False
        self.total = 0
        self._plan = plan
        self._lock = lock
        self._generation = 1
        self._truncated = 0
        self._building: Building | None = None

    @classmethod
    def open(cls, folder: Path, plan: BuildPlan, *, replace: bool) -> IndexWriter:
        """Lock ``folder`` and find out what is there to do; creates the folder if it is absent.

        With ``replace`` a finished index of any plan is built anew; what an interrupted build of
        the same plan has done is used, that of another plan is given up by ``ingest``.

        Raises IndexBusyError if another process writes, CorruptIndexError for a damaged index
        (with ``replace``, only for one that isn't ours) and StoreError for a folder with other
        things in it and, without ``replace``, for an index of another plan.
        """
        if fingerprint(plan.identity) != plan.fingerprint:
            raise ValueError("the plan's fingerprint is not that of its identity")
        writer = cls(folder, plan, FolderLock(folder))
        try:
            if (folder / INDEX).is_file():
                writer._read_finished(replace)
            if not writer.finished and (folder / BUILDING).is_file():
                writer._read_building(replace)
            writer._sweep()
        except BaseException:
            writer.close()
            raise
        return writer

    @property
    def ingested(self) -> bool:
        """Whether the documents are stored."""
        return self.finished or self._building is not None

    @property
    def done(self) -> int:
        """How many documents have vectors on disk."""
        if self._building is not None:
            return self._building.done
        return self.total if self.finished else 0

    @property
    def truncated(self) -> int:
        """How many of the texts that have vectors were longer than the encoder takes."""
        return self._truncated if self._building is None else self._building.meta.truncated

    def _read_finished(self, replace: bool) -> None:
        path = self.folder / INDEX
        try:
            with closing(open_database(path, "rw")) as connection:
                meta = load_meta(connection, path)
                segments = read_segments(connection, path)
        except CorruptIndexError:
            if not replace or not made_by_simsearch(path):
                raise
            return  # too damaged to answer; a new one takes its place
        self._generation = meta.generation + 1
        if replace:
            return
        if differences := plan_differences(meta, self._plan):
            raise StoreError(
                f"{self.folder} holds a finished index of something else, which differs in:"
                f"{_listed(differences)}\nBuild anew with --replace, or give another --index DIR; "
                "`simsearch add`, to put more documents into an index, is still to come"
            )
        self._set_finished(meta, segments)

    def _read_building(self, replace: bool) -> None:
        path = self.folder / BUILDING
        try:
            building = Building(self.folder)
        except CorruptIndexError:
            if not replace or not made_by_simsearch(path):
                raise
            return  # `ingest` puts a new one in its place
        differences = plan_differences(building.meta, self._plan)
        if not differences:
            self._building = building
            self.total = building.total
            return
        building.close()
        if not replace:
            raise StoreError(
                f"{self.folder} holds an unfinished index of something else, which differs in:"
                f"{_listed(differences)}\nFinish it with the command it was begun with, throw it "
                "away with --replace, or give another --index DIR"
            )

    def ingest(
        self, rows: Iterable[Row | RowProblem], *, on_error: Literal["stop", "skip"]
    ) -> IngestReport:
        """Store the documents, all of them or, after any exception, nothing.

        Rows that can't be used, or whose own id is taken, are left out with ``on_error="skip"``.
        With "stop" they are all read, and then raise CorpusError; so does a corpus without any
        document.
        """
        if self.ingested:
            raise ValueError(f"{self.folder} has its documents already")
        report = ingest(self.folder, self._plan, rows, on_error)
        self._building = Building(self.folder)
        self.total = self._building.total
        self._sweep()  # the segments of another plan's build, now given up
        return report

    def pending_shards(self, size: int = SHARD) -> Iterator[Shard]:
        """The documents without a vector, in row order, up to ``size`` at a time.

        Shards are cut at multiples of ``size``, so a resumed build cuts where an uninterrupted one
        does (as long as ``size`` is the same).
        """
        return self._under_way().shards(size)

    def commit(self, shard: Shard, vectors: Vectors, truncated: int = 0) -> None:
        """Store the vectors, float32 (len(shard.texts), dim), of the next shard, durably.

        ``truncated`` is how many of its texts were longer than the encoder takes. Raises ValueError
        if they are not unit vectors of that shape, or another shard is next.
        """
        self._under_way().commit(shard, vectors, truncated)

    def finish(self) -> None:
        """Put the new index in the place of the old one, at one stroke.

        Raises ValueError if documents without vectors are left.
        """
        building = self._under_way()
        meta = building.finish(self._generation)
        self._building = None
        self._set_finished(meta, building.segments)
        self._sweep()

    def close(self) -> None:
        """Let others write. What was committed stays, and the next build resumes from there."""
        if self._building is not None:
            self._building.close()
            self._building = None
        self._lock.release()

    def _under_way(self) -> Building:
        if self._building is None:
            raise ValueError(f"{self.folder}: no build is under way; `ingest` begins one")
        return self._building

    def _set_finished(self, meta: Meta, segments: list[Segment]) -> None:
        self.finished = True
        self.total = sum(segment.rows for segment in segments)
        self._truncated = meta.truncated
        _write_manifest(self.folder, meta, segments)

    def _sweep(self) -> None:
        """Remove our garbage, if it is certain what isn't: a damaged database names nothing."""
        named: set[str] = set()
        for path in (self.folder / INDEX, self.folder / BUILDING):
            if path.is_file():
                try:
                    with closing(open_database(path, "ro")) as connection:
                        named.update(segment.name for segment in read_segments(connection, path))
                except StoreError:
                    return
        sweep(self.folder, named)

    def __enter__(self) -> IndexWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _write_manifest(folder: Path, meta: Meta, segments: list[Segment]) -> None:
    facts = asdict(meta)
    del facts["background"]
    manifest = {
        "note": "A copy for people. simsearch reads index.sqlite and never this file.",
        "format": FORMAT,
        "count": sum(segment.rows for segment in segments),
        **facts,
        "segments": [asdict(segment) for segment in segments],
    }
    content = (json.dumps(manifest, ensure_ascii=False, indent=2) + "\n").encode()
    path = folder / MANIFEST
    if not path.is_file() or path.read_bytes() != content:
        write_whole(path, content)


def _listed(lines: list[str]) -> str:
    return "".join(f"\n  {line}" for line in lines)
