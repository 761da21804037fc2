"""Evaluation tasks: run an encoder on one, and get numbers with intervals.

Every cosine is a row-wise float64 dot product of the encoder's float32 unit vectors, and every
distinct text of a task is encoded once: equal texts get equal scores, and no number depends on how
a matrix was cut into blocks. A task never changes its inputs. Every interval is a 95 % percentile
bootstrap over the items of the task (pairs, judged queries, texts, triples).
"""

from simsearch.evaluation.tasks.base import Failure, Task, TaskResult
from simsearch.evaluation.tasks.classification import ClassificationTask
from simsearch.evaluation.tasks.pairs import PairsTask
from simsearch.evaluation.tasks.retrieval import RetrievalTask, top_rows
from simsearch.evaluation.tasks.word_order import REORDERING, TIE, WordOrderTask

__all__ = [
    "REORDERING",
    "TIE",
    "ClassificationTask",
    "Failure",
    "PairsTask",
    "RetrievalTask",
    "Task",
    "TaskResult",
    "WordOrderTask",
    "top_rows",
]
