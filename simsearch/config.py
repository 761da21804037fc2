"""Settings: ``config.yaml`` and the command line's options become one frozen, checked object."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

import pydantic
import yaml
from pydantic_core import PydanticCustomError

from simsearch.errors import SettingsError

PoolingName = Literal[
    "cls",
    "pooler",
    "mean",
    "max",
    "mean_sqrt_len",
    "position_weighted_mean",
    "first_last_mean",
    "last2_mean",
    "static_mean",
]
POOLINGS: tuple[PoolingName, ...] = get_args(PoolingName)
"""All pooling names, in the order in which tables show them."""
Family = Literal["bert", "albert", "nezha", "electra", "roformer"]
FAMILIES: tuple[Family, ...] = get_args(Family)
"""The kinds of BERT that are computed, by the names that bert4keras gives them."""
Precision = Literal["auto", "float32", "int8"]
RuntimeName = Literal["openvino", "tensorflow"]
Mode = Literal["dense", "lexical", "hybrid"]
MODES: tuple[Mode, ...] = get_args(Mode)
"""What queries are compared by: vectors, words, or both."""
Engine = Literal["local", "ray"]
ENGINES: tuple[Engine, ...] = get_args(Engine)
"""Who encodes the texts of a build: this process, or a Ray cluster."""
OnError = Literal["stop", "skip"]
Duplicates = Literal["keep", "collapse", "refuse"]
"""What becomes of a text that an earlier row has: a document, nothing, or a row with a problem."""
TrainingMethod = Literal[
    "mlm", "simcse", "contrastive", "cosent", "distill", "classify", "label", "rerank"
]
Rerank = Literal["order"]
RERANKINGS: tuple[Rerank, ...] = get_args(Rerank)
TRAINING_METHODS: tuple[TrainingMethod, ...] = get_args(TrainingMethod)
"""How an encoder can be trained."""
ColumnType = Literal["string", "integer", "number", "boolean", "list"]


def _chunk(value: object) -> object:
    """(tokens, overlap) of 200, [200] and [200, 40]; the overlap is 0 where it isn't given."""
    numbers: list[Any] = list(value) if isinstance(value, (list, tuple)) else [value]
    if len(numbers) not in (1, 2) or any(type(number) is not int for number in numbers):
        raise PydanticCustomError(
            "chunk", "expected the tokens of a chunk and the overlap, such as [200, 40]"
        )
    tokens, overlap = [*numbers, 0][:2]
    if tokens < 1:
        raise PydanticCustomError("chunk", "expected 1 token or more")
    if not 0 <= overlap < tokens:
        raise PydanticCustomError(
            "chunk",
            "expected an overlap from 0 to {most}, best no more than {half}, half of the tokens",
            {"most": tokens - 1, "half": tokens // 2},
        )
    return tokens, overlap


_Chunk = Annotated[tuple[int, int], pydantic.BeforeValidator(_chunk)]


class _Section(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, strict=True)


_Model = TypeVar("_Model", bound=_Section)


class EncoderSettings(_Section):
    """Which encoder, and how it pools. ``None`` means: as the checkpoint says."""

    model: str = "zhen-small"
    family: Family | None = None
    lower_case: bool | None = None
    strip_accents: bool | None = None
    max_length: int | None = pydantic.Field(default=None, ge=3)
    pooling: PoolingName | None = None
    layers: list[int] | None = None
    whitening: str | None = None
    dim: int | None = pydantic.Field(default=None, ge=1)
    precision: Precision = "auto"
    calibration: str | None = None
    runtime: RuntimeName = "openvino"
    threads: int | None = pydantic.Field(default=None, ge=1)


class ManifestSettings(_Section):
    """What a ``simsearch.json`` beside a checkpoint says of its use."""

    pooling: PoolingName | None = None
    layers: list[int] | None = None
    lower_case: bool | None = None
    strip_accents: bool | None = None
    max_length: int | None = pydantic.Field(default=None, ge=3)
    prompts: dict[Literal["query", "document"], str] | None = None
    whitening: str | None = None
    dim: int | None = pydantic.Field(default=None, ge=1)


class CorpusSettings(_Section):
    """How corpus files are read. Columns: ``None`` means ``text``, and ``id`` if there is one.

    ``types`` are those of further columns; without one, what a table holds is a string.
    ``chunk`` is (tokens, overlap) of the chunks that ``build`` cuts documents into, if it does.
    """

    text_column: str | None = None
    id_column: str | None = None
    types: dict[str, ColumnType] = {}
    on_error: OnError = "stop"
    duplicates: Duplicates = "keep"
    chunk: _Chunk | None = None


class IndexSettings(_Section):
    """How vectors are searched: ``memory_budget`` is in MiB, ``latency_target`` in milliseconds."""

    kind: Literal["auto", "flat", "ivf"] = "auto"
    memory_budget: float | None = pydantic.Field(default=None, gt=0)
    recall_target: float = pydantic.Field(default=0.95, gt=0, lt=1)
    latency_target: float | None = pydantic.Field(default=None, gt=0)


class QuerySettings(_Section):
    """How many hits a query gives, and how good they must be."""

    k: int = pydantic.Field(default=10, ge=1)
    threshold: float | None = pydantic.Field(default=None, ge=-1, le=1)
    mode: Mode = "dense"
    rerank: Rerank | None = None
    reranker: str = "zhen-order"


class BenchmarkSettings(_Section):
    """Which poolings are compared when none is named; ``cache`` is in GiB."""

    poolings: list[PoolingName] = [
        "static_mean",
        "cls",
        "mean",
        "max",
        "position_weighted_mean",
        "first_last_mean",
        "last2_mean",
    ]
    cache: float = pydantic.Field(default=4.0, ge=0)


class TrainSettings(_Section):
    """How an encoder is trained; rates and shares as the papers give them.

    ``batch_size`` examples make a step, in ``accumulate`` parts; of all steps a share of ``warmup``
    precedes the full ``learning_rate``; ``evaluate_every`` and ``patience`` count steps and
    evaluations without gain, ``None`` being once an epoch and never to stop early. ``temperature``
    divides cosines, ``mask`` is the share of masked tokens; with ``bfloat16`` large products are
    computed in it.
    """

    epochs: int = pydantic.Field(default=1, ge=1)
    batch_size: int = pydantic.Field(default=64, ge=2)
    accumulate: int = pydantic.Field(default=1, ge=1)
    learning_rate: float = pydantic.Field(default=2e-5, gt=0)
    warmup: float = pydantic.Field(default=0.1, ge=0, le=1)
    layer_decay: float = pydantic.Field(default=1.0, gt=0, le=1)
    weight_decay: float = pydantic.Field(default=0.01, ge=0)
    clip: float = pydantic.Field(default=1.0, gt=0)
    dropout: float = pydantic.Field(default=0.1, ge=0, lt=1)
    temperature: float = pydantic.Field(default=0.05, gt=0)
    mask: float = pydantic.Field(default=0.15, gt=0, lt=1)
    bfloat16: bool = False
    evaluate_every: int | None = pydantic.Field(default=None, ge=1)
    patience: int | None = pydantic.Field(default=None, ge=1)
    seed: int = pydantic.Field(default=0, ge=0, lt=2**31)


class Settings(_Section):
    """Everything that can be set."""

    encoder: EncoderSettings = EncoderSettings()
    corpus: CorpusSettings = CorpusSettings()
    index: IndexSettings = IndexSettings()
    query: QuerySettings = QuerySettings()
    benchmark: BenchmarkSettings = BenchmarkSettings()
    train: TrainSettings = TrainSettings()


def load_settings(path: Path | None, overrides: Mapping[str, Mapping[str, Any]]) -> Settings:
    """Settings from a file, with ``overrides`` (section → key → value) on top.

    Without a path ``./config.yaml`` is read if it is there. An override of ``None`` is not given.
    Raises SettingsError naming the file, the key and the nearest key that exists.
    """
    if path is None and Path("config.yaml").is_file():
        path = Path("config.yaml")
    content = {} if path is None else _read_yaml(path)
    _validated(Settings, content, str(path))
    given = {
        section: {key: value for key, value in values.items() if value is not None}
        for section, values in overrides.items()
    }
    _validated(Settings, given, "options")
    merged = {name: {**content.get(name, {}), **given.get(name, {})} for name in content | given}
    return _validated(Settings, merged, str(path))


def encoder_settings(values: Mapping[str, Any], source: str) -> EncoderSettings:
    """Checked encoder settings from plain values; SettingsError names ``source``."""
    return _validated(EncoderSettings, values, source)


def corpus_settings(values: Mapping[str, Any], source: str) -> CorpusSettings:
    """Checked corpus settings from plain values; SettingsError names ``source``."""
    return _validated(CorpusSettings, values, source)


def manifest_settings(values: Mapping[str, Any], source: str) -> dict[str, Any]:
    """What a manifest says, without what it says nothing of; SettingsError names ``source``."""
    return _validated(ManifestSettings, values, source).model_dump(exclude_none=True)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_bytes())
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read ({error.strerror})") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        # the latter two are PyYAML's on a date such as 2001-99-99 and on lists in lists in lists …
        raise SettingsError(f"{path}: not YAML ({' '.join(str(error).split())})") from None
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise SettingsError(
            f"{path}: expected sections such as 'encoder:', got {type(content).__name__}; see the "
            "config.yaml of the project for every setting"
        )
    # a section without settings, "query:", is one with none
    return {section: values for section, values in content.items() if values is not None}


def _validated(model: type[_Model], content: Mapping[str, Any], source: str) -> _Model:
    try:
        return model.model_validate(dict(content))
    except pydantic.ValidationError as error:
        raise SettingsError("\n".join(_messages(model, error, source))) from None


def _messages(model: type[Any], error: pydantic.ValidationError, source: str) -> Iterator[str]:
    for problem in error.errors():
        where = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            keys = _keys_beside(model, problem["loc"])
            near = difflib.get_close_matches(str(problem["loc"][-1]), keys, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(keys)}"
            yield f"{source}: unknown setting {where!r}; {hint}"
        else:
            expected = problem["msg"][0].lower() + problem["msg"][1:]
            yield f"{source}: {where} is {problem['input']!r}; {expected}"


def _keys_beside(model: type[Any], location: tuple[int | str, ...]) -> list[str]:
    for part in location[:-1]:
        model = model.model_fields[str(part)].annotation
    return list(model.model_fields)
