"""The index folder: documents and vectors on disk, never half written.

::

    index.sqlite            the only truth about a finished index: documents, segments, settings
    building.sqlite         the same of an index whose build is under way, or was interrupted
    ingest-<16 hex>.sqlite  documents that are being read, for a build or to be added
    vectors-<16 hex>.f32    a segment: float32 rows, little-endian, row-major, then the CRC-32 of
                            each row, uint32; written once
    manifest.json           a copy of the facts for people; never read
    writer.lock             held by the one process that writes

A build works in ``building.sqlite`` and ends by renaming it to ``index.sqlite``, so that a folder
holds the old index until the moment it holds the new one. A segment is on disk, whole, before a
transaction names it; what no database names is garbage, and the next writer sweeps it.

A change of a finished index is one transaction in ``index.sqlite``, and a generation. Readers hold
one state during a search, and look for a later one before the next.

A row is a vector's number, through all segments; it stands for the document of the same number, or
in an index built with ``chunk`` for what the row of ``chunks`` says. New documents get new numbers
and rows at the end; of a deleted one the number stays, as a tombstone.

Trust: an index is data. Nothing in it is unpickled, imported or executed, file names in it can't
lead out of the folder, and each segment and document is checked against its hash. The hashes find
accidents; someone who can write the folder can also write matching hashes.
"""

from simsearch.store.building import Shard
from simsearch.store.changes import IndexEditor
from simsearch.store.chunks import Passage, Spans
from simsearch.store.documents import IngestReport
from simsearch.store.maintenance import IndexKeeper
from simsearch.store.meta import BuildPlan, Chunk, check_encoder, differing_fields
from simsearch.store.portable import export_index, import_index
from simsearch.store.reader import StoredIndex
from simsearch.store.staging import Batch
from simsearch.store.verification import verify
from simsearch.store.writer import IndexWriter

__all__ = [
    "Batch",
    "BuildPlan",
    "Chunk",
    "IndexEditor",
    "IndexKeeper",
    "IndexWriter",
    "IngestReport",
    "Passage",
    "Shard",
    "Spans",
    "StoredIndex",
    "check_encoder",
    "differing_fields",
    "export_index",
    "import_index",
    "verify",
]
