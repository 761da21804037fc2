"""What can go wrong, as one tree.

::

    SimsearchError              the user can mend it: exit status 2, one message, no traceback
    ├── SettingsError           an option or a line of config.yaml
    ├── MissingPackageError     a package that is needed is not installed
    ├── CorpusError             a corpus file cannot be read, or rows of it are bad
    ├── CheckpointError         a checkpoint is incomplete, damaged or of a kind we don't know
    ├── TaskError               a file of an evaluation task is bad
    └── StoreError              an index folder
        ├── IndexNotFoundError  there is none
        ├── UnfinishedIndexError  its build was interrupted
        ├── CorruptIndexError   a file is missing, altered or of another version
        ├── IndexBusyError      another process is writing it
        └── EncoderMismatchError  it was built with another encoder

Every message says what was given, what is expected and what to do next. Anything that is not a
``SimsearchError`` is our own mistake: exit status 1.
"""

from __future__ import annotations


class SimsearchError(Exception):
    """Base of all errors that the caller can mend."""


class SettingsError(SimsearchError):
    """An option, or a line of ``config.yaml``, has a value that cannot be used."""


class MissingPackageError(SimsearchError):
    """A package that this step needs is not installed; the message prints the command."""


class CorpusError(SimsearchError):
    """A corpus file cannot be read, or some of its rows cannot be used."""


class CheckpointError(SimsearchError):
    """A checkpoint is incomplete, damaged, or of a kind that is not supported."""


class TaskError(SimsearchError):
    """A file of an evaluation task does not have the layout it should have."""


class StoreError(SimsearchError):
    """Base of everything that can be wrong with an index folder."""


class IndexNotFoundError(StoreError):
    """The folder holds no index."""


class UnfinishedIndexError(StoreError):
    """The build of this index was interrupted; running it again resumes it."""


class CorruptIndexError(StoreError):
    """A file of the index is missing, altered, or written by another version."""


class IndexBusyError(StoreError):
    """Another process is writing this index."""


class EncoderMismatchError(StoreError):
    """The index was built with another encoder than the one at hand."""
