"""An index in Milvus, for what is larger than one machine's memory: written there, and searched.

``export_to_milvus`` makes a collection the image of an index: a row for each of its vectors, with
the document it is of, and the encoder, the settings and what else a search must know in the
collection's properties. ``MilvusSearcher`` answers queries from it as ``Searcher`` does from the
folder. The folder stays what the index is; a collection can be made anew from it at any time.
"""

from simsearch.milvus.door import PREFIX, Address, parse_address
from simsearch.milvus.exporting import MilvusReport, export_to_milvus
from simsearch.milvus.searching import MilvusCollection, MilvusSearcher

__all__ = [
    "PREFIX",
    "Address",
    "MilvusCollection",
    "MilvusReport",
    "MilvusSearcher",
    "export_to_milvus",
    "parse_address",
]
