"""Train an encoder: files to a method, a method to a checkpoint."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simsearch import __version__
from simsearch.checkpoint import load_checkpoint
from simsearch.config import (
    TRAINING_METHODS,
    CorpusSettings,
    EncoderSettings,
    TrainingMethod,
    TrainSettings,
)
from simsearch.errors import SettingsError, TaskError
from simsearch.evaluation.files import read_examples, read_labelled, read_pairs, read_tagged
from simsearch.files import sha256_of
from simsearch.pipeline.encoding import corpus_texts
from simsearch.pipeline.progress import OnProgress
from simsearch.pipeline.teaching import TEACHER, Teacher
from simsearch.sentence_encoder import pooling_of
from simsearch.weights import weight_hashes

if TYPE_CHECKING:
    from simsearch.training.loop import OnEvaluation  # TensorFlow, which other verbs do without


@dataclass(frozen=True, slots=True)
class TrainReport:
    """What a training did: ``metric`` had the value ``best`` at ``best_step`` of ``steps``.

    ``first`` is its value before the first step. Without a dev file all three are ``None``, and the
    last step's weights are kept.
    """

    folder: Path
    examples: int
    steps: int
    best_step: int
    metric: str | None
    first: float | None
    best: float | None


def train(
    method: TrainingMethod,
    data: Sequence[str | Path],
    out: str | Path,
    *,
    dev: str | Path | None = None,
    encoder: EncoderSettings | None = None,
    settings: TrainSettings | None = None,
    corpus: CorpusSettings | None = None,
    least_score: float | None = None,
    teacher: str | Path | None = None,
    from_scratch: bool = False,
    progress: OnProgress | None = None,
    evaluated: OnEvaluation | None = None,
) -> TrainReport:
    """Train the encoder that ``encoder`` describes, and write it to ``out`` as a checkpoint.

    ``data`` are pairs with scores for "cosent" and, from 0 to 1, for "rerank"; examples for
    "contrastive" (see ``read_examples``; with ``least_score`` pairs with scores, of which those
    that have it belong together); corpus files for "simcse", "distill" and "mlm"; tables with a
    column "label" or "category" for "classify", and a unit and its tag a line for "label" (see
    ``read_tagged``). ``teacher`` is the model whose vectors "distill" imitates, or an ``.npy`` file
    with a row for each text. ``dev`` has what "mlm", "classify", "label" and "rerank" are trained
    on, and for the others pairs with scores; the best step by it is kept. ``from_scratch`` begins
    with random weights.

    ``progress`` is called after each step, ``evaluated`` after each evaluation.

    An interrupted training goes on when it is called again, and ends with the same weights. Raises
    SettingsError, CheckpointError, TaskError and CorpusError, all before the first step.
    """
    encoder, settings = encoder or EncoderSettings(), settings or TrainSettings()
    _check(method, encoder, from_scratch, least_score, teacher)
    checkpoint = load_checkpoint(
        encoder.model,
        family=encoder.family,
        lower_case=encoder.lower_case,
        strip_accents=encoder.strip_accents,
        max_length=encoder.max_length,
        weights=not from_scratch,
    )
    pooling = pooling_of(checkpoint, encoder.pooling, encoder.layers)
    read = _reader(method, corpus or CorpusSettings(), least_score)
    examples = [example for path in data for example in read(path)]
    held_out = None if dev is None else _dev_data(method, dev, corpus or CorpusSettings())
    vectors = None if teacher is None else Teacher(teacher, examples)
    recipe = {
        "method": method,
        "model": None if from_scratch else weight_hashes(checkpoint).backbone,
        "architecture": asdict(checkpoint.architecture),
        "vocabulary": checkpoint.vocabulary.hash,
        "max_length": checkpoint.max_length,
        "pooling": pooling.name,
        "layers": list(pooling.layers),
        "least_score": least_score,
        "data": [sha256_of(Path(path)) for path in data],
        "dev": None if dev is None else sha256_of(Path(dev)),
        "teacher": None if vectors is None else vectors.fingerprint,
        "settings": settings.model_dump(),
    }
    from simsearch import training  # TensorFlow, which other verbs do without

    with training.claimed(Path(out), recipe) as work:
        teachers = None if vectors is None else vectors.vectors(work, progress)
        made = training.make(method, examples, held_out, checkpoint, settings, teachers)
        loop = training.Training(
            checkpoint,
            training.first_variables(
                checkpoint,
                pooler=pooling.name == "pooler",
                mlm=made.mlm,
                fresh_seed=settings.seed if from_scratch else None,
            ),
            made.heads or pooling.heads,
            made.method,
            made.dev,
            settings,
            work,
            mlm=made.mlm,
            head=None if made.head is None else made.head.values,
        )
        outcome = loop.run(progress, evaluated)
        report = TrainReport(Path(out), len(examples), **outcome.facts)
        facts = {**recipe, "version": __version__, "result": outcome.facts}
        training.finish(Path(out), checkpoint, outcome.variables, pooling, facts, made.head)
        loop.clear()
        (work / TEACHER).unlink(missing_ok=True)
    return report


def _check(
    method: str,
    encoder: EncoderSettings,
    from_scratch: bool,
    least_score: float | None,
    teacher: str | Path | None,
) -> None:
    if method not in TRAINING_METHODS:
        raise SettingsError(
            f"method {method!r} is unknown; choose one of {', '.join(TRAINING_METHODS)}"
        )
    if encoder.whitening or encoder.dim:
        raise SettingsError(
            "a whitening fits one model only; train without, and fit one to the result"
        )
    if from_scratch and method not in ("mlm", "distill"):
        raise SettingsError(f"method {method!r} begins with a model that knows words; see 'mlm'")
    if (teacher is None) == (method == "distill"):
        raise SettingsError("method 'distill' needs a teacher, and no other method has one")
    if least_score is not None and method != "contrastive":
        raise SettingsError(f"least_score is for method 'contrastive', not {method!r}")


def _reader(
    method: TrainingMethod, corpus: CorpusSettings, least_score: float | None
) -> Callable[[str | Path], Sequence[Any]]:
    """What reads a file of training data."""
    if method in ("cosent", "rerank"):
        return read_pairs
    if method == "label":
        return read_tagged
    if method == "classify":
        return lambda path: _labelled(path, corpus)
    if method == "contrastive":
        return functools.partial(read_examples, least_score=least_score)
    return lambda path: list(corpus_texts([path], corpus))


def _dev_data(method: TrainingMethod, dev: str | Path, corpus: CorpusSettings) -> Sequence[Any]:
    """What the method is trained on, or pairs. TaskError if all pairs have one score."""
    if method in ("mlm", "classify", "label"):
        return _reader(method, corpus, None)(dev)
    pairs = read_pairs(dev)
    if len({pair.score for pair in pairs}) == 1:
        raise TaskError(f"{dev}: all pairs have one score, so that nothing can be told by them")
    return pairs


def _labelled(path: str | Path, corpus: CorpusSettings) -> Sequence[Any]:
    """The rows of one file with a column of labels. TaskError for a folder."""
    if Path(path).is_dir():
        raise TaskError(f"{path}: is a folder; give the file in it that is to be read")
    return read_labelled(path, text_column=corpus.text_column, on_error=corpus.on_error)[0]
