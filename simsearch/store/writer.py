"""The one writer of an index folder: finds out what is there, resumes it, never loses the old."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from types import TracebackType

from simsearch.config import Duplicates, OnError
from simsearch.corpus import Row, RowProblem
from simsearch.encoder import fingerprint
from simsearch.errors import CorruptIndexError, StoreError
from simsearch.index.vectors import Vectors
from simsearch.store.building import Building, Seconds, Shard, ingest
from simsearch.store.chunks import Spans
from simsearch.store.database import made_by_simsearch, open_database
from simsearch.store.documents import IngestReport
from simsearch.store.facts import Facts, read_facts, write_manifest
from simsearch.store.folder import BUILDING, INDEX, FolderLock, remove_database
from simsearch.store.garbage import sweep_folder
from simsearch.store.meta import BuildPlan, plan_differences
from simsearch.store.segments import segment_rows


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

    ``finished``: the folder holds an index of this very plan, and ``facts`` tells of it.
    ``ingested``: the documents are stored, in this run or an interrupted one. ``done`` of ``total``
    texts (documents, or the chunks of them if the plan has ``chunk``) have vectors.
    """

    def __init__(self, folder: Path, plan: BuildPlan, lock: FolderLock) -> None:
        """For ``open``, which holds the lock."""
        self.folder = folder
        self._plan = plan
        self._lock = lock
        self._generation = 1
        self._facts: Facts | None = None
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
            sweep_folder(folder)
        except BaseException:
            writer.close()
            raise
        return writer

    @property
    def finished(self) -> bool:
        """Whether the folder holds an index of this plan."""
        return self._facts is not None

    @property
    def facts(self) -> Facts:
        """The facts of the finished index."""
        if self._facts is None:
            raise ValueError(f"{self.folder}: the index is not finished")
        return self._facts

    @property
    def ingested(self) -> bool:
        """Whether the documents are stored."""
        return self.finished or self._building is not None

    @property
    def done(self) -> int:
        """How many texts have vectors on disk."""
        return self._under_way().done if self._facts is None else self._facts.rows

    @property
    def total(self) -> int:
        """How many texts there are."""
        return self._under_way().total if self._facts is None else self._facts.rows

    def _read_finished(self, replace: bool) -> None:
        path = self.folder / INDEX
        try:
            with closing(open_database(path, "rw")) as connection:
                facts = read_facts(connection, path)
        except CorruptIndexError:
            if not replace or not made_by_simsearch(path):
                raise
            return  # too damaged to answer; a new one takes its place
        self._generation = facts.meta.generation + 1
        if replace:
            return
        if differences := plan_differences(facts.meta, self._plan):
            raise StoreError(
                f"{self.folder} holds a finished index of something else, which differs in:"
                f"{_listed(differences)}\nBuild anew with --replace, give another --index DIR, or "
                "put more documents into this one with `simsearch add`"
            )
        self._set_finished(facts)

    def _read_building(self, replace: bool) -> None:
        path = self.folder / BUILDING
        try:
            building = Building(self.folder, self.folder / BUILDING)
        except CorruptIndexError:
            if not replace or not made_by_simsearch(path):
                raise
            return  # `ingest` puts a new one in its place
        differences = plan_differences(building.meta, self._plan)
        if not differences:
            self._building = building
            return
        building.close()
        if not replace:
            raise StoreError(
                f"{self.folder} holds an unfinished index of something else, which differs in:"
                f"{_listed(differences)}\nFinish it with the command it was begun with, throw it "
                "away with --replace, or give another --index DIR"
            )

    def ingest(
        self,
        rows: Iterable[Row | RowProblem],
        *,
        on_error: OnError,
        duplicates: Duplicates = "keep",
        spans: Spans | None = None,
    ) -> IngestReport:
        """Store the documents, all of them or, after any exception, nothing.

        ``spans`` says where to cut their texts, if the plan has ``chunk``; it gets some at a time.
        Rows that can't be used, or whose own id is taken, are left out with ``on_error="skip"``.
        With "stop" they are all read, and then raise CorpusError; so does a corpus without any
        document. With ``duplicates`` a row whose text an earlier one has is left out ("collapse"),
        or cannot be used ("refuse").
        """
        if self.ingested:
            raise ValueError(f"{self.folder} has its documents already")
        if (spans is None) != (self._plan.chunk is None):
            raise ValueError(f"the plan's chunk is {self._plan.chunk}, but spans is {spans}")
        report = ingest(self.folder, self._plan, rows, on_error, duplicates, spans)
        self._building = Building(self.folder, self.folder / BUILDING)
        sweep_folder(self.folder)  # the segments of another plan's build, now given up
        return report

    def pending_shards(self, size: int | None = None) -> Iterator[Shard]:
        """The texts without a vector, in row order, up to ``size`` at a time.

        By default that suits how many there are: see ``segment_rows``. Shards are cut at multiples
        of ``size``, so a resumed build cuts where an uninterrupted one does (as long as ``size`` is
        the same).
        """
        return self._under_way().shards(size or segment_rows(self.total))

    def commit(
        self, shard: Shard, vectors: Vectors, truncated: Mapping[int, int] | None = None
    ) -> None:
        """Store the vectors, float32 (len(shard.texts), dim), of the next shard, durably.

        ``truncated`` names its texts that were longer than the encoder takes: their positions in
        ``shard.texts``, and how many tokens they have. Raises ValueError if they are not unit
        vectors of that shape, or another shard is next.
        """
        self._under_way().commit(shard, vectors, truncated or {})

    def finish(self) -> Seconds:
        """Put the new index in the place of the old one, at one stroke.

        Returns how long it took to make it searchable. Raises ValueError if texts without vectors
        are left.
        """
        seconds = self._under_way().finish(self._generation)
        self._building = None
        path = self.folder / INDEX
        with closing(open_database(path, "ro")) as connection:
            facts = read_facts(connection, path)
        self._set_finished(facts)
        sweep_folder(self.folder)
        return seconds

    def give_up(self) -> None:
        """Forget the documents that were ingested, as if there had been no build."""
        if self._building is not None:
            self._building.close()
            self._building = None
            remove_database(self.folder / BUILDING)
            sweep_folder(self.folder)

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

    def _set_finished(self, facts: Facts) -> None:
        self._facts = facts
        write_manifest(self.folder, facts)

    def __enter__(self) -> IndexWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _listed(lines: list[str]) -> str:
    return "".join(f"\n  {line}" for line in lines)
