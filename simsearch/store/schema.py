"""The tables of an index's database."""

FIELDS = (
    "CREATE TABLE fields (key TEXT NOT NULL, value NOT NULL, document INTEGER NOT NULL,"
    " PRIMARY KEY (key, value, document)) WITHOUT ROWID"
)
"""What filters ask: the metadata of all documents, by field and value; see ``filtering``."""

TABLES = (
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID",
    "CREATE TABLE documents (number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE,"
    " text TEXT NOT NULL, metadata TEXT NOT NULL, hash BLOB NOT NULL)",
    # empty where every document has one vector
    "CREATE TABLE chunks (row INTEGER PRIMARY KEY, document INTEGER NOT NULL,"
    " start INTEGER NOT NULL, stop INTEGER NOT NULL)",
    "CREATE TABLE segments (name TEXT PRIMARY KEY, first_row INTEGER NOT NULL,"
    " rows INTEGER NOT NULL, bytes INTEGER NOT NULL, sha256 TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE truncated (document INTEGER PRIMARY KEY, tokens INTEGER NOT NULL)",
    "CREATE TABLE tombstones (document INTEGER PRIMARY KEY)",
    FIELDS,
    # the word index: see ``words``
    "CREATE TABLE words (batch INTEGER NOT NULL, term TEXT NOT NULL, documents BLOB NOT NULL,"
    " PRIMARY KEY (batch, term)) WITHOUT ROWID",
    "CREATE TABLE word_batches (batch INTEGER PRIMARY KEY, terms INTEGER NOT NULL)",
    "CREATE TABLE word_counts (start INTEGER PRIMARY KEY, counts BLOB NOT NULL)",
)
"""The statements that make them, in order."""
