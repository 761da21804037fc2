"""Benchmark poolings: every task on every strategy of every model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Literal

import numpy as np

from simsearch.backbone_cache import CachedBackbone
from simsearch.calibration import Calibration
from simsearch.checkpoint import Checkpoint, load_checkpoint
from simsearch.config import CorpusSettings, EncoderSettings
from simsearch.errors import SettingsError
from simsearch.evaluation.comparison import compare
from simsearch.evaluation.files import (
    builtin_word_order,
    read_labelled,
    read_pairs,
    read_retrieval,
    read_word_order,
)
from simsearch.evaluation.results import BenchmarkResult, Strategy, several_models
from simsearch.evaluation.tasks import (
    ClassificationTask,
    PairsTask,
    RetrievalTask,
    Task,
    WordOrderTask,
)
from simsearch.pipeline.progress import OnProgress, counting
from simsearch.pooling import resolve_pooling
from simsearch.prediction import Predictor
from simsearch.reranking import Comparer, Floats, OrderReranker
from simsearch.sentence_encoder import SentenceEncoder
from simsearch.tokenizer import TextPair
from simsearch.weights import weight_hashes
from simsearch.whitening import Whitening

Layers = tuple[int, ...]

BUILTIN = "word-order"
"""The name of the built-in word-order suite, in place of a file's."""


def read_tasks(
    pairs: Iterable[str | Path] = (),
    retrieval: Iterable[str | Path] = (),
    word_order: Iterable[str | Path] = (),
    classification: Iterable[str | Path] = (),
    *,
    label_column: str | None = None,
    corpus: CorpusSettings | None = None,
) -> list[Task]:
    """The tasks in these files and folders; the built-in word-order suite if there are none.

    ``word-order`` among ``word_order`` is that suite too. ``label_column`` and ``corpus`` say how
    files of labelled texts are read. Raises TaskError for a file that does not have its layout.
    """
    for given in (pairs, retrieval, word_order, classification):
        if isinstance(given, (str, Path)):
            raise SettingsError(f"{given!r} is one path; expected a list of paths, such as [path]")
    columns = corpus or CorpusSettings()
    tasks: list[Task] = [
        *(PairsTask(str(path), read_pairs(path)) for path in pairs),
        *(RetrievalTask(str(path), read_retrieval(path)) for path in retrieval),
    ]
    for path in classification:
        train, test = read_labelled(
            path,
            text_column=columns.text_column,
            label_column=label_column,
            on_error=columns.on_error,
        )
        tasks.append(ClassificationTask(str(path), train, test))
    for path in word_order:
        suite = str(path) == BUILTIN
        triples = builtin_word_order() if suite else read_word_order(path)
        tasks.append(WordOrderTask(str(path), triples))
    return tasks or [WordOrderTask(BUILTIN, builtin_word_order())]


@dataclass(frozen=True)
class Sweep:
    """The strategies to compare: every pooling on all these layers, plain and whitened.

    Without ``poolings`` it is the one of each model's settings. ``layers`` are readings of the
    hidden states; ``None`` among them is the one that a pooling's name stands for, and "each" every
    state by itself. Poolings that read no hidden states (``pooler``, ``static_mean``) have one
    reading. ``whiten_on`` are training texts: on them a whitening is fitted for each, and ``dims``
    are the dimensions kept of it, ``None`` all.
    """

    poolings: Sequence[str] = ()
    layers: Sequence[Layers | Literal["each"] | None] = (None,)
    whiten_on: Sequence[str] = ()
    dims: Sequence[int | None] = (None,)

    def strategies(self, checkpoint: Checkpoint, settings: EncoderSettings) -> list[Strategy]:
        """Those without whitening, of which no two read the same."""
        depth = checkpoint.architecture.num_hidden_layers
        if not self.poolings:
            own = None if settings.layers is None else tuple(settings.layers)
            return [Strategy(settings.pooling or checkpoint.pooling, own)]
        readings: list[Layers | None] = []
        for given in self.layers:
            readings += [(state,) for state in range(depth + 1)] if given == "each" else [given]
        found: dict[tuple[str, ...], Strategy] = {}
        for pooling, layers in product(self.poolings, readings):
            # refused where nothing else was asked for, as everywhere
            fixed = pooling in ("pooler", "static_mean") and len(readings) > 1
            layers = None if fixed else layers
            heads = resolve_pooling(pooling, layers, depth).heads
            found.setdefault(heads, Strategy(pooling, layers))
        return list(found.values())


def benchmark(
    tasks: Sequence[Task],
    models: Iterable[EncoderSettings],
    sweep: Sweep | None = None,
    progress: OnProgress | None = None,
    *,
    reranker: str | Path | None = None,
) -> list[BenchmarkResult]:
    """Run every task on every strategy of every model.

    The results come task by task, each compared with the best of its task. The hidden states of a
    text are computed once a model, whatever the number of strategies, and kept in the cache.
    With a ``reranker`` (what `simsearch train rerank` made) each strategy is run with it as well,
    on all tasks but classification, whose neighbours nobody reads in their order.
    ``progress`` is called with the texts done and all texts of a model.
    """
    results: list[BenchmarkResult] = []
    again = None if reranker is None else OrderReranker(_Remembering(Predictor.load(reranker)))
    for settings in models:
        swept = _SweptModel(settings, sweep or Sweep(), tasks, again)
        swept.encode(progress)
        results += swept.results()
    return _compared(results, [task.name for task in tasks])


class _Remembering:
    """A comparer that is asked once for each text and pair, whatever the number of strategies."""

    def __init__(self, comparer: Comparer) -> None:
        self._comparer = comparer
        self._known: dict[TextPair, float] = {}
        self._words: dict[str, list[str]] = {}

    def words(self, texts: Sequence[str]) -> list[list[str]]:
        """See ``Comparer``."""
        new = [text for text in texts if text not in self._words]
        self._words.update(zip(new, self._comparer.words(new), strict=True))
        return [self._words[text] for text in texts]

    def same_meaning(self, pairs: Sequence[TextPair]) -> Floats:
        """See ``Comparer``."""
        new = list(dict.fromkeys(pair for pair in pairs if pair not in self._known))
        self._known.update(zip(new, self._comparer.same_meaning(new).tolist(), strict=True))
        return np.array([self._known[pair] for pair in pairs])


class _SweptModel:
    """One model in a sweep: the backbone that all its strategies share."""

    def __init__(
        self,
        settings: EncoderSettings,
        sweep: Sweep,
        tasks: Sequence[Task],
        reranker: OrderReranker | None,
    ) -> None:
        self._reranker = reranker
        self.checkpoint = load_checkpoint(
            settings.model,
            family=settings.family,
            lower_case=settings.lower_case,
            strip_accents=settings.strip_accents,
            max_length=settings.max_length,
        )
        depth = self.checkpoint.architecture.num_hidden_layers
        self._strategies = sweep.strategies(self.checkpoint, settings)
        heads = (resolve_pooling(s.pooling, s.layers, depth).heads for s in self._strategies)
        self.backbone = CachedBackbone(
            self.checkpoint,
            weight_hashes(self.checkpoint),
            [head for several in heads for head in several],
            precision=settings.precision,
            runtime=settings.runtime,
            calibration=Calibration.load(settings.calibration) if settings.calibration else None,
            threads=settings.threads,
        )
        self._settings, self._sweep, self._tasks = settings, sweep, tasks
        # whitening may see nothing that it will be scored on
        scored = {text for task in tasks for texts in task.inputs.values() for text in texts}
        self._training = [text for text in dict.fromkeys(sweep.whiten_on) if text not in scored]
        self._left_out = len(set(sweep.whiten_on) & scored)
        self._plain = {strategy: self._encoder(strategy) for strategy in self._strategies}

    def _encoder(
        self, strategy: Strategy, whitening: Whitening | None = None, dim: int | None = None
    ) -> SentenceEncoder:
        given = self._settings.whitening if whitening is None else whitening
        return SentenceEncoder(
            self.backbone,
            pooling=strategy.pooling,
            layers=strategy.layers,
            whitening=given,
            dim=self._settings.dim if whitening is None else dim,
        )

    def encode(self, progress: OnProgress | None) -> None:
        """Compute the hidden states of all texts, with progress; one strategy stands for all."""
        encoder = next(iter(self._plain.values()))
        total = len(self._training) + sum(
            len(texts) for task in self._tasks for texts in task.inputs.values()
        )
        done = 0
        for task in self._tasks:
            for prompt, texts in task.inputs.items():
                encoder.encode(texts, prompt, counting(progress, done, total))
                done += len(texts)
        if self._training:
            encoder.encode(self._training, "document", counting(progress, done, total))

    def results(self) -> Iterator[BenchmarkResult]:
        """Each strategy plain, then whitened if that is wanted."""
        for strategy, plain in self._plain.items():
            whitened = plain.whitening is not None
            dim = self._settings.dim
            yield from self._run(replace(strategy, whitened=whitened, dim=dim), plain)
            if not self._training:
                continue
            whitening = plain.fit_whitening(self._training)
            for dim in self._sweep.dims:
                encoder = self._encoder(strategy, whitening, dim)
                yield from self._run(replace(strategy, whitened=True, dim=dim), encoder)

    def _run(self, strategy: Strategy, encoder: SentenceEncoder) -> Iterator[BenchmarkResult]:
        yield from self._tasks_of(strategy, encoder, self._tasks, None)
        if self._reranker is not None:
            tasks = [task for task in self._tasks if not isinstance(task, ClassificationTask)]
            reranked = replace(strategy, reranked=True)
            yield from self._tasks_of(reranked, encoder, tasks, self._reranker)

    def _tasks_of(
        self,
        strategy: Strategy,
        encoder: SentenceEncoder,
        tasks: Sequence[Task],
        reranker: OrderReranker | None,
    ) -> Iterator[BenchmarkResult]:
        states = encoder.pooling.layers
        depth = self.checkpoint.architecture.num_hidden_layers
        for task in tasks:
            before = encoder.truncated
            result = task.run(encoder, reranker)
            notes = [*result.notes]
            if cut := encoder.truncated - before:
                limit = encoder.checkpoint.max_length
                notes.append(f"cut to the model's length of {limit} tokens: {cut:,} of the texts")
            if encoder.whitening is not None and self._left_out:
                notes.append(
                    f"{self._left_out:,} of the training texts are texts of these tasks and were "
                    "left out of the whitening"
                )
            yield BenchmarkResult(
                self.checkpoint.name,
                strategy,
                encoder.fingerprint,
                encoder.dim,
                max(states, default=depth if encoder.pooling.name == "pooler" else 0),
                replace(result, notes=tuple(notes)),
                self.backbone.cost,
                encoder.whitening,
            )


def _compared(results: Sequence[BenchmarkResult], tasks: Iterable[str]) -> list[BenchmarkResult]:
    """The results task by task, each compared with the best of its task."""
    several = several_models(results)
    compared = []
    for task in dict.fromkeys(tasks):
        group = [r for r in results if r.result.task == task]
        names = [r.name(with_model=several) for r in group]
        found = compare(list(zip(names, (r.result for r in group), strict=True)))
        compared += [
            replace(r, comparison=comparison) for r, comparison in zip(group, found, strict=True)
        ]
    return compared
