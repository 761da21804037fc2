"""The options that several commands share, and the settings they make."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from simsearch.config import Settings

Command = TypeVar("Command", bound=Callable[..., Any])


class Numbers(click.ParamType):  # type: ignore[type-arg]  # generic only since click 8.4
    """Whole numbers with commas between them, such as ``example``."""

    name = "numbers"

    def __init__(self, example: str) -> None:
        self._example = example

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> list[int]:
        """The numbers as a list."""
        try:
            return [int(part) for part in str(value).split(",")]
        except ValueError:
            message = f"{value!r} is not a list of whole numbers such as {self._example}"
            self.fail(message, param, ctx)


class LayersOrEach(Numbers):
    """``Numbers``, or the word "each"."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The numbers as a list; "each" as it is."""
        return value if value == "each" else super().convert(value, param, ctx)


class JsonObject(click.ParamType):  # type: ignore[type-arg]
    """A JSON object."""

    name = "json"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> dict[str, Any]:
        """The object as a dictionary."""
        try:
            found = json.loads(value)
        except (ValueError, RecursionError) as error:
            self.fail(f"{value!r} is not JSON ({error})", param, ctx)
        if not isinstance(found, dict):
            self.fail(f'{value!r} is not an object such as {{"language": "en"}}', param, ctx)
        return found


EXISTING_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


def unicode_text(
    ctx: click.Context, param: click.Parameter, value: str | tuple[str, ...]
) -> str | tuple[str, ...]:
    """Refuse an argument whose bytes were not UTF-8."""
    for text in (value,) if isinstance(value, str) else value:
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise click.BadParameter(f"{text!r} is not UTF-8", ctx, param)
    return value


def _column_types(
    ctx: click.Context, param: click.Parameter, value: tuple[str, ...]
) -> dict[str, str] | None:
    """The types by column; ``None`` where none was given."""
    types: dict[str, str] = {}
    for given in unicode_text(ctx, param, value):
        column, equals, kind = given.rpartition("=")
        if not equals:
            message = f"{given!r} is not COLUMN=TYPE such as year=integer"
            raise click.BadParameter(message, ctx, param)
        if types.setdefault(column, kind) != kind:
            message = f"{column!r} is given two types, {types[column]} and {kind}; give it one"
            raise click.BadParameter(message, ctx, param)
    return types or None


corpus_argument = click.argument(
    "corpus", nargs=-1, required=True, type=click.Path(), metavar="CORPUS..."
)
config_option = click.option(
    "--config", type=EXISTING_FILE, help="Settings file, instead of ./config.yaml."
)
filter_option = click.option(
    "--filter",
    type=JsonObject(),
    metavar="JSON",
    help="Only documents of such metadata ($eq $ne $gt $gte $lt $lte $in $nin $contains $and $or).",
)
json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object a line, and nothing else."
)
model_option = click.option(
    "--model", metavar="M", help="Folder, archive, hub repository or short name (`models`)."
)
reranker_option = click.option(
    "--reranker", metavar="M", help="For that: another model that compares two texts."
)
pooling_option = click.option(
    "--pooling", metavar="P", help="cls, mean, max, first_last_mean, … (see the README)."
)
_computation_options = (
    click.option(
        "--family",
        type=click.Choice(["bert", "albert", "nezha", "electra", "roformer"]),
        help="Kind of model, whatever its config says.",
    ),
    click.option(
        "--lower-case/--no-lower-case", default=None, help="Whether the model is uncased."
    ),
    click.option("--strip-accents/--no-strip-accents", default=None, help="Whether é becomes e."),
    click.option(
        "--max-length", type=click.IntRange(min=3), metavar="N", help="Tokens to cut a text to."
    ),
    click.option(
        "--precision",
        type=click.Choice(["auto", "float32", "int8"]),
        help="auto: bfloat16 where the hardware has it.",
    ),
    click.option(
        "--calibration", metavar="FILE", help="What `simsearch calibrate` made, for int8."
    ),
    click.option(
        "--runtime", type=click.Choice(["openvino", "tensorflow"]), help="What runs the model."
    ),
    click.option("--threads", type=click.IntRange(min=1), metavar="N", help="OpenVINO's, at most."),
)
_vector_options = (
    click.option(
        "--layers", type=Numbers("0,-1"), metavar="L", help="Hidden states to pool: 0,-1."
    ),
    click.option("--whitening", metavar="FILE", help="A whitening that `simsearch whiten` fitted."),
    click.option(
        "--dim", type=click.IntRange(min=1), metavar="N", help="Dimensions to keep of it."
    ),
)
_corpus_options = (
    click.option("--text-column", metavar="NAME", help="Column with the texts.  [default: text]"),
    click.option(
        "--id-column", metavar="NAME", help="Column with the ids.  [default: id, if there]"
    ),
    click.option(
        "--type",
        "types",
        multiple=True,
        callback=_column_types,
        metavar="COLUMN=TYPE",
        help="What a further column holds: string, integer, number, boolean or list (repeatable).",
    ),
    click.option(
        "--on-error",
        type=click.Choice(["stop", "skip"]),
        help="What to do about rows that cannot be used.  [default: stop]",
    ),
)
_index_options = (
    click.option(
        "--kind",
        type=click.Choice(["auto", "flat", "ivf"]),
        help="flat: exact; ivf: approximate; auto: flat while that is fast.  [default: auto]",
    ),
    click.option(
        "--recall",
        "recall_target",
        type=click.FloatRange(0, 1, min_open=True, max_open=True),
        metavar="X",
        help="Share of the 10 nearest that an approximate search must find.  [default: 0.95]",
    ),
    click.option(
        "--memory",
        "memory_budget",
        type=click.FloatRange(0, min_open=True),
        metavar="MIB",
        help="What searching may hold in memory, at most.",
    ),
    click.option(
        "--latency",
        "latency_target",
        type=click.FloatRange(0, min_open=True),
        metavar="MS",
        help="What finding the nearest of one query may take.",
    ),
)
duplicates_option = click.option(
    "--duplicates",
    type=click.Choice(["keep", "collapse", "refuse"]),
    help="What to do about a text that an earlier row has.  [default: keep]",
)


ENCODER_SETTINGS = (
    "model",
    "family",
    "lower_case",
    "strip_accents",
    "max_length",
    "layers",
    "whitening",
    "dim",
    "precision",
    "calibration",
    "runtime",
    "threads",
)
"""The settings that the encoder's options give, all but the pooling."""
TRAIN_SETTINGS = (
    "epochs",
    "batch_size",
    "accumulate",
    "learning_rate",
    "warmup",
    "layer_decay",
    "weight_decay",
    "clip",
    "dropout",
    "temperature",
    "mask",
    "bfloat16",
    "evaluate_every",
    "patience",
    "seed",
)
"""The settings that the options of `train` give."""


def encoder_options(command: Command) -> Command:
    """Adds the options of an encoder but --model and --pooling."""
    return added(_vector_options)(computation_options(command))


def computation_options(command: Command) -> Command:
    """Adds the options of an encoder that say nothing of what comes after the hidden states."""
    return added(_computation_options)(command)


def index_options(command: Command) -> Command:
    """Adds --kind, --recall, --memory and --latency."""
    return added(_index_options)(command)


def corpus_options(command: Command) -> Command:
    """Adds --text-column, --id-column, --type and --on-error."""
    return added(_corpus_options)(command)


def added(options: Sequence[Callable[[Command], Command]]) -> Callable[[Command], Command]:
    """A decorator that adds these options."""
    return lambda command: reduce(lambda f, option: option(f), reversed(options), command)


def settings_from(options: dict[str, Any], default_precision: str | None = None) -> Settings:
    """Settings of a command: its options, else the config file, else the defaults."""
    from simsearch.config import load_settings  # pydantic, which --help does without

    def given(*names: str) -> dict[str, Any]:
        return {name: options.get(name) for name in names}

    pooling = options.get("pooling")
    settings = load_settings(
        options.get("config"),
        {
            "encoder": {
                **given(*ENCODER_SETTINGS),
                "pooling": pooling if isinstance(pooling, str) else None,
            },
            "corpus": given("text_column", "id_column", "types", "on_error", "duplicates", "chunk"),
            "index": given("kind", "recall_target", "memory_budget", "latency_target"),
            "query": given("k", "threshold", "mode", "rerank", "reranker"),
            "train": given(*TRAIN_SETTINGS) if "epochs" in options else {},
        },
    )
    if default_precision is not None and options.get("precision") is None:
        encoder = settings.encoder.model_copy(update={"precision": default_precision})
        return settings.model_copy(update={"encoder": encoder})
    return settings


def encoder_overrides(options: dict[str, Any]) -> dict[str, Any]:
    """What is used instead of an index's own encoder settings: what was given, and how to compute.

    Precision and runtime are not of the index, so that these two may come from a config file.
    """
    settings = settings_from(options)
    given = {name: options[name] for name in (*ENCODER_SETTINGS, "pooling")}
    given["precision"] = settings.encoder.precision
    given["runtime"] = settings.encoder.runtime
    return given


def several(values: Sequence[str]) -> list[str] | None:
    """The values of a repeatable option; ``None`` where it was not given."""
    return list(dict.fromkeys(values)) or None


def print_json(value: dict[str, Any]) -> None:
    """One JSON object on a line of stdout."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n")


def counted(number: int, thing: str) -> str:
    """``1 text``, ``2,000 texts``."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"
