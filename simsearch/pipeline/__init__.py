"""Where the parts are put together: build and open indexes, encode, benchmark, train."""

from simsearch.backbone_cache import trim_pooled
from simsearch.pipeline.building import (
    BuildReport,
    build,
    build_documents,
    default_index,
)
from simsearch.pipeline.changing import (
    AddReport,
    DeleteReport,
    add,
    add_documents,
    delete,
    optimize,
    repair,
)
from simsearch.pipeline.comparing import Comparison, compare
from simsearch.pipeline.encoding import (
    corpus_texts,
    encode_file,
    fit_calibration,
    fit_whitening,
)
from simsearch.pipeline.explaining import Explanation, explain, write_picture
from simsearch.pipeline.measuring import (
    Sweep,
    benchmark,
    read_tasks,
)
from simsearch.pipeline.mining import MineReport, mine_negatives, mine_paraphrases
from simsearch.pipeline.opening import load_encoder, open_index, open_milvus
from simsearch.pipeline.predicting import load_predictor, predict
from simsearch.pipeline.progress import OnProgress
from simsearch.pipeline.reporting import check_report_folder, read_report, write_report
from simsearch.pipeline.training import TrainReport, train

__all__ = [
    "AddReport",
    "BuildReport",
    "Comparison",
    "DeleteReport",
    "Explanation",
    "MineReport",
    "OnProgress",
    "Sweep",
    "TrainReport",
    "add",
    "add_documents",
    "benchmark",
    "build",
    "build_documents",
    "check_report_folder",
    "compare",
    "corpus_texts",
    "default_index",
    "delete",
    "encode_file",
    "explain",
    "fit_calibration",
    "fit_whitening",
    "load_encoder",
    "load_predictor",
    "mine_negatives",
    "mine_paraphrases",
    "open_index",
    "open_milvus",
    "optimize",
    "predict",
    "read_report",
    "read_tasks",
    "repair",
    "train",
    "trim_pooled",
    "write_picture",
    "write_report",
]
