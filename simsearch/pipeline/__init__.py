"""Where the parts are put together: build an index, open one, encode files, benchmark poolings."""

from simsearch.pipeline.building import BuildReport, build, default_index
from simsearch.pipeline.encoding import encode_file, fit_whitening
from simsearch.pipeline.measuring import benchmark, read_tasks
from simsearch.pipeline.opening import load_encoder, open_index
from simsearch.pipeline.progress import OnProgress

__all__ = [
    "BuildReport",
    "OnProgress",
    "benchmark",
    "build",
    "default_index",
    "encode_file",
    "fit_whitening",
    "load_encoder",
    "open_index",
    "read_tasks",
]
